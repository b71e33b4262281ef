"""Common interface to timm models as DINO backbones.

Legend: B images, C channels, H W pixels, D width, h w rows and columns of the feature grid.
"""

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from timm.layers import to_2tuple
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from dinocli.errors import UsageError, WeightsError
from dinocli.models.architecture import architecture_of
from dinocli.models.folding import Folded, Pair, find_pairs
from dinocli.models.positions import resample_position

POOL_KINDS = {"token": "cls", "avg": "mean"}
"""timm's `global_pool` -> our name of what a model pools."""


class Backbone(nn.Module):
    """A timm model without its classifier, for any image size.

    The timm model is not modified (same modules, same weight names, position embedding on its native grid), so that
    saved weights load in timm. This class adds position embeddings resampled as in DINO, and frozen batch norm.

    Args:
        name: timm name, with or without a tag.
        model: The timm model, built with ``num_classes=0``.
        model_args: Further arguments of `timm.create_model`.

    Attributes:
        in_chans: Channels of the input.
        dim: Width of the pooled feature, from a dry run: timm's attribute is wrong for some EfficientNets.
        map_dim: Channels of the last feature map, or width of a ViT's tokens.
        architecture: Plain ViT, hierarchical transformer or convnet; training defaults depend on it.
        patch: Side of a ViT's patches in pixels; 0 for other architectures.
        stride: Pixels from one patch to the next: `patch`, unless `set_stride` made them overlap.
        is_vit: Whether the outputs are tokens, rather than a pyramid of feature maps.
        depth: Blocks of a ViT; 0 for other architectures.
        has_cls: Whether it has a class token, which is the first token.
        model_args: Arguments of `timm.create_model` that this model needs in addition to its name, JSON-like.
        has_batch_norm: Whether it contains batch norm, whose statistics must be frozen or synchronised.
        resamples: Whether its learnt position embedding is resampled here for other image sizes.
        fixed_size: Whether it takes images of one size only, `native_size`.
        native_size: Side of the images that it was built for, pixels.
        memory_format: Memory format of the input: channels last, except for ViTs.
    """

    def __init__(self, name: str, model: Any, model_args: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.name = name
        self.model = model
        self.model_args: dict[str, Any] = dict(model_args or {})
        self.in_chans: int = self.model_args.get("in_chans", 3)
        self.architecture = architecture_of(model)
        self.is_vit = hasattr(model, "num_prefix_tokens") and hasattr(model, "blocks")
        self.patch: int = to_2tuple(model.patch_embed.patch_size)[0] if self.is_vit else 0
        self.depth: int = len(model.blocks) if self.is_vit else 0
        self.has_cls = self.is_vit and getattr(model, "cls_token", None) is not None
        self.stride = self.patch
        self.has_batch_norm = any(isinstance(module, _BatchNorm) for module in model.modules())
        self.memory_format = torch.contiguous_format if self.is_vit else torch.channels_last
        self._batch_norm_frozen = False
        self._folds: list[Pair] = []
        # A rotary embedding is computed for any grid; if there is a learnt one too, timm ties both to one size. Models
        # with `dynamic_img_size` resample their position embedding themselves, as they were trained.
        learnt = isinstance(getattr(model, "pos_embed", None), nn.Parameter) and not getattr(
            model, "dynamic_img_size", False
        )
        self.resamples = self.is_vit and learnt and getattr(model, "rope", None) is None
        if self.resamples:
            model.patch_embed.strict_img_size = False
        built_for = getattr(model.patch_embed, "img_size", None) if self.is_vit else None
        self.native_size: int = to_2tuple(built_for or model.pretrained_cfg["input_size"][-1])[0]
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

    def maps_before_last(self) -> list[int]:
        """Return the indices of a convnet's stages whose maps differ from its last feature map, the earliest first.

        timm's stages end with the last block. Some models widen after it, so that their last feature map is not that of
        the last stage.
        """
        stages = self.model.feature_info if hasattr(self.model, "forward_intermediates") else []
        last_stage_is_last_map = len(stages) > 0 and stages[-1]["num_chs"] == self.map_dim
        return list(range(len(stages) - last_stage_is_last_map))

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

    def pool(self, features: Tensor) -> Tensor:
        """Pool an output of `last_features` as timm does: (B, D)."""
        pooled: Tensor = self.model.forward_head(features)
        return pooled

    def class_token(self, features: Tensor) -> Tensor:
        """Return the class token of an output of `last_features`, (B, D), after `fc_norm` if the model has it."""
        token: Tensor = features[:, 0]
        return token if self._norm_after_pool is None else self._norm_after_pool(token)

    @property
    def pool_kind(self) -> str:
        """What is pooled: `cls` or `mean` for models with a class token, else `timm`."""
        kind = getattr(self.model, "global_pool", None) if self.has_cls else None
        return POOL_KINDS.get(kind, "timm") if isinstance(kind, str) else "timm"

    def set_pool(self, kind: str) -> None:
        """Choose what is pooled; a norm before or after the pooling stays where it is.

        Args:
            kind: `cls`, `mean`, or `timm` for no change.

        Raises:
            UsageError: The model has no class token.
        """
        if kind in ("timm", self.pool_kind):
            return
        if self.pool_kind == "timm":
            raise UsageError(f"{self.name} has no class token beside its mean: set model.pool=auto, not {kind}")
        global_pool = next(timm_name for timm_name, name in POOL_KINDS.items() if name == kind)
        self.model.reset_classifier(0, global_pool=global_pool)
        parameters = inspect.signature(type(self.model).__init__).parameters
        norm = {flag: self._norm_after_pool is not None for flag in ("fc_norm", "use_fc_norm") if flag in parameters}
        self.model_args |= {"global_pool": global_pool, **norm}

    @property
    def _norm_after_pool(self) -> nn.Module | None:
        norm = getattr(self.model, "fc_norm", None)
        return norm if isinstance(norm, nn.Module) and not isinstance(norm, nn.Identity) else None

    def grid(self, features: Tensor, x_BCHW: Tensor) -> Tensor:
        """Return an output of `last_features` of these images as (B, D', h, w), without class token and registers."""
        if self.is_vit:
            patches = features[:, self.model.num_prefix_tokens :].transpose(1, 2)
            return patches.reshape(*patches.shape[:2], *self._grid(x_BCHW))
        return features.permute(0, 3, 1, 2) if getattr(self.model, "output_fmt", "NCHW") == "NHWC" else features

    def with_grid(self, features: Tensor, grid_BDhw: Tensor) -> Tensor:
        """Return an output of `last_features` with its patches replaced by a grid: the inverse of `grid`."""
        if self.is_vit:
            prefix: int = self.model.num_prefix_tokens
            return torch.cat([features[:, :prefix], grid_BDhw.flatten(2).transpose(1, 2)], dim=1)
        return grid_BDhw.permute(0, 2, 3, 1) if getattr(self.model, "output_fmt", "NCHW") == "NHWC" else grid_BDhw

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

    def set_stride(self, stride: int) -> None:
        """Let the patches of a ViT overlap: a finer grid from the same weights, without training.

        Half the stride gives four times the patches and up to sixteen times the cost of attention.

        Args:
            stride: Pixels from one patch to the next, a divisor of the patch.

        Raises:
            UsageError: Not a ViT, a model with rotary embedding or of one image size, or a stride that does not divide
                the patch.

        Source: Amir et al. 2021, arXiv:2112.05814, section 4.1 (position embedding interpolated to the finer grid).
        """
        projection = getattr(self.model.patch_embed, "proj", None) if self.resamples else None
        if not isinstance(projection, nn.Conv2d) or projection.kernel_size != (self.patch, self.patch):
            why = "its positions or patches fit one grid only" if self.is_vit else "it is not a ViT"
            raise UsageError(f"{self.name} cannot take a smaller stride ({why}): use a larger --size instead")
        if stride < 1 or self.patch % stride:
            divisors = ", ".join(str(divisor) for divisor in range(1, self.patch + 1) if self.patch % divisor == 0)
            raise UsageError(f"a stride of {stride} does not divide the {self.patch}-px patches: use one of {divisors}")
        self.stride = stride
        projection.stride = (stride, stride)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass instead of storing them.

        Raises:
            UsageError: timm does not support it for this model.
        """
        try:
            self.model.set_grad_checkpointing(enable)
        except (AssertionError, AttributeError) as error:
            raise UsageError(
                f"{self.name} has no gradient checkpointing: set model.grad_checkpointing=false"
            ) from error

    def _features(self, x_BCHW: Tensor) -> Tensor:
        """Run the model up to its pooling."""
        features: Tensor = self._run("forward_features", x_BCHW, {})
        return features

    def _run(self, method: str, x_BCHW: Tensor, options: dict[str, Any]) -> Any:
        """Call a method of the model with the position embedding resampled to the size of the input."""
        self._check_size(x_BCHW.shape[2], x_BCHW.shape[3])
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

    def _grid(self, x_BCHW: Tensor) -> tuple[int, int]:
        """Return the numbers of rows and columns of patches, as plain integers also while tracing."""
        rows, columns = ((int(side) - self.patch) // self.stride + 1 for side in x_BCHW.shape[2:])
        return rows, columns

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

    def _check_size(self, height: int, width: int) -> None:
        side = self.native_size
        if self.fixed_size and (height, width) != (side, side):
            raise UsageError(f"{self.name} takes {side}x{side} px only, not {height}x{width}: use that size")
        if not self.is_vit:
            return
        if height % self.patch or width % self.patch:
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
