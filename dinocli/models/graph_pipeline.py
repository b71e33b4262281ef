"""Modules that are exported in one graph with a backbone: preprocessing before it, a classifier after it.

Legend: B images, H W pixels of the source, C source channels (3 of grey), I channels of the backbone, S side of the
square.
"""

from typing import Any

import torch
from torch import Tensor, nn

from dinocli.config.preprocess import LUMA_WEIGHTS, Preprocess
from dinocli.models.backbone import Backbone
from dinocli.models.portable import Portable, resize_matrix

INPUT, OUTPUTS, FITTED_OUTPUTS, PROBABILITIES = (
    "images",
    ("pooled", "patches"),
    ("pooled", "features"),
    "probabilities",
)


class GraphPreprocessing(nn.Module):
    """Range mapping, greyscale, resize and normalisation as in `embed`, up to one rounding step.

    `embed` downscales a large image first to a canvas of twice the side, rounded to integers, then to the square; here
    one antialiased bicubic resize (PIL's kernel) does both.

    Args:
        preprocess: Preprocessing of the weights, with a fixed range or the full range of 8 bits.

    Attributes:
        channels: Number of source channels, C.
    """

    low_C: Tensor
    width_C: Tensor
    mean_I11: Tensor
    std_I11: Tensor
    luma_3: Tensor

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.levels = 65535.0 if preprocess.deep else 255.0
        low, high = preprocess.range_low, preprocess.range_high
        if preprocess.range_policy == "full":
            low, high = 0.0, 1.0 if preprocess.source == "float" else self.levels
        ranges_C2 = torch.tensor(preprocess.channel_ranges or ((low, high),))
        self.register_buffer("low_C", ranges_C2[:, 0])
        self.register_buffer("width_C", ranges_C2[:, 1] - ranges_C2[:, 0])
        self.grey, self.side = preprocess.grey, preprocess.size
        self.channels = len("RGB") if preprocess.grey else preprocess.in_chans
        self.dtype = torch.float32 if preprocess.deep else torch.uint8
        self.register_buffer("mean_I11", torch.tensor(preprocess.mean)[:, None, None])
        self.register_buffer("std_I11", torch.tensor(preprocess.std)[:, None, None])
        self.register_buffer("luma_3", torch.tensor(LUMA_WEIGHTS))

    def forward(self, images: Tensor) -> Tensor:
        """Return normalised squares.

        Args:
            images: (B, H, W, C) source values of any size: uint8, or float32 for sources of more than 8 bits.

        Returns:
            (B, I, S, S).
        """
        mapped = (images.float() - self.low_C) * (self.levels / self.width_C)
        mapped_BHWC = mapped.clamp(0.0, self.levels).round()  # both limits floats: the ONNX exporter accepts no mixture
        if self.grey:
            mapped_BHWC = (mapped_BHWC * self.luma_3).sum(dim=-1, keepdim=True).round()
        return (self.resized(mapped_BHWC.permute(0, 3, 1, 2)) - self.mean_I11) / self.std_I11

    def resized(self, levels_BCHW: Tensor) -> Tensor:
        """Resize source levels to the square, 0 to 1."""
        down_SH = resize_matrix(self.side, levels_BCHW.shape[2])
        across_SW = resize_matrix(self.side, levels_BCHW.shape[3])
        return (down_SH @ (levels_BCHW / self.levels @ across_SW.T)).clamp(0.0, 1.0)

    def example(self) -> Tensor:
        """Return an example input for the export."""
        return torch.zeros(2, 150, 170, self.channels, dtype=self.dtype)

    @staticmethod
    def axes() -> dict[int, Any]:
        """Return the dynamic axes of source values."""
        dim = torch.export.Dim
        return {0: dim("batch"), 1: dim("height", min=8), 2: dim("width", min=8)}


