from dinocli.quality.verdict import LOST, Verdict
from dinocli.tasks.train.report_page import LEAD, LOST_LEAD, STUDENT_LEAD, _lead


def test_the_first_sentence_names_what_is_worse() -> None:
    lost = Verdict("worse", "start", f"{LOST} (delta -0.024): from five examples ...")
    fell = Verdict("worse", "start", "Significant decrease in crop/quadrant retrieval")
    both = Verdict("worse", "start", f"{lost.reason} {fell.reason}")
    assert _lead(both, of_student=False) == LEAD["worse"]
    assert _lead(lost, of_student=False) == LOST_LEAD
    assert _lead(fell, of_student=False) == LEAD["worse"]
    assert _lead(fell, of_student=True) == STUDENT_LEAD["worse"]
