"""Files that no output may replace, not even with `--force`: inputs of the command, and parts of other results."""

import glob
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dinocli.artifacts.feature_file import FEATURE_SUFFIXES, INDEX_SUFFIX, sidecar
from dinocli.artifacts.feature_formats import SIDECARS
from dinocli.artifacts.mask_folder import DETECTOR_RECORD, RESULT_FILES
from dinocli.artifacts.run_folder import RunFolder
from dinocli.data.folder_walk import is_feature_file
from dinocli.data.image_formats import image_suffixes
from dinocli.data.path_list import read_path_list
from dinocli.errors import DataError, UsageError
from dinocli.files import user_path
from dinocli.output_paths import refuse_special

SOFTWARE = "dinocli"
"""Value of the PNG keyword `Software` by which a sheet is known as an output of ours."""

_WEIGHTS_FILES = ("config.json", "model.safetensors", "pytorch_model.bin", "preprocessor_config.json")
_PNG_HEADER_BYTES = 1 << 10


def check_free(paths: Iterable[Path], *, force: bool, options: str = "--out", inputs: Iterable[str] = ()) -> None:
    """Refuse outputs that would replace one another, an input, a part of a result, or, without `--force`, anything.

    Args:
        paths: Outputs of a command.
        force: Existing outputs may be replaced.
        options: Options that choose another output path, for the message.
        inputs: Inputs of the command, as `refuse_inputs`.

    Raises:
        UsageError: As `refuse_inputs` and `refuse_parts`, or an output exists without `force`.
    """
    refuse_parts(outputs := list(paths), options=options)
    refuse_inputs(outputs, inputs, options=options)
    there = next((path for path in outputs if path.exists()), None)
    if there and not force:
        raise UsageError(f"{there} already exists; add --force to replace it, or choose another {options}")


def refuse_inputs(outputs: Sequence[Path], inputs: Iterable[str], *, options: str = "--out") -> None:
    """Refuse outputs that are special files, one another, an input, a folder with an input, or an image of an input.

    Args:
        outputs: Outputs of a command.
        inputs: Inputs of the command; those that are not paths are ignored. Of a feature file, the files beside it are
            inputs too, of a run its weights, and of folders, patterns, lists and feature files the images.
        options: As `check_free`.

    Raises:
        UsageError: An output is refused.
    """
    refuse_special(outputs)
    names = [name for name in inputs if name]
    given = {os.path.realpath(path): name for name in names for path in _files_of(name) if os.path.lexists(path)}
    seen = set(given)
    for path in outputs:
        if (real := os.path.realpath(path)) in seen:
            raise UsageError(
                f"{path} is an input or another output of this command: rename it, or choose another {options}"
            )
        seen.add(real)
        if path.is_dir() and (inside := next((name for file, name in given.items() if _is_in(file, real)), "")):
            raise UsageError(f"{path} holds the input {inside}: choose another {options}")
        if _is_foreign_image(path) and (source := next((name for name in names if _has_image(name, real)), "")):
            raise UsageError(f"{path} is an image of the input {source}: choose another {options}")


def refuse_parts(outputs: Sequence[Path], *, options: str = "--out") -> None:
    """Raise `UsageError` if an output would become a part of another result; `options` as of `check_free`."""
    for path in outputs:
        if whole := _whole_of(Path(os.path.realpath(path))):
            raise UsageError(f"{path} is a part of {whole}: choose another {options}")


def _files_of(name: str) -> Iterator[Path]:
    """Yield the paths that an argument names: itself, files beside features, weights of a run, and a list."""
    path = user_path(name)
    yield path
    if path.suffix in FEATURE_SUFFIXES and sidecar(path, ".paths.txt").is_file():
        yield from (sidecar(path, suffix) for suffix in SIDECARS)
    if RunFolder(path).manifest.is_file():
        yield RunFolder(path).backbone
    if name.startswith("@"):
        yield Path(name[1:])


def _whole_of(path: Path) -> str:
    """Return the feature file, run, masks, detector or weights that a path is a part of; empty if there is none."""
    for suffix in (*SIDECARS, INDEX_SUFFIX):
        stem = path.with_name(path.name.removesuffix(suffix))
        if stem != path and stem.with_name(f"{stem.name}.paths.txt").is_file():
            features = (stem.with_name(stem.name + kind) for kind in FEATURE_SUFFIXES)
            if file := next((file for file in features if file.is_file() and file != path), None):
                return f"the feature file {file}"
    for folder in path.parents:
        part = path.relative_to(folder).parts[0]
        run = RunFolder(folder)
        parts = {
            run.manifest.name: {result.name for result in run.results},
            "segment.json": {*RESULT_FILES, "segment.json"},
            DETECTOR_RECORD: {"backbone", "anomaly.safetensors", DETECTOR_RECORD},
        }
        if any(part in names and (folder / record).is_file() for record, names in parts.items()):
            return str(folder)
    weights = path.name in _WEIGHTS_FILES and any((path.parent / name).is_file() for name in _WEIGHTS_FILES[1:3])
    return f"the weights {path.parent}" if weights and (path.parent / _WEIGHTS_FILES[0]).is_file() else ""


def _is_in(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_foreign_image(path: Path) -> bool:
    """Return whether a path is an image file that dinocli did not write."""
    if not path.name.lower().endswith(image_suffixes()) or not path.is_file() or is_feature_file(str(path)):
        return False
    with path.open("rb") as file:
        return f"Software\0{SOFTWARE}".encode() not in file.read(_PNG_HEADER_BYTES)


def _has_image(name: str, path: str) -> bool:
    """Return whether an image belongs to an input: a folder, a pattern, a list, or the folder of a feature file."""
    found: Iterable[str] = [name]
    if name.startswith("@") and not os.path.lexists(name):
        try:
            found = list(read_path_list(name[1:]))
        except DataError:
            return False
    elif glob.has_magic(name) and not os.path.lexists(name):
        found = glob.iglob(name, recursive=True)
    elif Path(name).suffix in FEATURE_SUFFIXES:
        found = [_root_of(sidecar(Path(name), ".json"))]
    return any((real := os.path.realpath(user_path(entry))) == path or _is_in(path, real) for entry in found if entry)


def _root_of(record: Path) -> str:
    """Return the folder of the images of a feature file; empty if it is not recorded."""
    try:
        return str(json.loads(record.read_text(encoding="utf-8")).get("root", ""))
    except (OSError, ValueError, AttributeError):
        return ""
