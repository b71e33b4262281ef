"""`dinocli doctor`: versions, devices, formats, caches and missing packages."""

import platform
import shutil
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants

from dinocli import __version__
from dinocli.config.installed_packages import extras, installed_version, torch_mismatch
from dinocli.data.cache import cache_folder
from dinocli.data.image_formats import image_suffixes

PACKAGES = ("torch", "torchvision", "timm", "kornia", "numpy", "scipy", "scikit-learn", "pillow", "tifffile", "typer")


def examine() -> dict[str, Any]:
    """Return versions, devices, formats, caches and extras as JSON-like data; uses no network."""
    folder = cache_folder()
    cuda = torch.cuda.is_available()
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())] if cuda else []
    return {
        "dinocli": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        **{name: installed_version(name) or "missing" for name in PACKAGES},
        "torch_and_torchvision": torch_mismatch() or "fit",
        "cpu_threads": torch.get_num_threads(),
        "cpu_features": torch.backends.cpu.get_cpu_capability(),
        "gpus": [f"{gpu.name}, {gpu.total_memory >> 30} GiB" for gpu in gpus],
        "gpu_bf16": cuda and torch.cuda.is_bf16_supported(including_emulation=False),
        "formats": [suffix.removeprefix(".") for suffix in image_suffixes()],
        "extras": extras(),
        "canvas_cache": str(folder),
        "canvas_cache_bytes": sum(file.stat().st_size for file in folder.glob("*") if file.is_file()),
        "free_disk_bytes": shutil.disk_usage(_existing(folder)).free,
        "weights_cache": str(constants.HF_HUB_CACHE),
        "offline": bool(constants.HF_HUB_OFFLINE),
    }


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest existing parent."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())
