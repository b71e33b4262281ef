"""Save a backbone as a folder for `timm.create_model("local-dir:...")`, or as one safetensors file."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from timm.models import PretrainedCfg

from dinocli.config.preprocess import Preprocess
from dinocli.files import atomic_folder, with_sorted_metadata, write_atomic
from dinocli.models.backbone import Backbone
from dinocli.models.timm_config import METADATA_KEY
from dinocli.models.weights_info import WeightsInfo


def save_backbone(
    folder: Path, backbone: Backbone, info: WeightsInfo, preprocess: Preprocess, *, keep_reading: bool = True
) -> None:
    """Write ``config.json`` and ``model.safetensors``, atomically; an existing folder is replaced.

    ``timm.create_model("local-dir:FOLDER", pretrained=True)`` builds the same network, with mean, standard deviation,
    size and licence under timm's keys.

    Args:
        folder: Output folder; parents are created.
        backbone: On any device.
        info: Source of the start weights, whose licence is kept.
        preprocess: Preprocessing of images for these weights.
        keep_reading: Store how images are read, for later commands; False for weights that were trained on no folder.

    Raises:
        OSError: The disk is full or read-only.
    """
    data, config = to_safetensors(backbone, info, preprocess, {}, keep_reading=keep_reading)
    with atomic_folder(folder) as fresh:
        write_atomic(fresh / "model.safetensors", data)
        write_atomic(fresh / "config.json", config)


def to_safetensors(
    backbone: Backbone, info: WeightsInfo, preprocess: Preprocess, facts: dict[str, str], *, keep_reading: bool = True
) -> tuple[bytes, str]:
    """Return the content of a safetensors file with timm's tensor names, and of ``config.json``.

    The file holds that config in its metadata, so that `load_backbone` needs nothing else: architecture, normalisation
    and preprocessing stay with the weights when only the file is copied.

    Args:
        backbone: On any device.
        info: Source of the weights.
        preprocess: Preprocessing of images for these weights.
        facts: Further metadata.
        keep_reading: As in `save_backbone`.
    """
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in backbone.model.state_dict().items()}
    config = json.dumps(_config(backbone, info, preprocess, keep_reading=keep_reading), indent=2)
    return with_sorted_metadata(save(tensors, metadata={"format": "pt", METADATA_KEY: config, **facts})), config


def _config(backbone: Backbone, info: WeightsInfo, preprocess: Preprocess, *, keep_reading: bool) -> dict[str, Any]:
    """Return timm's config. Our keys are beside ``pretrained_cfg``, in which timm refuses unknown keys."""
    cfg = backbone.model.pretrained_cfg
    # timm builds the model at this size, and resamples a learnt position embedding to it in its own way.
    side = cfg["input_size"][-1] if cfg.get("fixed_input_size") else preprocess.size
    pretrained = PretrainedCfg(
        input_size=(backbone.in_chans, side, side),
        fixed_input_size=bool(cfg.get("fixed_input_size")),
        interpolation=preprocess.interpolation,
        mean=preprocess.mean,
        std=preprocess.std,
        crop_pct=1.0,
        crop_mode="squash",  # as `embed` does; timm's default is a centre crop
        num_classes=0,
        first_conv=cfg.get("first_conv"),
        classifier=cfg.get("classifier"),
        license=info.licence,
    )
    args = dict(backbone.model_args)
    if not keep_reading and backbone.pool_kind != "timm":  # `load_backbone` cannot know it from the reading
        args["global_pool"] = backbone.model.global_pool
    return {
        "architecture": cfg["architecture"],
        "num_classes": 0,
        "num_features": backbone.dim,
        "pretrained_cfg": pretrained.to_dict(remove_source=True),
        **({"model_args": args} if args else {}),
        **({"dinocli": preprocess.to_dict()} if keep_reading else {}),
        **({"similarity_change": info.similarity_change} if info.similarity_change else {}),
    }
