from collections.abc import Iterator

import pytest
import torch

from tests.device.pretend import pretend_device

pretend_device()  # autograd counts the kinds of devices at the first backward pass of a process, and never again
torch.set_num_threads(1)  # nets this small lose more by waiting for other threads than they gain


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep decoded images out of the user's cache, also in processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
