"""A common interface to every timm model that can be a DINO backbone.

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
"""timm's words for what a model pools, and ours."""


class Backbone(nn.Module):
    """A timm model without its classifier, at any image size.

    The timm model is not modified (same modules, same weight names, position embedding on its own grid), so that saved
    weights load in timm. This class adds what timm lacks: position embeddings resampled as DINO does it, and batch norm
    that can be frozen.

    Args:
        name: timm name, with or without a tag.
        model: The timm model, built with ``num_classes=0``.
        model_args: Further arguments of `timm.create_model`.

    Attributes:
        in_chans: Channels of the input.
        dim: Width of the pooled feature, found by a dry run: timm's own attribute is wrong for some EfficientNets.
        map_dim: Channels of the last map, or of a ViT's tokens.
        architecture: Plain ViT, hierarchical transformer or convnet; training defaults depend on it.
        patch: Side of a ViT's patches in pixels, 0 for everything else.
        step: Pixels from one patch to the next: `patch`, unless `set_step` made them overlap.
        is_vit: Whether the outputs are tokens, rather than a pyramid of feature maps.
        depth: Blocks of a ViT, 0 for everything else.
        has_cls: Has a class token; it is then the first of the tokens.
        model_args: Arguments beside the name that timm needs to build this model, JSON-like.
        has_batch_norm: Whether it contains batch norm, whose statistics have to be frozen or synchronised.
        resamples: Whether it has a learnt position embedding that is resampled for other image sizes.
        one_size: Whether it takes images of one size only: `own_size`, in pixels.
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
        self.step = self.patch
        self.has_batch_norm = any(isinstance(module, _BatchNorm) for module in model.modules())
        self.memory_format = torch.contiguous_format if self.is_vit else torch.channels_last
        self._batch_norm_frozen = False
        self._folds: list[Pair] = []
        # A rotary embedding is computed for any grid; where a model has a learnt one too, timm ties both to one size.
        # What timm builds with `dynamic_img_size` resamples by itself, as it was trained.
        learnt = isinstance(getattr(model, "pos_embed", None), nn.Parameter) and not getattr(
            model, "dynamic_img_size", False
        )
        self.resamples = self.is_vit and learnt and getattr(model, "rope", None) is None
        if self.resamples:
            model.patch_embed.strict_img_size = False
        built_for = getattr(model.patch_embed, "img_size", None) if self.is_vit else None
        self.own_size: int = to_2tuple(built_for or model.pretrained_cfg["input_size"][-1])[0]
        self.one_size = False
        if self.is_vit:
            self.one_size = getattr(model.patch_embed, "strict_img_size", False)
        elif model.pretrained_cfg.get("fixed_input_size"):  # timm says so of some that take any size
            self.one_size = not self._takes(self._smallest_side())
        self.dim, self.map_dim = self._dry_run()

    @property
    def antialias(self) -> bool:
        """Whether the position embedding is resampled with antialiasing.

        The released DINOv2 models with registers were trained with it, and they are the ones with both registers and a
        learnt position embedding. All other DINO weights were trained without, as DINOv2's code does by default, also
        with registers: those have a grid of their own. Weights that were trained at one size only (supervised, MAE) do
        not care.
        """
        return getattr(self.model, "reg_token", None) is not None and "img_size" not in self.model_args

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the pooled feature that timm gives without a classifier: by `pool_kind`, for convnets the average.

        Args:
            x_BCHW: Normalised images.

        Returns:
            (B, D).

        Raises:
            UsageError: H or W is not a multiple of the patch.
        """
        return self.pool(self._features(x_BCHW))

    def patch_tokens(self, x_BCHW: Tensor) -> Tensor:
        """Return the last feature map: patch tokens after the final norm for ViTs, without class token and registers.

        Args:
            x_BCHW: Normalised images.

        Returns:
            (B, D', h, w). D' is `dim` for ViTs; some convnets widen only when they pool (MobileNetV3).
        """
        return self.grid(self._features(x_BCHW), x_BCHW)

    def with_patches(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled feature of `forward` and the map of `patch_tokens` in one pass; never compiled."""
        features = self._features(x_BCHW)
        return self.pool(features), self.grid(features, x_BCHW)

    def last_features(self, x_BCHW: Tensor, blocks: int) -> list[Tensor]:
        """Return what the last blocks of a ViT give, the earliest first, each after the final norm.

        Args:
            x_BCHW: Normalised images.
            blocks: How many, at most `depth`; 1 is also what everything else has: its last feature map.

        Returns:
            Each (B, T, D) for ViTs, class token and registers first; else as timm lays out the map of this model.
        """
        if blocks == 1:
            return [self._features(x_BCHW)]
        prefix: int = self.model.num_prefix_tokens
        found = self._run(
            "forward_intermediates",
            x_BCHW,
            {
                **{"indices": blocks, "norm": True, "intermediates_only": True, "output_fmt": "NLC"},
                "return_prefix_tokens": prefix > 0,
            },
        )
        return [torch.cat([block[1], block[0]], dim=1) if prefix else block for block in found]

    def maps_before_last(self) -> list[int]:
        """Return the numbers of a convnet's stages whose maps differ from its last one, the earliest first.

        timm counts stages up to the last block. Some models widen after it, and their last map is another one; in the
        others it is the last stage's own.
        """
        stages = self.model.feature_info if hasattr(self.model, "forward_intermediates") else []
        same = len(stages) > 0 and stages[-1]["num_chs"] == self.map_dim
        return list(range(len(stages) - same))

    def last_maps(self, x_BCHW: Tensor, maps: int) -> list[Tensor]:
        """Return the last maps of a convnet, the earliest first: (B, D', h, w) each, the last as timm lays it out.

        Args:
            x_BCHW: Normalised images.
            maps: How many, 2 or more, at most one more than there are `maps_before_last`.
        """
        stages = self.maps_before_last()[1 - maps :]
        last, before = self._run("forward_intermediates", x_BCHW, {"indices": stages, "output_fmt": "NCHW"})
        return [*before, last]

    def stage_map(self, x_BCHW: Tensor, stage: int) -> Tensor:
        """Return the map (B, D, h, w) of one of timm's stages, without what comes after it.

        Args:
            x_BCHW: Normalised images.
            stage: Place in timm's `feature_info`.
        """
        options = {"indices": [stage], "output_fmt": "NCHW", "intermediates_only": True, "stop_early": True}
        (found,) = self._run("forward_intermediates", x_BCHW, options)
        stage_BDhw: Tensor = found
        return stage_BDhw

    def pool(self, features: Tensor) -> Tensor:
        """Pool one of `last_features` as timm does: (B, D)."""
        pooled: Tensor = self.model.forward_head(features)
        return pooled

    def class_token(self, features: Tensor) -> Tensor:
        """Take the class token of one of `last_features`: (B, D), after the norm, which some models have behind it."""
        token: Tensor = features[:, 0]
        return token if self._norm_after_pool is None else self._norm_after_pool(token)

    @property
    def pool_kind(self) -> str:
        """What is pooled: `cls` or `mean` where the model has a class token, `timm` where there is no such choice."""
        kind = getattr(self.model, "global_pool", None) if self.has_cls else None
        return POOL_KINDS.get(kind, "timm") if isinstance(kind, str) else "timm"

    def set_pool(self, kind: str) -> None:
        """Choose what is pooled; a norm that the model has before or after its pooling stays where it is.

        Args:
            kind: `cls`, `mean`, or `timm`, which changes nothing.

        Raises:
            UsageError: The model has no class token to choose.
        """
        if kind in ("timm", self.pool_kind):
            return
        if self.pool_kind == "timm":
            raise UsageError(f"{self.name} has no class token beside its mean: set model.pool=auto, not {kind}")
        word = next(word for word, known in POOL_KINDS.items() if known == kind)
        self.model.reset_classifier(0, global_pool=word)
        known = inspect.signature(type(self.model).__init__).parameters
        norm = {flag: self._norm_after_pool is not None for flag in ("fc_norm", "use_fc_norm") if flag in known}
        self.model_args |= {"global_pool": word, **norm}

    @property
    def _norm_after_pool(self) -> nn.Module | None:
        norm = getattr(self.model, "fc_norm", None)
        return norm if isinstance(norm, nn.Module) and not isinstance(norm, nn.Identity) else None

    def grid(self, features: Tensor, x_BCHW: Tensor) -> Tensor:
        """Lay one of `last_features` of these images out as (B, D', h, w), without class token and registers."""
        if self.is_vit:
            patches = features[:, self.model.num_prefix_tokens :].transpose(1, 2)
            return patches.reshape(*patches.shape[:2], *self._grid(x_BCHW))
        return features.permute(0, 3, 1, 2) if getattr(self.model, "output_fmt", "NCHW") == "NHWC" else features

    def with_grid(self, features: Tensor, grid_BDhw: Tensor) -> Tensor:
        """Put a grid back in the place of that of one of `last_features`."""
        if self.is_vit:
            prefix: int = self.model.num_prefix_tokens
            return torch.cat([features[:, :prefix], grid_BDhw.flatten(2).transpose(1, 2)], dim=1)
        return grid_BDhw.permute(0, 2, 3, 1) if getattr(self.model, "output_fmt", "NCHW") == "NHWC" else grid_BDhw

    def freeze_batch_norm(self) -> None:
        """Keep the running statistics of every batch norm from now on; scale and shift still train.

        Statistics of augmented crops do not fit the clean images that are embedded later. Modules are put into eval
        mode, not replaced: timm's own helper replaces them, which turns weights into buffers and breaks the export.
        Frozen batch norm is folded into the convolution before it (`dinocli.models.folding`).
        """
        if not self._batch_norm_frozen and not self.is_vit:
            self._folds = self._find_folds()
        self._batch_norm_frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode as `nn.Module.train` does, except for frozen batch norm, which stays in eval mode."""
        super().train(mode)
        if self._batch_norm_frozen:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def set_step(self, step: int) -> None:
        """Let the patches of a ViT overlap: a finer grid from the same weights, without training.

        The cost grows fast: half the step gives four times the patches and up to sixteen times the attention.

        Args:
            step: Pixels from one patch to the next, a divisor of the patch.

        Raises:
            UsageError: A convnet, a model that knows places by rotation or takes one size only, or a step that does not
                divide the patch.

        Source: Amir et al. 2021, arXiv:2112.05814, section 4.1 (position embedding interpolated to the finer grid).
        """
        projection = getattr(self.model.patch_embed, "proj", None) if self.resamples else None
        if not isinstance(projection, nn.Conv2d) or projection.kernel_size != (self.patch, self.patch):
            why = "its positions or patches fit one grid only" if self.is_vit else "it is not a ViT"
            raise UsageError(f"{self.name} cannot take a smaller stride ({why}): use a larger --size instead")
        if step < 1 or self.patch % step:
            fitting = ", ".join(str(divisor) for divisor in range(1, self.patch + 1) if self.patch % divisor == 0)
            raise UsageError(f"a stride of {step} does not divide the {self.patch}-px patches: use one of {fitting}")
        self.step = step
        projection.stride = (step, step)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass instead of keeping them.

        Raises:
            UsageError: timm cannot do it for this model.
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
        """Call a method of the model with a position embedding of the right size."""
        self._check_size(x_BCHW.shape[2], x_BCHW.shape[3])
        # Convolutions are 1.5 times as fast with the channels of a pixel side by side; what follows keeps that order
        # of the input. Weights keep torch's: fused optimizers and safetensors take for granted that all agree on one.
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
        # For this call only, the model sees the resampled tensor in place of its parameter, and the gradient flows back
        # through the resampling. Nothing is changed in the model, so copies, DDP and exports never notice.
        return functional_call(trunk, {"model.pos_embed": position}, (x_BCHW,), options, tie_weights=False)

    def _grid(self, x_BCHW: Tensor) -> tuple[int, int]:
        """Return rows and columns of patches, as plain numbers even while a tracer looks on."""
        rows, columns = ((int(side) - self.patch) // self.step + 1 for side in x_BCHW.shape[2:])
        return rows, columns

    @property
    def _may_fold(self) -> bool:
        """Whether this pass folds: a recomputed or traced one would not see what happens around it."""
        watched = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
        still = bool(self._folds) and not any(norm.training for _, norm in self._folds)
        return still and not watched and not getattr(self.model, "grad_checkpointing", False)

    @torch.no_grad()
    def _find_folds(self) -> list[Pair]:
        mode = self.training
        self.eval()
        weight = next(self.model.parameters())
        side = self._smallest_side()
        image = torch.randn(1, self.in_chans, side, side, generator=torch.Generator().manual_seed(0)).to(weight)
        found = find_pairs(self.model, self._features, image)
        self.train(mode)
        return found

    def _check_size(self, height: int, width: int) -> None:
        own = self.own_size
        if self.one_size and (height, width) != (own, own):
            raise UsageError(f"{self.name} takes {own}x{own} px only, not {height}x{width}: use that size")
        if not self.is_vit:
            return
        if height % self.patch or width % self.patch:
            below = max(1, min(height, width) // self.patch) * self.patch
            raise UsageError(
                f"{height}x{width} px is not a multiple of the {self.patch}-px patches of {self.name}: "
                f"use {below} or {below + self.patch}"
            )

    @torch.no_grad()
    def _takes(self, side: int) -> bool:
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
        """Return the widths of the pooled feature and of the last map, from the smallest image that the model takes."""
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
        if self.one_size:
            return self.own_size
        return 4 * self.patch if self.is_vit else min(self.own_size, 64)


class _Trunk(nn.Module):
    """A method of a model as a module's `forward`, which is what `functional_call` can call."""

    def __init__(self, model: Any, method: str) -> None:
        super().__init__()
        self.model, self.method = model, method

    def forward(self, x_BCHW: Tensor, **options: Any) -> Any:
        return getattr(self.model, self.method)(x_BCHW, **options)
