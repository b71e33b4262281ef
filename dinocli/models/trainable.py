"""Trainable parameters of a backbone, and its layers in order."""

import re

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone
from dinocli.models.lora import LowRank, attention_layers, attention_linears

_NUMBERED = re.compile(r"\d+\.")


def trainable_names(backbone: Backbone, part: str) -> set[str]:
    """Return the names of the trainable parameters.

    Args:
        backbone: For `lora` with the low-rank updates added.
        part: `all`, `last-N` (the last N blocks of a ViT or stages of a convnet, and all later layers), `lora`,
            `attn-proj` or `norms` (scales and shifts of every norm; frozen batch norm keeps its statistics).

    Returns:
        Names as in `named_parameters`.

    Raises:
        UsageError: The backbone has no such part.
    """
    if part == "all":
        names = {name for name, _ in backbone.named_parameters()}
    elif part == "norms":
        names = _inside(backbone, [name for name, module in backbone.named_modules() if is_norm(module)])
    elif part == "lora":
        names = _inside(backbone, [name for name, module in backbone.named_modules() if isinstance(module, LowRank)])
    elif part == "attn-proj":
        names = _inside(backbone, [name for name, _ in attention_linears(backbone) if name.endswith(".proj")])
    else:
        names = _last(backbone, int(part.removeprefix("last-")))
    if not names:
        raise UsageError(f"{backbone.name} has no part model.trainable={part}: set it to all, last-1 or norms")
    return names


def check_trainable(backbone: Backbone, part: str) -> None:
    """Raise the error of `trainable_names` for a backbone without low-rank updates.

    Args:
        backbone: As loaded.
        part: As in `trainable_names`, or `auto`, which is always possible.
    """
    if part == "lora":
        attention_layers(backbone)
    elif part != "auto":
        trainable_names(backbone, part)


def is_norm(module: nn.Module) -> bool:
    """Return whether a module is a normalisation layer of any kind."""
    return isinstance(module, nn.LayerNorm | nn.GroupNorm | _BatchNorm) or type(module).__name__.lower().endswith(
        "norm"
    )


def layers(backbone: Backbone, *, coarse: bool) -> list[list[str]]:
    """Group the parameters by layer, first to last, with timm's group matcher of the architecture.

    Args:
        backbone: Any backbone.
        coarse: Group by stages of a convnet instead of blocks.

    Returns:
        Parameter names, one list per layer; the stem comes first, and a final norm or convolution is with the last
        block or a group of its own. One list with all names if timm has no groups for the model.
    """
    model = backbone.model
    if not hasattr(model, "group_matcher"):
        return [[name for name, _ in backbone.named_parameters()]]
    groups = group_parameters(model, model.group_matcher(coarse=coarse))
    return [[f"model.{name}" for name in groups[number]] for number in sorted(groups)]


def _inside(backbone: Backbone, modules: list[str]) -> set[str]:
    owners = tuple(f"{name}." for name in modules)
    return {name for name, _ in backbone.named_parameters() if name.startswith(owners)} if owners else set()


def _last(backbone: Backbone, count: int) -> set[str]:
    """Return the parameters of the last blocks or stages and of all later layers, such as a final norm."""
    ordered = layers(backbone, coarse=True)[1:]  # without the stem
    parameters = dict(backbone.named_parameters())

    def is_block(names: list[str]) -> bool:
        return any(map(_NUMBERED.search, names)) and any(parameters[name].ndim > 1 for name in names)

    numbered = [place for place, names in enumerate(ordered) if is_block(names)]
    if count > len(numbered):
        raise UsageError(
            f"model.trainable=last-{count}: {backbone.name} has {len(numbered)} blocks or stages; set last-1, or all"
        )
    return {name for names in ordered[numbered[-count] :] for name in names}
