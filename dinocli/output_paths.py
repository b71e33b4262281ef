"""Paths of outputs: which ones are refused before any work is done, and the names of files beside a table."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from dinocli.errors import UsageError
from dinocli.files import refuse_device


def check_free(paths: Iterable[Path], *, force: bool, options: str = "--out", inputs: Iterable[str] = ()) -> None:
    """Refuse outputs that would replace one another, an input, or, without `--force`, anything that exists.

    Args:
        paths: Outputs of a command.
        force: Existing outputs may be replaced.
        options: Options that choose another output path, for the message.
        inputs: Inputs of the command, which not even `force` replaces; those that are not paths are ignored.

    Raises:
        UsageError: Two outputs are one file, an output is an input, ``-`` or a device, or it exists without `force`.
    """
    refuse_inputs(outputs := list(paths), inputs, options=options)
    there = next((path for path in outputs if path.exists()), None)
    if there and not force:
        raise UsageError(f"{there} already exists; add --force to replace it, or choose another {options}")


def refuse_inputs(outputs: Sequence[Path], inputs: Iterable[str], *, options: str = "--out") -> None:
    """Raise `UsageError` if an output is an input, another output, ``-`` or a device; arguments as of `check_free`."""
    refuse_special(outputs)
    seen = {os.path.realpath(name) for name in inputs if os.path.lexists(name)}
    for path in outputs:
        if (real := os.path.realpath(path)) in seen:
            raise UsageError(
                f"{path} is an input or another output of this command: rename it, or choose another {options}"
            )
        seen.add(real)


def refuse_special(paths: Sequence[Path]) -> None:
    """Raise `UsageError` if an output is ``-`` or a device."""
    if Path("-") in paths:
        raise UsageError("- is stdout in `embed` alone; here it would be a file of that name: choose another output")
    for path in paths:
        refuse_device(path)


def side_file(table: Path, default: str, name: str) -> Path:
    """Return the path of a file that accompanies a table, so that two tables in one folder do not share it.

    Args:
        table: Path of the table.
        default: Default name of the table, with which the file has its plain name.
        name: Plain name of the file, such as `duplicates.csv`.

    Returns:
        `duplicates.csv` beside `clusters.csv`, `other.duplicates.csv` beside `other.csv`.
    """
    return table.with_name(name if table.stem == Path(default).stem else f"{table.stem}.{name}")
