"""Save a backbone as a folder that timm loads."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from timm.models import PretrainedCfg

from dinocli.config.preprocess import Preprocess
from dinocli.files import hidden_sibling, remove_path, replace_path, write_atomic
from dinocli.models.backbone import Backbone
from dinocli.models.weights import WeightsInfo


def save_backbone(folder: Path, backbone: Backbone, info: WeightsInfo, preprocess: Preprocess) -> None:
    """Write ``config.json`` and ``model.safetensors``, whole or not at all.

    ``timm.create_model("local-dir:FOLDER", pretrained=True)`` gives the same network, with mean, deviation, size and
    licence where timm looks for them. An older folder of this name is replaced.

    Args:
        folder: To make; its parents are made too.
        backbone: On any device.
        info: Of the weights that the training started from: its licence goes on.
        preprocess: How images have to be read for these weights.

    Raises:
        OSError: The disk is full or read-only.
    """
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in backbone.model.state_dict().items()}
    config = json.dumps(_config(backbone, info, preprocess), indent=2)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = hidden_sibling(folder, "new")
    remove_path(fresh)  # of a process that died
    fresh.mkdir()
    try:
        write_atomic(fresh / "model.safetensors", save(tensors, metadata={"format": "pt"}))
        write_atomic(fresh / "config.json", config)
        replace_path(fresh, folder)
    finally:
        remove_path(fresh)


def _config(backbone: Backbone, info: WeightsInfo, preprocess: Preprocess) -> dict[str, Any]:
    """Return timm's config. Our own keys stand beside ``pretrained_cfg``: timm refuses unknown ones inside it."""
    cfg = backbone.model.pretrained_cfg
    # A learnt position embedding has a grid: timm would build the model at this size, and resample in its own way.
    side = cfg["input_size"][-1] if cfg.get("fixed_input_size") else preprocess.size
    pretrained = PretrainedCfg(
        input_size=(backbone.in_chans, side, side),
        fixed_input_size=bool(cfg.get("fixed_input_size")),
        interpolation=preprocess.interpolation,
        mean=preprocess.mean,
        std=preprocess.std,
        crop_pct=1.0,
        crop_mode="squash",  # as `embed` does; timm would cut the middle out
        num_classes=0,
        first_conv=cfg.get("first_conv"),
        classifier=cfg.get("classifier"),
        license=info.licence,
    )
    return {
        "architecture": cfg["architecture"],
        "num_classes": 0,
        "num_features": backbone.dim,
        "pretrained_cfg": pretrained.to_dict(remove_source=True),
        **({"model_args": backbone.model_args} if backbone.model_args else {}),
        "dinocli": preprocess.to_dict(),
    }
