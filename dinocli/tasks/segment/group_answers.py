"""Answers per group of images that show one part: the maximum score of its images."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dinocli.data.labels import read_labels
from dinocli.data.text_tables import write_table
from dinocli.errors import UsageError
from dinocli.progress import ProgressReporter
from dinocli.segmentation.regions import ImageRecord

COLUMNS = ("group", "images", "score", "good", "image")


def group_names(spec: str, names: Sequence[str], reporter: ProgressReporter) -> dict[str, str]:
    """Return the group of each image that has one.

    Args:
        spec: `folder`, `folder:N`, or a CSV with the columns `path` and one other.
        names: Image names.
        reporter: Receives notes on assumptions.

    Raises:
        UsageError: A CSV with several group columns.
        DataError: The groups cannot be read.
    """
    columns = read_labels(spec, names, reporter.line)
    if len(columns) > 1:
        raise UsageError(f"--groups {spec} has the columns {', '.join(columns)}: give a CSV with path and one other")
    (groups,) = columns.values()
    return {name: group for name, group in zip(names, groups, strict=True) if group}


def write_groups(path: Path, groups: Mapping[str, str], records: Iterable[ImageRecord]) -> dict[str, int]:
    """Write one row per group, highest score first; images without a group are left out.

    The score of a group is the maximum of its images; it is good if none of them has a region.

    Returns:
        The number of groups, and of good groups.
    """
    records_of: dict[str, list[ImageRecord]] = {}
    for record in records:
        if record.image in groups:
            records_of.setdefault(groups[record.image], []).append(record)
    rows = []
    for group, images in records_of.items():
        highest = max(images, key=lambda record: record.score)
        good = not any(record.regions for record in images)
        rows.append((group, len(images), highest.score, int(good), highest.image))
    rows.sort(key=lambda row: (-row[2], row[0]))
    write_table(
        path, COLUMNS, ((group, count, f"{score:.6g}", good, image) for group, count, score, good, image in rows)
    )
    return {"groups": len(rows), "good": sum(row[3] for row in rows)}
