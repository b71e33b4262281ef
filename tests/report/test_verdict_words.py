from dinocli.quality.near_start import near_start
from dinocli.quality.verdict import DEFECT_DECREASE, Verdict
from dinocli.report.verdict_words import DEFECTS_LEAD, HOW_TO_READ, LEAD, NEAR_LEAD, STUDENT_LEAD, lead


def test_the_first_sentence_names_what_is_worse() -> None:
    lost = Verdict("worse", "start", f"{DEFECT_DECREASE} (delta -0.024): from five examples ...")
    fell = Verdict("worse", "start", "Significant decrease in crop/quadrant retrieval")
    both = Verdict("worse", "start", f"{lost.reason} {fell.reason}")
    assert lead(both, of_student=False) == LEAD["worse"]
    assert lead(lost, of_student=False) == DEFECTS_LEAD
    assert lead(fell, of_student=False) == LEAD["worse"]
    assert lead(fell, of_student=True) == STUDENT_LEAD["worse"]


def test_the_first_sentence_does_not_deny_a_significant_increase() -> None:
    better = Verdict("better", "adapted", "Significant increase in crop/quadrant retrieval.")
    assert lead(near_start(better, 0.2), of_student=False) == NEAR_LEAD
    assert lead(near_start(better, 0.4), of_student=False) == LEAD["better"]
    same = Verdict("no different", "start", "No significant change in crop/quadrant retrieval.")
    assert lead(near_start(same, 0.2), of_student=False) == LEAD["no different"]


def test_the_page_names_the_margins_of_the_verdict() -> None:
    (margins,) = (note for note in HOW_TO_READ if "synthetic-defect few-shot" in note)
    assert "below -3 points" in margins
    assert "below 0 if that of batch-norm statistics alone is below -1 point" in margins
