"""Comparison of adapted weights with the start on the images of the verdict, and of weights halfway between them."""

import copy
from dataclasses import dataclass, replace
from typing import NamedTuple

from dinocli.engine.final_verdict import final_verdict
from dinocli.engine.loop import RunResult
from dinocli.engine.probe import Measured, Probe
from dinocli.models.backbone import Backbone
from dinocli.models.weight_interpolation import interpolated
from dinocli.quality.probe_result import Features, ProbeResult
from dinocli.quality.verdict import Verdict, rare_defects_lost


class Compared(NamedTuple):
    """Result of a comparison.

    Args:
        adapted: Adapted weights.
        alpha: Weight of the adapted weights in the interpolation with the start.
        verdict: Outcome and weights to keep.
        statistics: Probe result of the start with the adapted batch-norm statistics; None if not measured.
        after: Probe result of the adapted weights.
        after_ND: Features of the adapted weights.
    """

    adapted: Backbone
    alpha: float
    verdict: Verdict
    statistics: ProbeResult | None
    after: ProbeResult
    after_ND: Features


@dataclass(frozen=True)
class HoldoutComparison:
    """Compares weights with the start.

    Args:
        probe: Probe on the images of the verdict, which has measured the start.
        start: Start weights.
        before: Measurement of the start.
        result: Result of the training loop.
        staged: Also measure the start with the adapted batch-norm statistics.
    """

    probe: Probe
    start: Backbone
    before: Measured
    result: RunResult
    staged: bool

    @property
    def images(self) -> int:
        """Number of images over all passes of a comparison."""
        return self.probe.images_per_measurement * (1 + self.staged)

    def compare(self, adapted: Backbone, alpha: float) -> Compared:
        """Measure adapted weights (interpolated with the start by alpha), and judge them."""
        probe, best = self.probe, self.result.best
        statistics = probe.measure(with_statistics(self.start, adapted), 0) if self.staged else None
        after, after_ND = self.before
        if best:
            last = probe.last if probe.last and probe.last.result is best else None
            after, after_ND = last or measured(probe, adapted, best.step)
        verdict = final_verdict(self.result, self.before.result, statistics, after, probe.score)
        return Compared(adapted, alpha, verdict, statistics, after, after_ND)

    def lost_by_training(self, full: Compared) -> str:
        """Return a sentence if better weights lose synthetic defects with the default feature of `embed`, else "".

        They are compared with the start or, if that notices more, with the start with adapted batch-norm statistics.
        """
        before, statistics = self.before.result, full.statistics
        if full.verdict.outcome != "better":
            return ""
        if statistics and statistics.rare_defect_score > before.rare_defect_score:
            return rare_defects_lost(statistics, full.after, "with adapted batch-norm statistics alone")
        return rare_defects_lost(before, full.after)

    def halfway(self, full: Compared, lost: str) -> Compared:
        """Return weights halfway to the start if they are better than the start and lose fewer defects, else `full`.

        Args:
            full: Better weights that lose synthetic defects.
            lost: Sentence of `lost_by_training`.
        """
        half = self.compare(interpolated(self.start, full.adapted, 0.5), full.alpha / 2)
        noticed = half.after.rare_defect_score
        if half.verdict.outcome != "better" or half.verdict.caution or not noticed > full.after.rare_defect_score:
            return full
        kept = f"The weights halfway to the start (alpha {half.alpha:g}) are kept: with them {100 * noticed:.1f} %."
        return half._replace(verdict=replace(half.verdict, reason=f"{half.verdict.reason} {lost} {kept}"))


def measured(probe: Probe, backbone: Backbone, step: int) -> Measured:
    """Measure a backbone, and return its features too."""
    probe.measure(backbone, step)
    assert probe.last is not None
    return probe.last


def with_statistics(start: Backbone, adapted: Backbone) -> Backbone:
    """Return the start weights with the adapted batch-norm statistics, which training leaves unchanged."""
    mixed, adapted_buffers = copy.deepcopy(start), dict(adapted.named_buffers())
    for name, buffer in mixed.named_buffers():
        buffer.copy_(adapted_buffers[name])
    return mixed
