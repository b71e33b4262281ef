"""Answers per group of images that show one part: the maximum score of its images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dinocli.data.labels import read_labels
from dinocli.data.text_tables import write_table
from dinocli.errors import UsageError
from dinocli.progress import ProgressReporter
from dinocli.segmentation.regions import ImageRecord

COLUMNS = ("group", "images", "score", "good", "image")


@dataclass(frozen=True)
class GroupAnswer:
    """Answer for one group.

    Args:
        group: Name of the group.
        images: Number of images.
        score: Maximum score, 0 to 1.
        good: No image of the group has a region.
        image: Image with the maximum score.
    """

    group: str
    images: int
    score: float
    good: bool
    image: str


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


def group_answers(groups: Mapping[str, str], records: Iterable[ImageRecord]) -> list[GroupAnswer]:
    """Return the answer of each group, highest score first; images without a group are left out."""
    records_of: dict[str, list[ImageRecord]] = {}
    for record in records:
        if record.image in groups:
            records_of.setdefault(groups[record.image], []).append(record)
    answers = []
    for group, images in records_of.items():
        highest = max(images, key=lambda record: record.score)
        good = not any(record.regions for record in images)
        answers.append(GroupAnswer(group, len(images), highest.score, good, highest.image))
    return sorted(answers, key=lambda answer: (-answer.score, answer.group))


def write_groups(path: Path, answers: Iterable[GroupAnswer]) -> None:
    """Write one row per group."""
    rows = ([answer.group, answer.images, f"{answer.score:.6g}", int(answer.good), answer.image] for answer in answers)
    write_table(path, COLUMNS, rows)
