"""Whether `--weights` names a path, and what to say where nothing is there; loads no torch."""

import difflib
import re
from pathlib import Path

from dinocli.errors import WeightsError
from dinocli.files import user_path

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
SUFFIXES = (".pth", ".pt", ".bin", ".safetensors", ".ckpt", ".tar")

_SHOWN = 5
"""Names that a message lists."""


def refuse_missing_weights(weights: str) -> None:
    """Raise a `WeightsError` for weights that are named by a path where nothing is.

    Args:
        weights: As a user names them (`dinocli.models.weights.load_backbone`); what can be a timm name or a hub id is
            looked for later.
    """
    path = user_path(weights)
    if path.is_dir() or path.is_file():
        return
    looks_like_a_path = path.suffix in SUFFIXES or weights.startswith((".", "/", "~")) or _lies_here(weights)
    if looks_like_a_path or ("/" in weights and not HUB_ID.fullmatch(weights.removeprefix("hf-hub:"))):
        raise WeightsError(f"no such weights file or folder: {weights}; {_beside(path)}")


def _lies_here(weights: str) -> bool:
    """Whether the first part of a name with a slash is a folder here, or `runs`: then no hub is asked for it."""
    first, slash, _ = weights.partition("/")
    return bool(slash) and (first == "runs" or Path(first).is_dir())


def _beside(path: Path) -> str:
    """Name the runs and weights that lie where a path points, the nearest names first."""
    try:
        names = [
            entry.name
            for entry in sorted(path.parent.iterdir())
            if entry.suffix in SUFFIXES or any((entry / known).is_file() for known in ("run.json", "config.json"))
        ]
    except OSError:
        return "check the path"
    near = difflib.get_close_matches(path.name, names, n=max(1, len(names)), cutoff=0.3)
    shown = [str(path.parent / name) for name in dict.fromkeys([*near, *names])]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return f"there are {', '.join(shown[:_SHOWN])}{more}" if shown else "check the path"
