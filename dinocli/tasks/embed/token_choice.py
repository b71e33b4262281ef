"""Choice of the tokens of `embed` for `--tokens auto`."""

from dinocli.errors import WeightsError
from dinocli.models.backbone import Backbone
from dinocli.models.rarity_maps import check_rarity_maps
from dinocli.models.token_kinds import AUTO, POOLED_RARE
from dinocli.tasks.embed.embed_options import STDOUT, EmbedOptions

MIN_RARE_IMAGES = 64
"""Minimum number of images for rare patches: with 64 images the nearest neighbours improved on every measured set, with
32 images they got worse on some."""


def chosen_tokens(options: EmbedOptions, backbone: Backbone, images: int) -> tuple[str, str]:
    """Choose pooled features with rare patches for convnets and plain ViTs, and pooled features otherwise.

    Args:
        options: Options of the command; other tokens than `auto` are returned unchanged.
        backbone: Backbone of the features.
        images: Number of listed images, of all shards.

    Returns:
        One of `dinocli.models.token_kinds.KINDS`, and a sentence for the user, empty unless tokens are `auto`.
    """
    if options.tokens != AUTO:
        return options.tokens, ""
    reason = _pooled_reason(options, backbone, images)
    if reason:
        return "pooled", f"features: pooled ({reason})"
    return POOLED_RARE, (
        f"features: {POOLED_RARE}, fitted to these images; embed other images with --like FILE of these, or all with "
        "--tokens pooled"
    )


def _pooled_reason(options: EmbedOptions, backbone: Backbone, images: int) -> str:
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
    few = f"pooled+rare needs {MIN_RARE_IMAGES} images, and there are {images}"
    return few if images < MIN_RARE_IMAGES else ""
