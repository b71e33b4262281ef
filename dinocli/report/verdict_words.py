"""Words of a run's verdict in its report: what happened, what to keep, how it was decided."""

from dinocli.quality.near_start import NEAR_START
from dinocli.quality.verdict import DEFECT_DECREASE, DEFECTS_MARGIN, KEPT, STATISTICS_MARGIN, Verdict

KEEP = {keep: f"Keep {words}." for keep, words in KEPT.items()}
KEEP["statistics"] = f"Keep {KEPT['statistics']}; no training step improved on them."

LEAD = {
    "better": "The features of these images improved significantly.",
    "no different": "The features of these images did not change significantly.",
    "worse": "The features of these images got worse.",
}

DEFECTS_LEAD = "With the adapted weights, small synthetic defects in these images are detected less often than before."
"""Used if no other score decreased: scores by labels may be better, and the sentence must not contradict them."""

NEAR_LEAD = "The score rose, but these images are like those of the original weights, where it is not evidence."

STUDENT_LEAD = {
    "better": "The student became significantly more similar to its teacher.",
    "no different": "The similarity of the student to its teacher did not change significantly.",
    "worse": "The student is worse than its start.",
}

HOW_TO_READ = (
    "The verdict is by crop/quadrant retrieval: does a crop of an image retrieve this image among all, and a quadrant "
    "the opposite quadrant? The 95 % interval is of the paired difference; the difference is significant if the "
    "interval excludes 0.",
    "A second score can overrule it. Synthetic defects are blended into the images, and images with and without a "
    "defect are classified from five examples each (synthetic-defect few-shot). Whatever the retrieval, the "
    "verdict is worse if the whole 95 % interval of the difference to the start is "
    f"below {-100 * DEFECTS_MARGIN:g} points, or below 0 if that of batch-norm statistics alone is below "
    f"{-100 * STATISTICS_MARGIN:g} point.",
    "A dashed line in a chart is the start, a vertical line the selected step.",
    "A score without labels rewards everything that the parts of one image share and other images do not have, "
    "including its illumination and camera. Synthetic defects are not the defects of your process.",
)
STUDENT_HOW_TO_READ = (
    "The verdict is by the nearest neighbours that student and teacher share: of the ten images most similar to an "
    "image by the teacher, how many are among the ten by the student? The 95 % interval is of the paired difference to "
    "the start; the difference is significant if the interval excludes 0.",
    HOW_TO_READ[2],
    "Shared neighbours measure how well the student copies its teacher, not whether the teacher suits your images: "
    "evaluate the teacher first.",
)


def lead(verdict: Verdict, *, of_student: bool) -> str:
    """Return the outcome as a sentence without a score."""
    defects_only = verdict.reason.startswith(DEFECT_DECREASE) and verdict.reason.count("Significant decrease") == 1
    if verdict.outcome == "worse" and defects_only:
        return DEFECTS_LEAD
    if f"But {NEAR_START}" in verdict.reason:
        return NEAR_LEAD
    return (STUDENT_LEAD if of_student else LEAD)[verdict.outcome]


def details(verdict: Verdict) -> str:
    """Join summary, reason, contributions of the parts of the run, and caution."""
    return " ".join(filter(None, (verdict.summary, verdict.reason, verdict.parts, verdict.caution)))
