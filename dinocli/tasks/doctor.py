"""Examine the machine: what dinocli would use here, and what is missing."""

import importlib.util
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from PIL import features

from dinocli import __version__
from dinocli.data.cache import cache_folder

PACKAGES = ("torch", "torchvision", "timm", "kornia", "numpy", "scipy", "scikit-learn", "pillow", "tifffile", "typer")
EXTRAS = {"tiff": "imagecodecs", "tensorboard": "tensorboard"}


def examine() -> dict[str, Any]:
    """Gather versions, devices, formats, caches and extras as JSON-like data, without any network."""
    folder = cache_folder()
    cuda = torch.cuda.is_available()
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())] if cuda else []
    return {
        "dinocli": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        **{name: _version(name) for name in PACKAGES},
        "cpu_threads": torch.get_num_threads(),
        "cpu_features": torch.backends.cpu.get_cpu_capability(),
        "gpus": [f"{gpu.name}, {gpu.total_memory >> 30} GiB" for gpu in gpus],
        "gpu_bf16": cuda and torch.cuda.is_bf16_supported(including_emulation=False),
        "formats": [name for name in ("jpg", "zlib", "libtiff", "webp", "jpg_2000") if features.check(name)],
        "extras": [name for name, module in EXTRAS.items() if importlib.util.find_spec(module)],
        "extras_missing": [name for name, module in EXTRAS.items() if not importlib.util.find_spec(module)],
        "canvas_cache": str(folder),
        "canvas_cache_bytes": sum(file.stat().st_size for file in folder.glob("*") if file.is_file()),
        "free_disk_bytes": shutil.disk_usage(folder if folder.exists() else folder.home()).free,
        "weights_cache": os.environ.get("HF_HOME") or "~/.cache/huggingface",
        "offline": os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