class ClassifierHead(nn.Module):
    """Calibrated probabilities of a saved classifier from the pooled feature (`dinocli.quality.classifiers`).

    Args:
        tensors: `mean_D`, with `weight_CD` and `bias_C` of a linear classifier, or `rows_MD` and `class_M` of k-NN.
        neighbours: k of k-NN; 0 for a linear classifier.
        votes_temperature: A neighbour votes with the weight exp(cosine / votes_temperature).
        temperature: Temperature by which logits are divided.
        classes: Number of classes, C.
        min_probability: Probability of a class without any neighbour.
    """

    mean_D: Tensor
    weight_CD: Tensor
    bias_C: Tensor
    rows_MD: Tensor
    one_hot_MC: Tensor

    def __init__(
        self,
        tensors: dict[str, Tensor],
        *,
        neighbours: int,
        votes_temperature: float,
        temperature: float,
        classes: int,
        min_probability: float,
    ) -> None:
        super().__init__()
        for name in ("mean_D", "weight_CD", "bias_C", "rows_MD"):
            self.register_buffer(name, tensors[name])
        self.register_buffer("one_hot_MC", nn.functional.one_hot(tensors["class_M"], classes).float())
        self.neighbours, self.min_probability = neighbours, min_probability
        self.votes_temperature, self.temperature = votes_temperature, temperature

    def forward(self, pooled: Tensor) -> Tensor:
        """Return probabilities (B, C) of pooled features (B, D)."""
        rows_BD = nn.functional.normalize(nn.functional.normalize(pooled, dim=1) - self.mean_D, dim=1)
        if not self.neighbours:
            return ((rows_BD @ self.weight_CD.T + self.bias_C) / self.temperature).softmax(dim=1)
        cosine_BM = rows_BD @ self.rows_MD.T
        nearest_Bk, index_Bk = cosine_BM.topk(self.neighbours, dim=1)
        vote_Bk = (nearest_Bk / self.votes_temperature).softmax(dim=1)
        share_BC = (vote_Bk[..., None] * self.one_hot_MC[index_Bk]).sum(dim=1)
        return (share_BC.clamp(min=self.min_probability).log() / self.temperature).softmax(dim=1)


class Exportable(nn.Module):
    """A module to be exported.

    Attributes:
        outputs: Names of its outputs.
        remedy: What to do if it cannot be exported.
    """

    outputs: list[str]
    remedy = "use --format timm, and tell us which model it was"

    def example(self) -> Tensor:
        """Return an example input for the export."""
        raise NotImplementedError

    def axes(self) -> dict[int, Any] | None:
        """Return the dynamic axes of the input; None for those that the backbone takes."""
        raise NotImplementedError


class GraphPipeline(Exportable):
    """A backbone with optional preprocessing and classifier, as one exportable module.

    Args:
        backbone: On the CPU, in eval mode; shared, not copied.
        side: Side of the images without preprocessing, pixels.
        before: Preprocessing, so that the graph takes source values of any size; or None.
        fitted: Module that returns the pooled feature and one that was fitted to a folder; or None for the feature map.
        head: Classifier of the fitted feature, else of the pooled one, whose probabilities are a third output; or None.
    """

    def __init__(
        self,
        backbone: Backbone,
        side: int,
        before: GraphPreprocessing | None = None,
        fitted: nn.Module | None = None,
        head: ClassifierHead | None = None,
    ) -> None:
        super().__init__()
        self.before, self.backbone, self.head = before, fitted or Portable(backbone), head
        self.side, self.channels, self.is_fitted = side, backbone.in_chans, fitted is not None
        self.outputs = [*(FITTED_OUTPUTS if fitted else OUTPUTS), *([PROBABILITIES] if head else [])]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the pooled feature, the feature map or fitted feature, and the probabilities with a classifier.

        Args:
            images: (B, H, W, C) source values with preprocessing, else (B, I, H, W) normalised images.
        """
        pooled, other = self.backbone(images if self.before is None else self.before(images))
        if self.head is None:
            return pooled, other
        return pooled, other, self.head(other if self.is_fitted else pooled)

    def example(self) -> Tensor:
        """Return an example input for the export."""
        if self.before is not None:
            return self.before.example()
        return torch.randn(2, self.channels, self.side, self.side, generator=torch.Generator().manual_seed(0))

    def axes(self) -> dict[int, Any] | None:
        """Return the dynamic axes: of source values, or the batch of squares; None: those that the backbone takes."""
        if self.before is not None:
            return self.before.axes()
        return {0: torch.export.Dim("batch")} if self.is_fitted else None
