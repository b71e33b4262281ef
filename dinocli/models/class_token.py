"""Leave out, in the last block of a ViT, what only the patch tokens need, if the class token is all that is asked for.

After the last attention the tokens do not meet again. So the projection of that attention, the MLP and the final norm
are computed for the class token alone, which saves 1/20 of the arithmetic of a ViT with twelve blocks. The class token
and all gradients are the same within rounding; the patch tokens get sums that nobody reads.
"""

from typing import Any

from timm.models.eva import Eva, EvaBlock
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn


def layers_after_attention(model: Any) -> list[nn.Module]:
    """Prepare the layers whose input can be reduced to the class token, and return them.

    The blocks are of the form x + f(norm(x)), where a single token is added to all. Each layer gets a hook that does
    nothing outside of `dinocli.models.head.trained_feature`.

    Args:
        model: A timm model.

    Returns:
        Projection of the last attention, norm before the last MLP, final norm; an empty list for architectures of
        another form.
    """
    if type(model) not in (VisionTransformer, Eva):
        return []
    block = model.blocks[-1]
    if type(block) not in (Block, EvaBlock):
        return []
    layers: list[nn.Module] = [block.attn.proj, block.norm2, model.norm]
    for layer in layers:
        layer.class_token_only = False  # type: ignore[assignment]
        layer.register_forward_pre_hook(_first_token)
    return layers


def _first_token(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    return (inputs[0][:, :1], *inputs[1:]) if layer.class_token_only else None
