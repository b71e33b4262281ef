"""Which parameters of a backbone are trained, and their learning-rate factors by depth."""

import re

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone
from dinocli.models.lora import LowRank, attention_layers, attention_linears

_NUMBERED = re.compile(r"\d+\.")


def trainable_names(backbone: Backbone, part: str) -> set[str]:
    """Name the parameters that learn.

    Args:
        backbone: With its low-rank changes added, where these are to learn.
        part: `all`, `last-N` (blocks of a ViT, stages of a convnet, and what follows them), `lora`, `attn-proj` or
            `norms` (scales and shifts of every norm; a frozen batch norm keeps its statistics).

    Returns:
        Names as `named_parameters` gives them.

    Raises:
        UsageError: The backbone has no such part.
    """
    everything = {name for name, _ in backbone.named_parameters()}
    if part == "all":
        found = everything
    elif part == "norms":
        found = _inside(backbone, [name for name, module in backbone.named_modules() if is_norm(module)])
    elif part == "lora":
        found = _inside(backbone, [name for name, module in backbone.named_modules() if isinstance(module, LowRank)])
    elif part == "attn-proj":
        found = _inside(backbone, [name for name, _ in attention_linears(backbone) if name.endswith(".proj")])
    else:
        found = _last(backbone, int(part.removeprefix("last-")))
    if not found:
        raise UsageError(f"{backbone.name} has no part model.trainable={part}: set it to all, last-1 or norms")
    return found


def check_trainable(backbone: Backbone, part: str) -> None:
    """Raise the error of `trainable_names` for a backbone as it was loaded, without low-rank changes.

    Args:
        backbone: As loaded.
        part: As `trainable_names` takes it, or `auto`, which always fits.
    """
    if part == "lora":
        attention_layers(backbone)
    elif part != "auto":
        trainable_names(backbone, part)


def is_norm(module: nn.Module) -> bool:
    """Say whether a module is a norm of any kind, with a scale or not."""
    return isinstance(module, nn.LayerNorm | nn.GroupNorm | _BatchNorm) or type(module).__name__.lower().endswith(
        "norm"
    )


def layers(backbone: Backbone, *, coarse: bool) -> list[list[str]]:
    """Sort the parameters into layers, first to last, as timm does it for this architecture.

    Args:
        backbone: Any.
        coarse: Stages of a convnet instead of its blocks.

    Returns:
        Names of parameters, one list a layer; the stem is the first, and the last norm or a final convolution is with
        the last block, or by itself at the end. One list with all names where timm knows no layers.
    """
    model = backbone.model
    if not hasattr(model, "group_matcher"):
        return [[name for name, _ in backbone.named_parameters()]]
    groups = group_parameters(model, model.group_matcher(coarse=coarse))
    return [[f"model.{name}" for name in groups[number]] for number in sorted(groups)]


def rate_factors(backbone: Backbone, decay: float, stem: float) -> dict[str, float]:
    """Give each parameter the factor on the learning rate that its depth asks for.

    Args:
        backbone: Any.
        decay: Factor from each layer to the one before it; the last layer has the full rate.
        stem: Factor on top for the patch embedding, or a convnet's whole stem; tokens and positions do without it.

    Returns:
        Name of each parameter to its factor.

    Source: Clark et al. 2020 (ELECTRA), arXiv:2003.10555, for the decay; DINOv2's code for the patch embedding.
    """
    ordered = layers(backbone, coarse=False)
    factors = {name: decay ** (len(ordered) - 1 - number) for number, names in enumerate(ordered) for name in names}
    for name in ordered[0] if len(ordered) > 1 else ():
        if not backbone.is_vit or ".patch_embed." in name:
            factors[name] *= stem
    return factors


def _inside(backbone: Backbone, modules: list[str]) -> set[str]:
    owners = tuple(f"{name}." for name in modules)
    return {name for name, _ in backbone.named_parameters() if name.startswith(owners)} if owners else set()


def _last(backbone: Backbone, count: int) -> set[str]:
    """Name the last blocks or stages, and whatever comes after them, such as a norm or a last convolution."""
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
