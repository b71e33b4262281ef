"""What differs between the three kinds of network that a run can start from: one table.

The rows are read at the number of different images, between the columns `IMAGES`. The convnet's row was measured with
EfficientNet-Lite0 (LOG.md); those of the transformers are reasoned from published continuations, not measured here.
"""

from dataclasses import dataclass
from typing import Literal

Architecture = Literal["vit", "hierarchical", "convnet"]
"""`vit`: all blocks at one resolution (ViT, DINOv2 and v3, BEiT, XCiT, CaiT). `hierarchical`: a transformer with stages
of falling resolution (Swin, Hiera, PVT, MaxViT). `convnet`: mostly convolutions (ResNet, EfficientNet, ConvNeXt)."""

IMAGES = (300, 3_000, 30_000, 300_000, 3_000_000)
"""The columns of all tables; between them values go along a straight line on log-log axes."""

Row = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class ArchitectureDefaults:
    """How a network of one kind continues from pretrained weights.

    Args:
        steps: Optimizer steps.
        lr: Peak learning rate of all weights.
        layer_decay: Factor on the rate from each layer to the one before it, where all layers learn.
        lora: With fewer than `LORA_BELOW` different images only a low-rank change of attention learns.
    """

    steps: Row
    lr: Row
    layer_decay: Row
    lora: bool


_STEPS = (1_500, 4_600, 12_000, 23_000, 58_000)  # about 200, 100, 50, 20 and 5 epochs
_LR = (2e-5, 3e-5, 5e-5, 1e-4, 2e-4)
_DECAY = (0.75, 0.75, 0.85, 0.9, 0.95)

DEFAULTS: dict[Architecture, ArchitectureDefaults] = {
    "vit": ArchitectureDefaults(_STEPS, _LR, _DECAY, lora=True),
    "hierarchical": ArchitectureDefaults(_STEPS, _LR, _DECAY, lora=True),
    "convnet": ArchitectureDefaults(
        # With 200 steps the guard's score still rose on sets of 280 to 2,600 images, 1,100 gave x-rays no more.
        steps=(500, 500, 1_000, 5_000, 25_000),
        lr=(2e-4, 2e-4, 2e-4, 2e-4, 2e-4),  # 1e-4 and 3e-4 helped on 1,000 and 2,600 images, 1e-3 hurt on one set
        layer_decay=(1.0, 1.0, 1.0, 1.0, 1.0),
        lora=False,
    ),
}

LORA_BELOW = 1_000
"""Different images below which attention gets a low-rank change only."""
