"""Architecture class of a network (plain ViT, hierarchical transformer, convnet), determined from its layers."""

from typing import Any, Literal

from torch import nn

_QUERIES = ("qkv", "qk", "q", "q_proj", "query", "to_q", "kv")
"""Attributes of timm's attention modules: the layers that compute queries, or queries and keys."""

TRANSFORMER_SHARE = 0.22
"""Share of parameters in attention above which a network with stages is a transformer. Measured over timm: Swin .31,
Hiera .30, PVT .36, CoAtNet .26, MaxViT .24; FastViT .21, BoTNet .17, NextViT .12, EdgeNeXt .10, ConvNeXt 0."""

_STEM_CONVOLUTIONS = 2
"""Maximum number of convolutions of an attention-free model that counts as a ViT, such as MLP-Mixer."""


def architecture_of(model: nn.Module) -> Literal["vit", "hierarchical", "convnet"]:
    """Return the architecture class of a timm model.

    A plain ViT has one resolution; for models with stages the share of parameters in attention decides. Batch norm is
    no criterion: XCiT has it, ConvNeXt does not.

    Args:
        model: A model of timm.
    """
    features: Any = getattr(model, "feature_info", [])
    one_resolution = len({feature["reduction"] for feature in features}) == 1
    convolutions = sum(isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1 for part in model.modules())
    share = attention_share(model)
    if one_resolution and (share > 0 or convolutions <= _STEM_CONVOLUTIONS):
        return "vit"
    return "hierarchical" if share >= TRANSFORMER_SHARE else "convnet"


def attention_share(model: nn.Module) -> float:
    """Return the share of parameters in attention layers; attention pooling does not count."""
    inside: set[int] = set()
    pooling: set[int] = set()
    for part in model.modules():
        parameters = {id(parameter) for parameter in part.parameters()}
        if "attentionpool" in type(part).__name__.lower():
            pooling |= parameters
        elif any(hasattr(part, name) for name in _QUERIES):
            inside |= parameters
    sizes = {id(parameter): parameter.numel() for parameter in model.parameters()}
    return sum(sizes[key] for key in inside - pooling) / max(1, sum(sizes.values()))
