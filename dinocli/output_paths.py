"""Paths of outputs: which ones no command takes, and the names of files beside a table."""

from collections.abc import Sequence
from pathlib import Path

from dinocli.errors import UsageError
from dinocli.files import refuse_device


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
