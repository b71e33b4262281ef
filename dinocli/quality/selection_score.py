"""Names of the label-free scores by which a run selects weights and its verdict compares them."""

from dataclasses import dataclass

from dinocli.quality.crop_quadrant_retrieval import RETRIEVAL_LABEL, RETRIEVAL_SCORE


@dataclass(frozen=True)
class SelectionScore:
    """Names of a score with one value per image, higher is better.

    Args:
        key: Name for programs.
        label: Name in tables and curves.
        name: Name within a sentence.
        mean: Name of its mean over images.
    """

    key: str
    label: str
    name: str
    mean: str


CROP_QUADRANT = SelectionScore(RETRIEVAL_SCORE, RETRIEVAL_LABEL, "crop/quadrant retrieval", "mean log reciprocal rank")
"""`dinocli.quality.crop_quadrant_retrieval`: a sum of two log reciprocal ranks."""

TEACHER_NEIGHBOURS = SelectionScore(
    "teacher_neighbours",
    "nearest neighbours shared with the teacher (1 is all)",
    "nearest neighbours shared with the teacher",
    "mean share of ten",
)
"""`dinocli.quality.shared_neighbours` with a frozen teacher: agreement of the student with the teacher, not whether the
teacher is right."""
