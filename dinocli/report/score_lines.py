"""Score tables at the end of a run: start and adapted weights, without and with the user's labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from dinocli.data.labels import Labels
from dinocli.engine.probe import Probe
from dinocli.models.backbone import Backbone
from dinocli.quality.defect_few_shot import DEFECT_LABEL, DEFECT_SCORE, RARE_DEFECT_LABEL, RARE_DEFECT_SCORE
from dinocli.quality.few_shot_accuracy import few_shot
from dinocli.quality.knn import accuracy, knn_votes, macro_f1
from dinocli.quality.probe_result import SCORE_NAMES, ProbeResult
from dinocli.quality.retrieval import rank_classes
from dinocli.quality.selection_score import CROP_QUADRANT, SelectionScore
from dinocli.quality.verdict import Gain
from dinocli.report.adapted_comparison import Sides
from dinocli.report.page import Table
from dinocli.report.text import difference

SHOTS = 5
"""Labelled images per class in few-shot classification."""


@dataclass(frozen=True)
class ScoreLine:
    """One line of a score table.

    Args:
        key: Key of the score in JSON.
        name: Display name of the score.
        start: Score of the start weights.
        adapted: Score of the adapted weights.
        statistics: Score of the start with the adapted batch-norm statistics; None if not measured.
        teacher: Score of a frozen teacher; None without one, or if it has no such score.
    """

    key: str
    name: str
    start: float
    adapted: float
    statistics: float | None = None
    teacher: float | None = None


def score_lines(
    start: ProbeResult, statistics: ProbeResult | None, adapted: ProbeResult, score: SelectionScore = CROP_QUADRANT
) -> list[ScoreLine]:
    """Return the label-free scores of all stages; those that decide the verdict come first."""

    def line(key: str, name: str, value: Callable[[ProbeResult], float], teacher: float | None = None) -> ScoreLine:
        by_statistics = value(statistics) if statistics else None
        return ScoreLine(key, name, value(start), value(adapted), by_statistics, teacher)

    defects = line(DEFECT_SCORE, DEFECT_LABEL, attrgetter("defect_score"))
    rare = line(RARE_DEFECT_SCORE, RARE_DEFECT_LABEL, attrgetter("rare_defect_score"))
    return [
        line(score.key, score.label, attrgetter("selection_score"), None if score == CROP_QUADRANT else 1.0),
        *([defects] if len(start.defects_N) else []),
        *([rare] if len(start.rare_defects_N) else []),
        *(line(key, name, attrgetter(f"scores.{key}")) for key, name in SCORE_NAMES.items()),
    ]


def label_lines(
    probe: Probe, start: Backbone, adapted: Backbone, labels: Labels, rows: Sequence[int]
) -> tuple[list[ScoreLine], Sides]:
    """Score start and adapted weights by the user's labels: leave-one-out k-NN as in DINO, k = 20, temperature 0.07.

    With a frozen teacher, the teacher is scored too, and 5-shot accuracy and retrieval mAP are added.

    Args:
        probe: Computes features of images.
        start: Start weights.
        adapted: Adapted weights.
        labels: Label columns, in the order of the loader's images.
        rows: Images to score.

    Returns:
        The scores, and the features they are computed from.
    """
    (start_ND, read), (adapted_ND, _) = (probe.features(backbone, sorted(rows)) for backbone in (start, adapted))
    networks = [start_ND, adapted_ND, *([probe.teacher_features(sorted(rows))] if probe.teacher else [])]
    lines = []
    for column, values in labels.items():
        chosen = np.array([values[row] for row in read])
        known = chosen != ""
        truth = chosen[known]
        if len(set(truth.tolist())) < 2:
            continue
        predicted = [knn_votes(features_ND[known], truth).predicted_Q for features_ND in networks]
        for key, name, score in (("accuracy", "accuracy", accuracy), ("macro_f1", "macro F1", macro_f1)):
            found = [score(truth, guess) for guess in predicted]
            lines.append(_line(f"knn20_{key}/{column}", f"k-NN {name}, {column}", found))
        if probe.teacher:
            few = [few_shot(features_ND[known], truth, SHOTS) for features_ND in networks]
            ranked = [rank_classes(features_ND[known], truth).average_precision_Q for features_ND in networks]
            lines += [
                _line(f"{SHOTS}_shot/{column}", f"{SHOTS}-shot accuracy, {column}", _means(few)),
                _line(f"map/{column}", f"retrieval mAP, {column}", _means(ranked)),
            ]
    return lines, Sides(read, start_ND, adapted_ND)


def share_of_teacher(lines: Sequence[ScoreLine]) -> str:
    """Return a sentence on the percentage of the teacher's scores that the student reaches; empty without a teacher."""
    shares = [
        f"{100 * line.adapted / line.teacher:.0f} % of its {line.name} ({line.adapted:.3f} of {line.teacher:.3f})"
        for line in lines
        if line.teacher
    ]
    return f"By your labels the student reaches, of its teacher: {'; '.join(shares)}." if shares else ""


def score_table(title: str, lines: Sequence[ScoreLine], note: str) -> Table:
    """Return a table with columns for a teacher, or else for batch-norm statistics, if they were measured."""
    taught = any(line.teacher is not None for line in lines)
    staged = not taught and all(line.statistics is not None for line in lines)
    columns = {"start": "start", **({"batch-norm statistics": "statistics"} if staged else {})}
    columns |= {"student": "adapted", "teacher": "teacher"} if taught else {"adapted": "adapted"}
    rows = []
    for line in lines:
        values = (getattr(line, name) for name in columns.values())
        cells = ("" if value is None else value for value in values)
        rows.append((line.name, *cells, difference(line.adapted, line.start)))
    return Table(title, ("score", *columns, "change"), rows, note)


def gain_table(gains: Sequence[Gain], score: SelectionScore) -> Table:
    """Return a table of the change of the selection score by each part of a run."""
    rows = [
        (gain.part, f"{gain.change.mean:+.3g}", f"{gain.change.low:+.3g} to {gain.change.high:+.3g}") for gain in gains
    ]
    name = score.name[0].upper() + score.name[1:]
    note = f"{name}, mean difference and 95 % interval: batch-norm statistics alone, then training."
    return Table("Contribution of each part", ("part", "change", "95 % CI"), rows, note)


def interpolation_table(
    tried: Sequence[tuple[float, float]], alpha: float, best_alpha: float, score: SelectionScore
) -> Table:
    """Return a table of the selection score by the weight of the adapted weights.

    Args:
        tried: (alpha, selection score) of each interpolation; alpha 0 is the start.
        alpha: The kept one.
        best_alpha: The one of the highest score.
        score: The selection score.
    """
    note = (
        "Alpha is the weight of the adapted weights; 0 is the start. Measured on the images of the guard; the best "
        "alpha above 0 was compared with the start."
    )
    if alpha < best_alpha:
        note += f" Weights halfway (alpha {alpha:g}) were kept instead; the verdict gives the reason."
    rows = [(f"{weight:g}", value) for weight, value in tried]
    return Table("Weight interpolation", ("alpha", score.label), rows, note)


def _line(key: str, name: str, found: Sequence[float]) -> ScoreLine:
    start, adapted, *teacher = found
    return ScoreLine(key, name, start, adapted, teacher=teacher[0] if teacher else None)


def _means(values: Sequence[NDArray[np.float64]]) -> list[float]:
    return [float(np.nanmean(values_N)) for values_N in values]
