"""Queries, keys and attention weights of the last block of any timm ViT.

timm computes attention in one fused call that returns no weights; some models add their biases outside the `qkv` layer
(a hook on it never fires), others apply rotary embeddings after it. So the tensors are captured at the fused call,
whose arguments are the same in every model family.

Legend: B images, C channels, n heads, N tokens (prefix + patches), E width of one head, D = n * E, Q query tokens,
H W pixels, h w rows and columns of patches.
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
    """Queries and keys of the last attention block for a batch of images.

    Args:
        query_BnNE: Queries as multiplied: after bias, norm and rotary embedding.
        key_BnNE: Keys as multiplied.
        plain_key_BnNE: Keys before the rotary embedding, which depend on content only; equal to `key_BnNE` without one.
        bias: Attention bias (relative positions), broadcast to (B, n, N, N), or None.
        scale: Factor on the dot products.
        prefix: Number of tokens before the patches: class token and registers.
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
        """Return the attention weights of some query tokens over all tokens; rows sum to 1.

        Args:
            tokens: Q token indices; 0 is the class token if the model has one, `patch_token` gives that of a patch.

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
        """Return the attention weights of one token over the patches only, (B, n, h, w)."""
        row_BnP = self.weights([token])[:, :, 0, self.prefix :]
        return row_BnP.reshape(*row_BnP.shape[:2], *self.grid)

    def patch_token(self, row: int, column: int) -> int:
        """Return the token index of a patch."""
        return self.prefix + row * self.grid[1] + column

    def patch_keys(self) -> Tensor:
        """Return the keys of the patches before the rotary embedding, heads concatenated: (B, D, h, w)."""
        key_BnPE = self.plain_key_BnNE[:, :, self.prefix :]
        return key_BnPE.transpose(2, 3).reshape(len(key_BnPE), -1, *self.grid)


def attend(backbone: Backbone, x_BCHW: Tensor) -> tuple[AttentionQK, Tensor]:
    """Run a ViT; return queries and keys of its last block, and the patch tokens, (B, D, h, w).

    Args:
        backbone: A ViT, in eval mode.
        x_BCHW: Normalised images.

    Raises:
        UsageError: Not a ViT, or its last block has no dot-product attention.
    """
    if not backbone.is_vit:
        raise UsageError(f"{backbone.name} has no attention: use a ViT, or --method tokencut, kmeans, pca or anomaly")
    capture = _Capture()
    with _hooked(getattr(backbone.model.blocks[-1], "attn", None), capture), capture:
        features = backbone.patch_tokens(x_BCHW)
    return capture.result(backbone, (features.shape[2], features.shape[3])), features


@contextmanager
def _hooked(layer: Any, capture: "_Capture") -> Iterator[None]:
    """Let `capture` know when an attention layer runs, and make the layer use the fused call."""
    if layer is None:
        yield
        return
    hooks = [layer.register_forward_pre_hook(capture.begin), layer.register_forward_hook(capture.end)]
    if hasattr(layer, "k_norm"):
        hooks.append(layer.k_norm.register_forward_hook(capture.keep_key))
    fused = getattr(layer, "fused_attn", None)
    try:
        if fused is not None:
            layer.fused_attn = True  # else the model does not call scaled_dot_product_attention
        yield
    finally:
        for hook in hooks:
            hook.remove()
        if fused is not None:
            layer.fused_attn = fused


class _Capture(TorchFunctionMode):
    """Mode that captures the arguments of fused attention while one layer runs."""

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
