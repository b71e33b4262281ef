"""Curves of a training run: scores of the probes, and losses of the steps."""

from collections.abc import Sequence
from typing import Any

from dinocli.quality.probe_result import ProbeResult
from dinocli.quality.selection_score import SelectionScore
from dinocli.report.chart import Curve


def probe_curves(results: Sequence[ProbeResult], score: SelectionScore) -> list[Curve]:
    """Return the curves of the selection score, of label-free scores, and of synthetic defects if measured."""
    steps = [result.step for result in results]
    selected = [result.selection_score for result in results]
    shown = {
        "retrieval_top1": ("Crop finds its image, top-1", "fraction of crops"),
        "rankme": ("RankMe", "effective dimensions"),
        "feature_std": ("Feature std", "mean over channels; 1 is isotropic"),
    }
    label = {score.label: selected}
    curves = [Curve("Selection score of the guard", "step", "", steps, label, start=selected[0])]
    if len(results[0].defects_N):
        defects = [result.defect_score for result in results]
        curves.append(Curve("Synthetic-defect few-shot", "step", "", steps, {"accuracy": defects}, start=defects[0]))
    for key, (title, unit) in shown.items():
        values = [getattr(result.scores, key) for result in results]
        curves.append(Curve(title, "step", "", steps, {unit: values}, start=values[0]))
    return curves


def step_curves(rows: Sequence[dict[str, Any]]) -> list[Curve]:
    """Return the curves of loss, entropies and gradient norm, from the rows of metrics.jsonl."""
    steps = [row["step"] for row in rows]

    def values(key: str) -> list[float]:
        return [float("nan") if row[key] is None else row[key] for row in rows]

    return [
        Curve("Loss", "step", "nats", steps, {"loss": values("loss"), "KL": values("kl")}),
        Curve(
            "Entropy of the targets",
            "step",
            "fraction of ln K",
            steps,
            {"one image": values("entropy"), "all images": values("marginal_entropy")},
        ),
        Curve("Gradient norm", "step", "", steps, {"before clipping": values("grad_norm")}),
    ]
