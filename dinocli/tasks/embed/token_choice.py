"""Choice of the tokens of `embed` for `--tokens auto`."""

from collections.abc import Callable

from dinocli.engine.rare_features import MIN_RARE_IMAGES, why_not_rare
from dinocli.models.backbone import Backbone
from dinocli.models.token_kinds import AUTO, POOLED_RARE
from dinocli.models.weights_info import WeightsInfo
from dinocli.quality.near_start import NEAR_SHIFT
from dinocli.tasks.embed.embed_options import STDOUT, EmbedOptions


def chosen_tokens(
    options: EmbedOptions, backbone: Backbone, info: WeightsInfo, images: int, shift: Callable[[], float]
) -> tuple[str, str]:
    """Choose pooled features with rare patches for convnets and plain ViTs, and pooled features otherwise.

    Images like those that the weights were trained on get pooled features: on five such sets (photographs, flowers,
    insects, pets, textures) whitening and rare patches changed k-NN accuracy by -.9 to +.2 points, and cost up to 4.9
    points of 5-shot. Adapted weights are not compared, since their statistics have moved towards the images.

    Args:
        options: Options of the command; other tokens than `auto` are returned unchanged.
        backbone: Backbone of the features.
        info: Description of the weights.
        images: Number of listed images, of all shards.
        shift: Computes the shift of variances of the images (`shift_of_folder`); NaN if it tells nothing.

    Returns:
        One of `dinocli.models.token_kinds.KINDS`, and a sentence for the user, empty unless tokens are `auto`.
    """
    if options.tokens != AUTO:
        return options.tokens, ""
    reason = _pooled_reason(options, backbone, images)
    adapted = info.similarity_change or not info.pretrained
    if not reason and not adapted and shift() < NEAR_SHIFT:
        reason = (
            f"these images are like those that the weights were trained on; --tokens {POOLED_RARE} adds rare patches"
        )
    if reason:
        return "pooled", f"features: pooled ({reason})"
    return POOLED_RARE, (
        f"features: {POOLED_RARE}, fitted to these images; embed other images with --like FILE of these, or all with "
        "--tokens pooled"
    )


def _pooled_reason(options: EmbedOptions, backbone: Backbone, images: int) -> str:
    if reason := why_not_rare(backbone):
        return reason
    if options.layers > 1:
        return f"with --layers {options.layers}"
    if options.out == STDOUT or options.shard:
        return f"{'--out -' if options.out == STDOUT else 'a shard'} cannot be fitted to all images"
    few = f"pooled+rare needs {MIN_RARE_IMAGES} images, and there are {images}"
    return few if images < MIN_RARE_IMAGES else ""
