from collections.abc import Iterator

import pytest

from tests.device.pretend import PretendDevice


@pytest.fixture
def pretend() -> Iterator[PretendDevice]:
    """A device that is none, in force."""
    with PretendDevice() as device:
        yield device
