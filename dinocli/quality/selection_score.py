"""What the guard of a run selects by and its verdict compares: one number an image, without labels."""

from dataclasses import dataclass

from dinocli.quality.crop_quadrant_retrieval import KEY, LABEL


@dataclass(frozen=True)
class SelectionScore:
    """The words for a score of which each image has one value, higher is better.

    Args:
        key: For programs.
        label: For tables and curves.
        name: In a sentence.
        mean: What its mean over images is.
    """

    key: str
    label: str
    name: str
    mean: str


CROP_QUADRANT = SelectionScore(KEY, LABEL, "crop/quadrant retrieval", "mean log reciprocal rank")
"""Of `dinocli.quality.crop_quadrant_retrieval`: a sum of two logs of reciprocal ranks."""

TEACHER_NEIGHBOURS = SelectionScore(
    "teacher_neighbours",
    "nearest neighbours shared with the teacher (1 is all)",
    "nearest neighbours shared with the teacher",
    "mean share of ten",
)
"""Of `dinocli.quality.shared_neighbours`, against a frozen teacher: how much of it a student took
over, not whether the teacher is right."""
