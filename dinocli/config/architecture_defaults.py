"""Training defaults of the three backbone architectures, as tables over the number of distinct images.

Values of convnets were measured with EfficientNet-Lite0 (LOG.md). Values of transformers follow published continued
training and were not measured here.
"""

from dataclasses import dataclass
from typing import Literal

Architecture = Literal["vit", "hierarchical", "convnet"]
"""`vit`: all blocks at one resolution (ViT, DINOv2 and v3, BEiT, XCiT, CaiT). `hierarchical`: a transformer with stages
of falling resolution (Swin, Hiera, PVT, MaxViT). `convnet`: mostly convolutions (ResNet, EfficientNet, ConvNeXt)."""

IMAGES = (300, 3_000, 30_000, 300_000, 3_000_000)
"""Distinct images, the columns of all tables; values between them are interpolated on log-log axes."""

Row = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class ArchitectureDefaults:
    """Defaults of continued training from pretrained weights.

    Args:
        steps: Optimizer steps.
        lr: Peak learning rate, if all weights are trained.
        layer_decay: Layer-wise learning rate decay: factor from each layer to the one before, if all are trained.
        lora: Train LoRA only, below `LORA_MAX_IMAGES` distinct images.
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
        # After 200 steps the selection score still rose on sets of 280 to 2,600 images; 1,100 steps did not improve
        # chest x-rays further.
        steps=(500, 500, 1_000, 5_000, 25_000),
        lr=(2e-4, 2e-4, 2e-4, 2e-4, 2e-4),  # 1e-4 and 3e-4 improved sets of 1,000 and 2,600 images; 1e-3 harmed one
        layer_decay=(1.0, 1.0, 1.0, 1.0, 1.0),
        lora=False,
    ),
}

LORA_MAX_IMAGES = 1_000
"""Number of distinct images below which transformers train LoRA only."""
