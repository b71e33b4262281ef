"""Load the tensors of a file into a backbone: convert by timm's rules, compare names and shapes, load or refuse.

A loader without this check would leave weights random without an error.
"""

import contextlib
import io
import sys
from collections.abc import Mapping

from timm.models import adapt_input_conv
from torch import Tensor, nn

from dinocli.errors import WeightsError
from dinocli.models.backbone import Backbone
from dinocli.models.formats import position_grid, unwrap
from dinocli.models.positions import resample_position
from dinocli.stored import reading

REQUIRED_SHARE = 0.95  # of the backbone's tensors that a file must contain


def without_counters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without the step counters of batch norm, which are unused and missing in older files."""
    return {key: value for key, value in tensors.items() if not key.endswith("num_batches_tracked")}


def load_tensors(backbone: Backbone, tensors: Mapping[str, Tensor], source: str) -> int:
    """Load the tensors of a file into a backbone.

    Args:
        backbone: Receives the tensors.
        tensors: Tensors from `formats.read_tensors`.
        source: The file, for messages.

    Returns:
        Number of the backbone's tensors that were loaded.

    Raises:
        WeightsError: Fewer than `REQUIRED_SHARE` of the tensors are in the file, any has another shape, or the file
            belongs to another architecture.
    """
    state = backbone.model.state_dict()
    try:
        with reading(f"its tensors as those of {backbone.name}", "give the right model with --model TIMM_NAME"):
            converted = _convert(backbone, unwrap(tensors, state))
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    converted = _adapt_input(backbone, converted, source)
    expected, given = without_counters(state), without_counters(converted)
    missing = [key for key in expected if key not in given]
    # Parts of the file that the backbone does not have (a classifier, a decoder) are ignored. Unexpected tensors in its
    # own parts mean another architecture, even if every tensor of the backbone is there.
    parts = {key.partition(".")[0] for key in state}
    extra = [key for key in given if key not in expected and key.partition(".")[0] in parts]
    wrong = [key for key in expected if key in given and not _compatible(expected[key], given[key])]
    allowed = (1 - REQUIRED_SHARE) * len(expected)
    if wrong or len(missing) > allowed or len(extra) > allowed:
        matched = len(expected) - len(missing) - len(wrong)
        lists = {"missing": missing, "unexpected": extra, "wrong shape or type": wrong}
        shown = "; ".join(f"{what}: {', '.join(keys[:3])}" for what, keys in lists.items() if keys)
        raise WeightsError(
            f"{source}: {matched} of {len(expected)} tensors fit {backbone.name} ({shown}): "
            "give the right model with --model TIMM_NAME"
        )
    with reading(source, "give the right model with --model TIMM_NAME"):
        backbone.model.load_state_dict({key: converted[key] for key in state if key in converted}, strict=False)
    return len(expected) - len(missing)


def _adapt_input(backbone: Backbone, tensors: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Adapt the first convolution of RGB weights to the input channels of the backbone, as timm does.

    Source: `timm.models.adapt_input_conv`: kernels repeated in order, times 3 / channels, so that the scale of the
    output stays; for one channel their sum.

    Raises:
        WeightsError: The file has neither 3 nor the wanted number of channels, or timm cannot adapt its first layer.
    """
    first = backbone.model.pretrained_cfg.get("first_conv") or ()
    adapted = dict(tensors)
    if not first and backbone.in_chans != len("RGB"):
        raise WeightsError(f"timm does not say which layer of {backbone.name} takes the channels: choose another model")
    for name in (first,) if isinstance(first, str) else first:
        key, layer = f"{name}.weight", backbone.model.get_submodule(name)
        kernel = tensors.get(key)
        if kernel is None or kernel.ndim != 4 or kernel.shape[1] == layer.weight.shape[1]:
            continue
        if kernel.shape[1] != len("RGB"):
            raise WeightsError(channels_differ(source, kernel.shape[1], backbone.in_chans))
        try:
            adapted[key] = adapt_input_conv(backbone.in_chans, kernel)
        except NotImplementedError as error:
            why = f"its first layer does not adapt to {backbone.in_chans} channels ({error})"
            raise WeightsError(
                f"{backbone.name}: {why}: choose another model, or --channels with one or three"
            ) from error
    return adapted


def channels_differ(source: str, theirs: int, read: int) -> str:
    """Return the error message for weights whose number of channels differs from that of the images."""
    example = ",".join(map(str, range(theirs)))
    return f"{source}: takes {theirs} channels, and {read} are read: name {theirs}, such as --channels {example}"


def _compatible(expected: Tensor, given: Tensor) -> bool:
    """Return whether shapes are equal and a float is replaced by a float: not by quantised or complex numbers."""
    return expected.shape == given.shape and (given.is_floating_point() or not expected.is_floating_point())


def _convert(backbone: Backbone, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert official names to timm's by timm's checkpoint filter, and resample the position embedding.

    The position embedding is resampled first, because timm's filter would antialias; the patch size is compared first,
    because the filter would resample the patches of any model.
    """
    model = backbone.model
    kernel = tensors.get("patch_embed.proj.weight")
    if backbone.is_vit and kernel is not None and kernel.shape[-1] != backbone.patch:
        raise WeightsError(
            f"its patches are {kernel.shape[-1]} px, those of {backbone.name} {backbone.patch} px: "
            "give the right model with --model TIMM_NAME"
        )
    if "register_tokens" in tensors:
        tensors.setdefault("mask_token", Tensor())  # by which timm recognises DINOv2; it drops it
    position = tensors.get("pos_embed")
    if backbone.is_vit and position is not None and isinstance(getattr(model, "pos_embed", None), nn.Parameter):
        prefix, side = position_grid(position)
        tensors["pos_embed"] = resample_position(
            position, (side, side), model.patch_embed.grid_size, prefix=prefix, antialias=backbone.antialias
        )
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # one of the filters prints
            converted: dict[str, Tensor] = convert(tensors, model)
    except (KeyError, RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise WeightsError(f"not weights of {backbone.name} ({error}): give the right model with --model") from error
    return converted
