"""The tables at the end of a run: every score of start and adapted weights, without and with the user's labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dinocli.data.labels import Labels
from dinocli.engine.probe import Probe, ProbeResult
from dinocli.models.backbone import Backbone
from dinocli.quality import crop_quadrant_retrieval
from dinocli.quality.knn import accuracy, knn_classify, macro_f1
from dinocli.quality.verdict import SCORE_NAMES


@dataclass(frozen=True)
class ScoreLine:
    """One line of a closing table.

    Args:
        key: Of the score, for programs.
        name: Of the score, for people.
        start: By the weights that the run began with.
        adapted: By the adapted weights.
        statistics: By the start with the batch-norm statistics of the adapted weights; None where not measured.
    """

    key: str
    name: str
    start: float
    adapted: float
    statistics: float | None = None


def score_lines(start: ProbeResult, statistics: ProbeResult | None, adapted: ProbeResult) -> list[ScoreLine]:
    """List the label-free scores of all stages, the selection score first."""
    first = ScoreLine(
        crop_quadrant_retrieval.KEY,
        crop_quadrant_retrieval.LABEL,
        start.selection_score,
        adapted.selection_score,
        statistics.selection_score if statistics else None,
    )
    others = [
        ScoreLine(
            key,
            name,
            getattr(start.scores, key),
            getattr(adapted.scores, key),
            getattr(statistics.scores, key) if statistics else None,
        )
        for key, name in SCORE_NAMES.items()
    ]
    return [first, *others]


def label_lines(
    probe: Probe, start: Backbone, adapted: Backbone, labels: Labels, rows: Sequence[int]
) -> list[ScoreLine]:
    """Measure both on the user's labels: leave-one-out k-NN as DINO does it, k = 20, temperature 0.07.

    Args:
        probe: Turns images into features.
        start: The weights that the run began with.
        adapted: The adapted weights.
        labels: One list per label column, in the order of the loader's images.
        rows: The images to measure.
    """
    (start_ND, read), (adapted_ND, _) = (probe.features(backbone, sorted(rows)) for backbone in (start, adapted))
    lines = []
    for column, values in labels.items():
        chosen = np.array([values[row] for row in read])
        known = chosen != ""
        truth = chosen[known]
        if len(set(truth.tolist())) < 2:
            continue
        predicted = [knn_classify(features_ND[known], truth) for features_ND in (start_ND, adapted_ND)]
        for key, name, score in (("accuracy", "accuracy", accuracy), ("macro_f1", "macro F1", macro_f1)):
            found = (score(truth, guess) for guess in predicted)
            lines.append(ScoreLine(f"knn20_{key}/{column}", f"k-NN {name}, {column}", *found))
    return lines
