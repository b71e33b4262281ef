"""Distance of the images of a probe to those that a network was trained on."""

from dinocli.engine.probe import Probe
from dinocli.engine.square_resize import square_batches
from dinocli.models.backbone import Backbone
from dinocli.models.variance_shift import variance_shift

SHIFT_IMAGES, _BATCH = 128, 32


def shift_of(backbone: Backbone, probe: Probe) -> float:
    """Return the `variance_shift` of at most 128 images of a probe; NaN without a batch norm."""
    rows = probe.indices[:: max(1, len(probe.indices) // SHIFT_IMAGES)][:SHIFT_IMAGES]
    batches = square_batches(probe.loader, rows, probe.preprocess, _BATCH)
    return variance_shift(backbone, (square_BCSS for square_BCSS, _ in batches))
