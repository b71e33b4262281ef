"""`--tokens auto`: which features suit the network and the number of images."""

from dinocli.artifacts.pooled_rows import POOLED_RARE
from dinocli.errors import WeightsError
from dinocli.models.backbone import Backbone
from dinocli.models.rarity_maps import check_rarity_maps
from dinocli.models.tokens import AUTO
from dinocli.tasks.embed.embed_options import STDOUT, EmbedOptions

FEWEST_IMAGES = 64
"""From 64 images on rare patches gave better neighbours on every measured set; with 32 images some sets got worse."""


def chosen_tokens(options: EmbedOptions, backbone: Backbone, images: int) -> tuple[str, str]:
    """Choose pooled features with rare patches beside them for convnets and plain ViTs, pooled ones otherwise.

    Args:
        options: As asked for; anything but `auto` stays.
        backbone: Of the weights.
        images: That were listed, those of all shards.

    Returns:
        One of `dinocli.models.tokens.KINDS`, and a sentence for the user; empty where nothing was chosen.
    """
    if options.tokens != AUTO:
        return options.tokens, ""
    reason = _why_pooled(options, backbone, images)
    if reason:
        return "pooled", f"features: pooled ({reason})"
    return POOLED_RARE, (
        f"features: {POOLED_RARE}, fitted to these images; embed other images with --like FILE of these, or all with "
        "--tokens pooled"
    )


def _why_pooled(options: EmbedOptions, backbone: Backbone, images: int) -> str:
    if backbone.architecture == "hierarchical":
        return "rare patches were not measured for hierarchical transformers"
    try:
        check_rarity_maps(backbone)
    except WeightsError:
        return f"{backbone.name} has no maps of two strides"
    if options.layers > 1:
        return f"with --layers {options.layers}"
    if options.out == STDOUT or options.shard:
        return f"{'--out -' if options.out == STDOUT else 'a shard'} cannot be fitted to all images"
    return f"{images} images are few to fit rare patches to, {FEWEST_IMAGES} needed" if images < FEWEST_IMAGES else ""
