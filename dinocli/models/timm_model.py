"""Layout of a timm model: its architecture, its input, and its outputs as tokens or feature maps.

Legend: B images, C channels, H W pixels, D width, h w rows and columns of the feature grid.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from timm.layers import to_2tuple
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dinocli.errors import UsageError
from dinocli.models.architecture import architecture_of
from dinocli.models.class_token import layers_after_attention

POOL_KINDS = {"token": "cls", "avg": "mean"}
"""timm's `global_pool` -> our name of what a model pools."""


class TimmModel(nn.Module):
    """A timm model without its classifier, and the layout of its input and outputs; `Backbone` runs it.

    Args:
        name: timm name, with or without a tag.
        model: The timm model, built with ``num_classes=0``.
        model_args: Further arguments of `timm.create_model`.

    Attributes:
        in_chans: Channels of the input.
        map_dim: Channels of the last feature map, or width of a ViT's tokens; set by `Backbone`.
        architecture: Plain ViT, hierarchical transformer or convnet; training defaults depend on it.
        patch: Side of a ViT's patches in pixels; 0 for other architectures.
        stride: Pixels from one patch to the next: `patch`, unless `set_stride` made them overlap.
        is_vit: Whether the outputs are tokens, rather than a pyramid of feature maps.
        depth: Blocks of a ViT; 0 for other architectures.
        has_cls: Whether it has a class token, which is the first token.
        model_args: Arguments of `timm.create_model` that this model needs in addition to its name, JSON-like.
        has_batch_norm: Whether it contains batch norm, whose statistics must be frozen or synchronised.
        resamples: Whether its learnt position embedding is resampled here for other image sizes.
        native_size: Side of the images that it was built for, pixels.
        memory_format: Memory format of the input: channels last, except for ViTs.
        after_attention: Layers that `trained_feature` computes for the class token only.
    """

    map_dim: int

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
        # A rotary embedding is computed for any grid; if there is a learnt one too, timm ties both to one size. Models
        # with `dynamic_img_size` resample their position embedding themselves, as they were trained.
        learnt = isinstance(getattr(model, "pos_embed", None), nn.Parameter) and not getattr(
            model, "dynamic_img_size", False
        )
        self.resamples = self.is_vit and learnt and getattr(model, "rope", None) is None
        if self.resamples:
            model.patch_embed.strict_img_size = False
        built_for = getattr(model.patch_embed, "img_size", None) if self.is_vit else None
        self.after_attention = layers_after_attention(model)
        self.native_size: int = to_2tuple(built_for or model.pretrained_cfg["input_size"][-1])[0]

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

    def maps_before_last(self) -> list[int]:
        """Return the indices of a convnet's stages whose maps differ from its last feature map, the earliest first.

        timm's stages end with the last block. Some models widen after it, so that their last feature map is not that of
        the last stage.
        """
        stages = self.model.feature_info if hasattr(self.model, "forward_intermediates") else []
        last_stage_is_last_map = len(stages) > 0 and stages[-1]["num_chs"] == self.map_dim
        return list(range(len(stages) - last_stage_is_last_map))

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

    def _grid(self, x_BCHW: Tensor) -> tuple[int, int]:
        """Return the numbers of rows and columns of patches, as plain integers also while tracing."""
        rows, columns = ((int(side) - self.patch) // self.stride + 1 for side in x_BCHW.shape[2:])
        return rows, columns
