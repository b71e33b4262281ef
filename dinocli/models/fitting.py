"""Load the tensors of a file into a backbone: convert them by timm's own rules, count, load, or refuse in one line.

A loader that accepts any file leaves weights random without an error.
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

REQUIRED = 0.95  # share of the backbone's tensors that a file must bring


def counted(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out batch norm's step counters: older files have none, and nothing depends on them."""
    return {key: value for key, value in tensors.items() if not key.endswith("num_batches_tracked")}


def fit(backbone: Backbone, tensors: Mapping[str, Tensor], source: str) -> int:
    """Load the tensors of a file into a backbone.

    Args:
        backbone: Receives the tensors.
        tensors: As `formats.read_tensors` gives them.
        source: The file, for messages.

    Returns:
        How many of the backbone's tensors the file brought.

    Raises:
        WeightsError: Fewer than `REQUIRED` of them are there, any has another shape, or the file belongs to another
            architecture.
    """
    own = backbone.model.state_dict()
    try:
        with reading(f"its tensors as those of {backbone.name}", "give the right model with --model TIMM_NAME"):
            found = _convert(backbone, unwrap(tensors, own))
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    found = _for_input(backbone, found, source)
    expected, given = counted(own), counted(found)
    missing = [key for key in expected if key not in given]
    # Parts of the file that the backbone has not (a classifier, a decoder) are left behind; tensors that belong to its
    # own parts but find no place mean another architecture, even where every tensor of the backbone is there.
    parts = {key.partition(".")[0] for key in own}
    extra = [key for key in given if key not in expected and key.partition(".")[0] in parts]
    wrong = [key for key in expected if key in given and not _alike(expected[key], given[key])]
    allowed = (1 - REQUIRED) * len(expected)
    if wrong or len(missing) > allowed or len(extra) > allowed:
        matched = len(expected) - len(missing) - len(wrong)
        lists = {"missing": missing, "unexpected": extra, "wrong shape or type": wrong}
        shown = "; ".join(f"{what}: {', '.join(keys[:3])}" for what, keys in lists.items() if keys)
        raise WeightsError(
            f"{source}: {matched} of {len(expected)} tensors fit {backbone.name} ({shown}): "
            "give the right model with --model TIMM_NAME"
        )
    with reading(source, "give the right model with --model TIMM_NAME"):
        backbone.model.load_state_dict({key: found[key] for key in own if key in found}, strict=False)
    return len(expected) - len(missing)


def _for_input(backbone: Backbone, tensors: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Adapt the first convolution of weights of RGB to the channels of the backbone, as timm does.

    Source: `timm.models.adapt_input_conv`: kernels repeated in their order, times 3 / channels, so that the sum of what
    they see stays what it was; for one channel their sum.

    Raises:
        WeightsError: The file takes yet another number of channels, or timm cannot adapt its first layer.
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
    """Say that weights take another number of channels than is read, and what to do."""
    example = ",".join(map(str, range(theirs)))
    return f"{source}: takes {theirs} channels, and {read} are read: name {theirs}, such as --channels {example}"


def _alike(wanted: Tensor, given: Tensor) -> bool:
    """Whether one can take the place of the other: quantised or complex numbers would be taken for weights."""
    return wanted.shape == given.shape and (given.is_floating_point() or not wanted.is_floating_point())


def _convert(backbone: Backbone, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring the official names of an architecture to timm's, by timm's own filter, and resize the position embedding.

    Ours is resized first, because timm's filter would do it with antialiasing; and the size of the patches is compared
    first, because the filter would resample them to fit, whatever the model.
    """
    model = backbone.model
    kernel = tensors.get("patch_embed.proj.weight")
    if backbone.is_vit and kernel is not None and kernel.shape[-1] != backbone.patch:
        raise WeightsError(
            f"its patches are {kernel.shape[-1]} px, those of {backbone.name} {backbone.patch} px: "
            "give the right model with --model TIMM_NAME"
        )
    if "register_tokens" in tensors:
        tensors.setdefault("mask_token", Tensor())  # timm knows DINOv2 by it, and drops it
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
