"""LoRA: low-rank updates W + B A of the attention weights of a ViT, merged into W when weights are saved.

Shapes: O I outputs and inputs of a linear layer, R rank.
"""

import math

from torch import Tensor, nn
from torch.nn.utils import parametrize

from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone

LINEARS = ("qkv", "q_proj", "k_proj", "v_proj", "proj")
"""Names of the linear layers of timm's attention; query, key and value are one layer or three."""


class LowRank(nn.Module):
    """Parametrization of a weight: the weight plus a low-rank update, initially zero.

    It parametrizes the weight, not the layer, because some timm models (`*_qkvb`) read the weight without calling the
    layer. So the gradient costs as much as that of the full weight, but there are few trained parameters and little
    optimizer state.

    Args:
        weight_OI: Weight of the layer.
        rank: Rank of the update, R.

    Source: Hu et al. 2021 (LoRA), arXiv:2106.09685, with alpha = rank.
    """

    def __init__(self, weight_OI: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = weight_OI.shape
        down_RI = weight_OI.new_empty(rank, inputs)
        self.down_RI = nn.Parameter(nn.init.kaiming_uniform_(down_RI, a=math.sqrt(5)))
        self.up_OR = nn.Parameter(weight_OI.new_zeros(outputs, rank))

    def forward(self, weight_OI: Tensor) -> Tensor:
        return weight_OI + self.up_OR @ self.down_RI


def add_lora(backbone: Backbone, rank: int) -> None:
    """Add a low-rank update to every linear layer in the attention of a ViT, in place.

    Args:
        backbone: A ViT.
        rank: Rank of the updates.

    Raises:
        UsageError: The backbone has no supported attention layer.
    """
    for layer in attention_layers(backbone):
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))


def attention_layers(backbone: Backbone) -> list[nn.Linear]:
    """List the layers to which `add_lora` adds updates.

    Raises:
        UsageError: There are none.
    """
    layers = [layer for _, layer in attention_linears(backbone)]
    if not layers:
        raise UsageError(f"{backbone.name} has no attention to change: set model.trainable to last-1, norms or all")
    return layers


def attention_linears(backbone: Backbone) -> list[tuple[str, nn.Linear]]:
    """List (name in the backbone, layer) of the linear layers of all attention blocks."""
    return [
        (name, module)
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in LINEARS and ".attn." in f".{name}."
    ]


def folded_state(backbone: Backbone) -> dict[str, Tensor]:
    """Return the tensors of the backbone under timm's names, with the low-rank updates merged into the weights.

    The parametrization itself stays: copies of a layer share the class that torch creates for it, and removing it from
    one of them would break the others.
    """
    state = backbone.state_dict()
    for name, layer in attention_linears(backbone):
        if parametrize.is_parametrized(layer, "weight"):
            inner = f"{name}.parametrizations."
            state = {key: value for key, value in state.items() if not key.startswith(inner)}
            state[f"{name}.weight"] = layer.weight.detach()
    return state
