import pytest

from dinocli.data import tiff
from tests.data.files import Array


def without_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make tifffile lack the codec of every file, as it lacks that of LZW without imagecodecs."""

    def page_samples(*_: object) -> Array:
        raise ValueError("requires the 'imagecodecs' package")

    monkeypatch.setattr(tiff, "page_samples", page_samples)


@pytest.fixture
def no_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a whole test: `without_codecs`."""
    without_codecs(monkeypatch)
