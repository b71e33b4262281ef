"""HTML page of `evaluate`: scores, confusion matrices and misclassified images."""

from collections.abc import Sequence
from pathlib import Path

from dinocli.artifacts.compared_features import ComparedFeatures
from dinocli.quality import label_scores
from dinocli.quality.evaluation import EvaluateResult
from dinocli.quality.label_scores import LabelSplit
from dinocli.quality.score_table import UNCLEAR, ScoreRow
from dinocli.report.label_parts import label_parts
from dinocli.report.page import Cell, Part, Report, Table, write_report
from dinocli.report.page_parts import FactList, NoteList, command_line
from dinocli.report.text import difference, score

HOW_TO_READ = (
    "A solid frame with ✓ is a neighbour of the image's own class, a dashed frame with ✗ one of another class.",
    "In a confusion matrix rows are true classes and columns predicted ones; the darker a cell, the larger its share "
    "of the row. The diagonal is right.",
    "The confidence of k-NN is the share of the votes of its 20 neighbours. It is reliable where its line lies on the "
    "diagonal: of the images predicted with a confidence of 0.8, eight of ten are right. Below it, it "
    "promises too much.",
    "The worst images are those whose neighbours agree most on a wrong class. Look at them first: some "
    "may be wrong labels.",
)


def write_evaluation_page(
    path: Path,
    found: EvaluateResult,
    sides: Sequence[ComparedFeatures],
    truths: Sequence[LabelSplit],
    labels: str,
    argv: Sequence[str],
) -> None:
    """Write the page atomically.

    Args:
        path: Output file.
        found: Result with all scores.
        sides: Evaluated features, then those of the baseline if there is one.
        truths: Label split of each label column.
        labels: Source of the labels, as in `EvaluateOptions`.
        argv: Command line.

    Raises:
        OSError: The file cannot be written.
    """
    parts: list[Part] = []
    for truth in truths:
        parts += label_parts(sides, truth)
    columns = sorted(dict.fromkeys(row.labels for row in found.table), key=lambda column: not column)
    parts += [_score_table(found, column) for column in columns]
    facts: list[tuple[str, Cell]] = [("features", found.features), ("baseline", found.baseline or "none")]
    facts += [("images", found.images), ("folder", found.root or "not known"), ("labels", labels or "none")]
    outcome, sentence = _headline(found)
    page = Report(
        title=f"Evaluation of {found.features}" + (f" against {found.baseline}" if found.baseline else ""),
        verdict_outcome=outcome,
        verdict_sentence=sentence,
        verdict_details=" ".join(found.sentences),
        parts=[
            *parts,
            FactList(facts, "This evaluation"),
            command_line(argv),
            NoteList([*(HOW_TO_READ if truths else ()), *found.notes], "How to read this page"),
        ],
    )
    write_report(path, page)


def _headline(found: EvaluateResult) -> tuple[str, str]:
    """Return the outcome in one word, and in one sentence that stands alone."""
    row = next((row for row in found.table if row.key == label_scores.HEADLINE), None)
    if row is None:
        return (found.verdict.outcome, found.verdict.summary) if found.verdict else ("", "")
    words = f"By {found.features}, k-NN predicts the right class of {row.value:.1%} of {found.images:,} images"
    if row.baseline is None:
        return f"{row.value:.1%}", f"{words}."
    words += f"; by {found.baseline}, of {row.baseline:.1%}"
    if not row.verdict:
        return "not compared", f"{words}."
    chance = "can be chance" if row.verdict == UNCLEAR else "is larger than chance"
    return row.verdict, f"{words}. The difference {chance}."


def _score_table(found: EvaluateResult, column: str) -> Table:
    shown = [row for row in found.table if row.labels == column]
    header = ["score", found.features]
    header += [found.baseline, "difference"] if found.baseline else []
    header += ["95 % CI", "verdict"] if any(row.difference for row in shown) else []
    rows = [_score_cells(row)[: len(header)] for row in shown]
    return Table(f"Scores by the labels of {column}" if column else "Scores without labels", header, rows)


def _score_cells(row: ScoreRow) -> list[Cell]:
    cells: list[Cell] = [row.name, score(row.value)]
    if row.baseline is None:
        return cells
    change = row.difference
    interval = f"{change.low:+.3f} to {change.high:+.3f}" if change else "–"
    return [*cells, score(row.baseline), difference(row.value, row.baseline), interval, row.verdict]
