"""Check that a path given as `--weights` exists; imports no torch."""

import difflib
import re
from pathlib import Path

from dinocli.errors import WeightsError
from dinocli.files import user_path

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
SUFFIXES = (".pth", ".pt", ".bin", ".safetensors", ".ckpt", ".tar")

_MAX_LISTED = 5
"""Maximum number of names in a message."""


def refuse_missing_weights(weights: str) -> None:
    """Raise `WeightsError` if weights are given as a path that does not exist.

    Args:
        weights: The user's argument (`dinocli.models.weights.load_backbone`); possible timm names and hub ids are
            checked later.
    """
    path = user_path(weights)
    if path.is_dir() or path.is_file():
        return
    looks_like_a_path = path.suffix in SUFFIXES or weights.startswith((".", "/", "~")) or _starts_with_folder(weights)
    if looks_like_a_path or ("/" in weights and not HUB_ID.fullmatch(weights.removeprefix("hf-hub:"))):
        place = "" if path.is_absolute() else f" (in {Path.cwd()})"  # `rerun` looks in the folder of the first run
        raise WeightsError(f"no such weights file or folder: {weights}{place}; {_alternatives(path)}")


def _starts_with_folder(weights: str) -> bool:
    """Return whether a name with a slash starts with an existing folder or `runs`, and so is not a hub id."""
    first, slash, _ = weights.partition("/")
    return bool(slash) and (first == "runs" or Path(first).is_dir())


def _alternatives(path: Path) -> str:
    """List the runs and weights in the parent folder of a path, the most similar names first, for a message."""
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
    more = f" and {len(shown) - _MAX_LISTED} more" if len(shown) > _MAX_LISTED else ""
    return f"there are {', '.join(shown[:_MAX_LISTED])}{more}" if shown else "check the path"
