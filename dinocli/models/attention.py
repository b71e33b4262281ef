"""Queries and keys of one attention block of any timm ViT, and its attention weights.

timm computes attention in one fused call that returns no weights; some models add their biases outside of the `qkv`
layer (a hook on it never fires), others rotate queries and keys by position after it. So nothing is rebuilt here: the
tensors are taken where every family hands them over, at the fused call itself.

Legend: B images, C channels, n heads, N tokens (prefix + patches), E width of one head, D = n * E, Q tokens asked
about, H W pixels, h w rows and columns of patches.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone


@dataclass(frozen=True)
class AttentionQK:
    """The attention of one block, for a batch of images.

    Args:
        query_BnNE: As they are multiplied: with bias, norm and rotation by position.
        key_BnNE: Keys.
        plain_key_BnNE: Keys before the rotation: what a patch shows, not where it is. The same for models without one.
        bias: What is added before the softmax (relative positions), broadcast to (B, n, N, N), or None.
        scale: What the products are multiplied by.
        prefix: Tokens before the patches: class token and registers.
        grid: (h, w).
    """

    query_BnNE: Tensor
    key_BnNE: Tensor
    plain_key_BnNE: Tensor
    bias: Tensor | None
    scale: float
    prefix: int
    grid: tuple[int, int]

    def weights(self, tokens: Sequence[int] = (0,)) -> Tensor:
        """Return how much some tokens attend to all tokens; rows sum to 1. Only these rows are ever computed.

        Args:
            tokens: Q numbers; 0 is the class token where the model has one, `patch_token` names a patch.

        Returns:
            (B, n, Q, N), float32.
        """
        rows = list(tokens)
        products_BnQN = self.query_BnNE[:, :, rows].float() @ self.key_BnNE.float().mT * self.scale
        if self.bias is not None:
            whole = self.bias.expand(*self.bias.shape[:-2], self.query_BnNE.shape[2], -1)
            products_BnQN = products_BnQN + whole[..., rows, :]
        return products_BnQN.softmax(dim=-1)

    def to_patches(self, token: int = 0) -> Tensor:
        """Return how much one token attends to each patch, (B, n, h, w); what the prefix tokens get is missing."""
        row_BnP = self.weights([token])[:, :, 0, self.prefix :]
        return row_BnP.reshape(*row_BnP.shape[:2], *self.grid)

    def patch_token(self, row: int, column: int) -> int:
        """Return the token of a patch."""
        return self.prefix + row * self.grid[1] + column

    def patch_keys(self) -> Tensor:
        """Return the keys of the patches before any rotation, heads side by side: (B, D, h, w)."""
        key_BnPE = self.plain_key_BnNE[:, :, self.prefix :]
        return key_BnPE.transpose(2, 3).reshape(len(key_BnPE), -1, *self.grid)


def attend(backbone: Backbone, x_BCHW: Tensor, block: int = -1) -> AttentionQK:
    """Run a ViT and return the attention of one of its blocks.

    Args:
        backbone: A ViT, in eval mode.
        x_BCHW: Normalised images.
        block: Which, counted from 0, or from the end if negative.

    Raises:
        UsageError: Not a ViT, no such block, or its attention is not that of products of queries and keys.
    """
    if not backbone.is_vit:
        raise UsageError(f"{backbone.name} has no attention: use a ViT, or --method tokencut, kmeans, pca or anomaly")
    blocks = backbone.model.blocks
    if not -len(blocks) <= block < len(blocks):
        raise UsageError(f"{backbone.name} has {len(blocks)} blocks, not a block {block}")
    catch = _Catch()
    with _watching(getattr(blocks[block], "attn", None), catch), catch:
        features = backbone.patch_tokens(x_BCHW)
    return catch.result(backbone, (features.shape[2], features.shape[3]))


@contextmanager
def _watching(layer: Any, catch: "_Catch") -> Iterator[None]:
    """Notify `catch` while an attention layer runs, and make it use the fused call."""
    if layer is None:
        yield
        return
    hooks = [layer.register_forward_pre_hook(catch.begin), layer.register_forward_hook(catch.end)]
    if hasattr(layer, "k_norm"):
        hooks.append(layer.k_norm.register_forward_hook(catch.keep_key))
    fused = getattr(layer, "fused_attn", None)
    try:
        if fused is not None:
            layer.fused_attn = True  # else the model multiplies by hand, and there is nothing to catch
        yield
    finally:
        for hook in hooks:
            hook.remove()
        if fused is not None:
            layer.fused_attn = fused


class _Catch(TorchFunctionMode):
    """Keep what goes into the fused attention while one layer is at work."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = False
        self.inputs: tuple[Tensor, Tensor] | None = None
        self.options: dict[str, Any] = {}
        self.plain_key: Tensor | None = None

    def begin(self, *_: Any) -> None:
        self.inside = True

    def end(self, *_: Any) -> None:
        self.inside = False

    def keep_key(self, _module: Any, _inputs: Any, key_BnNE: Tensor) -> None:
        self.plain_key = key_BnNE

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.inside and func is F.scaled_dot_product_attention:
            self.inputs, self.options = (args[0], args[1]), kwargs
        return func(*args, **kwargs)

    def result(self, backbone: Backbone, grid: tuple[int, int]) -> AttentionQK:
        prefix = backbone.model.num_prefix_tokens
        if self.inputs is None or self.inputs[0].shape[2] != prefix + grid[0] * grid[1]:
            raise UsageError(f"the attention of {backbone.name} cannot be read: use --method kmeans, pca or anomaly")
        query_BnNE, key_BnNE = self.inputs
        plain = self.plain_key if self.plain_key is not None else key_BnNE
        scale = self.options.get("scale") or query_BnNE.shape[-1] ** -0.5
        return AttentionQK(query_BnNE, key_BnNE, plain, self.options.get("attn_mask"), scale, prefix, grid)
