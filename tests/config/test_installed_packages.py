"""States of extras, and compatibility of torch and torchvision, from package metadata."""

import re

import pytest

from dinocli.config import installed_packages
from dinocli.config.installed_packages import extras, torch_mismatch

NEEDS = {
    "torchvision": ["numpy", "torch (==2.11.0)", "pillow (!=8.3.*,>=5.3.0)", "scipy ; extra == 'scipy'", "not one!"],
    "dinocli": [
        *("numpy>=2.0", "onnx>=1.18; extra == 'onnx'", "onnxruntime>=1.20; extra == 'onnx'"),
        *("av>=14; extra == 'video'", "mypy>=1; extra == 'dev'"),
    ],
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    versions = {"torch": "2.11.0+cpu", "torchvision": "0.26.0", "onnx": "1.20", "onnxruntime": "1.19", "av": "15"}
    monkeypatch.setattr(installed_packages, "installed_version", lambda name: versions.get(name, ""))
    monkeypatch.setattr(installed_packages, "requires", lambda name: NEEDS[name])
    return versions


def test_each_extra_has_its_state(installed: dict[str, str]) -> None:
    assert extras() == {
        "onnx": "onnxruntime 1.19 is installed, >=1.20 is needed: pip install 'dinocli[onnx]'",
        "video": "installed",
    }
    del installed["av"]
    assert extras()["video"] == "av is missing: pip install 'dinocli[video]'"


def test_a_pair_that_does_not_fit_is_named_with_what_would(installed: dict[str, str]) -> None:
    assert torch_mismatch() == "", "a build for one kind of device fits too"
    installed["torch"] = "2.14.1+cu132"
    assert torch_mismatch() == (
        "torchvision 0.26.0 does not fit torch 2.14.1+cu132 (it needs torch==2.11.0): "
        "pip install 'torchvision==0.29.*', or 'torch==2.11.0'"
    )
    del installed["torchvision"]
    assert torch_mismatch() == ""


def test_here_every_extra_is_known_and_the_pair_fits() -> None:
    assert {"onnx", "parquet", "tensorboard", "tiff", "umap", "video"} <= set(extras())
    assert "dev" not in extras()
    assert all(state == "installed" or re.search(r"pip install 'dinocli\[", state) for state in extras().values())
    assert torch_mismatch() == ""
