"""Common interface to timm models as DINO backbones.

Legend: B images, C channels, H W pixels, D width, h w rows and columns of the feature grid.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from dinocli.errors import UsageError, WeightsError
from dinocli.models.folding import Folded, Pair, find_pairs
from dinocli.models.positions import resample_position
from dinocli.models.timm_model import TimmModel


class Backbone(TimmModel):
    """A timm model without its classifier, for any image size.

    The timm model is not modified (same modules, same weight names, position embedding on its native grid), so that
    saved weights load in timm. This class adds position embeddings resampled as in DINO, and frozen batch norm.
    Arguments are those of `TimmModel`.

    Attributes:
        dim: Width of the pooled feature, from a dry run: timm's attribute is wrong for some EfficientNets.
        fixed_size: Whether it takes images of one size only, `native_size`.
    """

    def __init__(self, name: str, model: Any, model_args: Mapping[str, Any] | None = None) -> None:
        super().__init__(name, model, model_args)
        self._batch_norm_frozen = False
        self._folds: list[Pair] = []
        self.fixed_size = False
        if self.is_vit:
            self.fixed_size = getattr(model.patch_embed, "strict_img_size", False)
        elif model.pretrained_cfg.get("fixed_input_size"):  # also set for some models that take any size
            self.fixed_size = not self._accepts(self._smallest_side())
        self.dim, self.map_dim = self._dry_run()

    @property
    def antialias(self) -> bool:
        """Whether the position embedding is resampled with antialiasing.

        Only the released DINOv2 models with registers were trained with antialiasing: they have registers and a learnt
        position embedding on timm's grid. All other DINO weights were trained without it, the default of DINOv2's code,
        also with registers on another grid. For weights trained at one size (supervised, MAE) it makes no difference.
        """
        return getattr(self.model, "reg_token", None) is not None and "img_size" not in self.model_args

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the pooled feature: timm's output without a classifier, pooled by `pool_kind`, average for convnets.

        Args:
            x_BCHW: Normalised images.

        Returns:
            (B, D).

        Raises:
            UsageError: H or W is not a multiple of the patch.
        """
        return self.pool(self._features(x_BCHW))

    def patch_tokens(self, x_BCHW: Tensor) -> Tensor:
        """Return the last feature map; for ViTs the patch tokens after the final norm.

        Args:
            x_BCHW: Normalised images.

        Returns:
            (B, D', h, w). D' is `map_dim`: `dim` for ViTs; some convnets widen after pooling (MobileNetV3).
        """
        return self.grid(self._features(x_BCHW), x_BCHW)

    def with_patches(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled feature of `forward` and the feature map of `patch_tokens` from one pass."""
        features = self._features(x_BCHW)
        return self.pool(features), self.grid(features, x_BCHW)

    def last_features(self, x_BCHW: Tensor, blocks: int) -> list[Tensor]:
        """Return the outputs of the last blocks of a ViT, the earliest first, each after the final norm.

        Args:
            x_BCHW: Normalised images.
            blocks: Number of blocks, at most `depth`. Other architectures allow 1: their last feature map.

        Returns:
            (B, T, D) each for ViTs, class token and registers first; else the feature map in the layout of the model.
        """
        if blocks == 1:
            return [self._features(x_BCHW)]
        prefix: int = self.model.num_prefix_tokens
        outputs = self._run(
            "forward_intermediates",
            x_BCHW,
            {
                **{"indices": blocks, "norm": True, "intermediates_only": True, "output_fmt": "NLC"},
                "return_prefix_tokens": prefix > 0,
            },
        )
        return [torch.cat([block[1], block[0]], dim=1) if prefix else block for block in outputs]

    def last_maps(self, x_BCHW: Tensor, maps: int) -> list[Tensor]:
        """Return the last feature maps of a convnet, the earliest first, (B, D', h, w) each.

        The last one has the layout of the model (`grid`).

        Args:
            x_BCHW: Normalised images.
            maps: Number of maps, 2 to 1 + the number of `maps_before_last`.
        """
        stages = self.maps_before_last()[1 - maps :]
        last, before = self._run("forward_intermediates", x_BCHW, {"indices": stages, "output_fmt": "NCHW"})
        return [*before, last]

    def stage_map(self, x_BCHW: Tensor, stage: int) -> Tensor:
        """Return the feature map (B, D, h, w) of one of timm's stages; later layers are not run.

        Args:
            x_BCHW: Normalised images.
            stage: Index in timm's `feature_info`.
        """
        options = {"indices": [stage], "output_fmt": "NCHW", "intermediates_only": True, "stop_early": True}
        stage_BDhw: Tensor
        (stage_BDhw,) = self._run("forward_intermediates", x_BCHW, options)
        return stage_BDhw

    def freeze_batch_norm(self) -> None:
        """Freeze the running statistics of every batch norm; scale and shift still train.

        Statistics of augmented crops do not fit the clean images that are embedded later. Modules are put into eval
        mode, not replaced: timm's helper replaces them, which turns weights into buffers and breaks the export. Frozen
        batch norm is folded into the preceding convolution (`dinocli.models.folding`).
        """
        if not self._batch_norm_frozen and not self.is_vit:
            self._folds = self._find_folds()
        self._batch_norm_frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode like `nn.Module.train`; frozen batch norm stays in eval mode."""
        super().train(mode)
        if self._batch_norm_frozen:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _features(self, x_BCHW: Tensor) -> Tensor:
        """Run the model up to its pooling."""
        features: Tensor = self._run("forward_features", x_BCHW, {})
        return features

    def _run(self, method: str, x_BCHW: Tensor, options: dict[str, Any]) -> Any:
        """Call a method of the model with the position embedding resampled to the size of the input."""
        self.check_size(x_BCHW.shape[2], x_BCHW.shape[3])
        # Convolutions are 1.5 times as fast in channels-last format, which propagates from the input. Weights stay
        # contiguous: fused optimizers and safetensors need one memory format for all.
        x_BCHW = x_BCHW.contiguous(memory_format=self.memory_format)
        trunk = _Trunk(self.model, method)
        if not self.resamples or self._grid(x_BCHW) == self.model.patch_embed.grid_size:
            with Folded(self._folds) if self._may_fold else nullcontext():
                return trunk(x_BCHW, **options)
        position = resample_position(
            self.model.pos_embed,
            self.model.patch_embed.grid_size,
            self._grid(x_BCHW),
            prefix=0 if self.model.no_embed_class else self.model.num_prefix_tokens,
            antialias=self.antialias,
        )
        # For this call only, the resampled tensor replaces the parameter, and the gradient flows back through the
        # resampling. The model itself is not changed, so copies, DDP and exports are not affected.
        return functional_call(trunk, {"model.pos_embed": position}, (x_BCHW,), options, tie_weights=False)

    @property
    def _may_fold(self) -> bool:
        """Whether batch norm is folded in this pass: not while tracing, nor where the forward pass is recomputed."""
        tracing = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
        frozen = bool(self._folds) and not any(norm.training for _, norm in self._folds)
        return frozen and not tracing and not getattr(self.model, "grad_checkpointing", False)

    @torch.no_grad()
    def _find_folds(self) -> list[Pair]:
        mode = self.training
        self.eval()
        weight = next(self.model.parameters())
        side = self._smallest_side()
        image = torch.randn(1, self.in_chans, side, side, generator=torch.Generator().manual_seed(0)).to(weight)
        pairs = find_pairs(self.model, self._features, image)
        self.train(mode)
        return pairs

    def check_size(self, height: int, width: int) -> None:
        """Raise `UsageError` for an image size, pixels, that the network does not take."""
        side = self.native_size
        if self.fixed_size and (height, width) != (side, side):
            raise UsageError(f"{self.name} takes {side}x{side} px only, not {height}x{width}: use that size")
        if self.is_vit and (height % self.patch or width % self.patch):
            below = max(1, min(height, width) // self.patch) * self.patch
            raise UsageError(
                f"{height}x{width} px is not a multiple of the {self.patch}-px patches of {self.name}: "
                f"use {below} or {below + self.patch}"
            )

    @torch.no_grad()
    def _accepts(self, side: int) -> bool:
        """Return whether the model accepts an image of this side."""
        mode = self.training
        self.eval()
        try:
            self(torch.zeros(1, self.in_chans, side, side))
        except (AssertionError, RuntimeError, ValueError):
            return False
        finally:
            self.train(mode)
        return True

    @torch.no_grad()
    def _dry_run(self) -> tuple[int, int]:
        """Return the widths of the pooled feature and of the last feature map, from one pass with a small image."""
        side = self._smallest_side()
        self.eval()
        try:
            pooled, last = self.with_patches(torch.zeros(1, self.in_chans, side, side))
            widths: tuple[int, int] = pooled.flatten(1).shape[1], last.shape[1]
        except (AttributeError, RuntimeError, TypeError) as error:
            raise WeightsError(f"{self.name} gives no pooled feature ({error}): choose another model") from error
        self.train()
        return widths

    def _smallest_side(self) -> int:
        if self.fixed_size:
            return self.native_size
        return 4 * self.patch if self.is_vit else min(self.native_size, 64)


class _Trunk(nn.Module):
    """A method of a model as `forward` of a module, for `functional_call`."""

    def __init__(self, model: Any, method: str) -> None:
        super().__init__()
        self.model, self.method = model, method

    def forward(self, x_BCHW: Tensor, **options: Any) -> Any:
        return getattr(self.model, self.method)(x_BCHW, **options)
