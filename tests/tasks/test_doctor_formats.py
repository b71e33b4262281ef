from pathlib import Path

import pytest
from huggingface_hub import constants

from dinocli.data.sources import find_images
from dinocli.tasks.doctor import examine


def test_the_formats_are_what_a_folder_takes(tmp_path: Path) -> None:
    formats = examine()["formats"]
    assert {"jpg", "jfif", "tif", "jp2", "avif"} <= set(formats)
    for ending in (*formats, "txt", "pdf"):
        (tmp_path / f"a.{ending}").write_bytes(b"x")
    assert find_images([str(tmp_path)]).names == sorted(f"./a.{ending}" for ending in formats)


def test_the_cache_of_weights_is_where_they_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user moves it by HF_HOME, HF_HUB_CACHE or XDG_CACHE_HOME."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/shared/hub")
    assert examine()["weights_cache"] == "/shared/hub"
