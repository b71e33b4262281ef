"""Load weights from any source: timm, hub, checkpoint file, timm folder, transformers folder or run.

Tensors are read safely (`formats`), converted, compared with the model and loaded (`fitting`).
"""

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from dinocli.config.preprocess import Preprocess, for_channels
from dinocli.errors import WeightsError
from dinocli.files import user_path
from dinocli.models.backbone import Backbone
from dinocli.models.checkpoint_model import args_for, guess_name
from dinocli.models.create import check_name, create_backbone, usual_size
from dinocli.models.fitting import channels_differ, load_tensors, without_counters
from dinocli.models.formats import read_tensors, unwrap
from dinocli.models.hub import WEIGHTS_FILES, find_file, find_pretrained
from dinocli.models.timm_config import embedded_config, read_timm_config
from dinocli.models.transformers_names import MODEL_TYPES, TransformersRecord, read_processor, read_transformers_config
from dinocli.models.weights_info import WeightsInfo
from dinocli.models.weights_path import refuse_missing_weights
from dinocli.stored import reading


class BuildOptions(NamedTuple):
    """Options of the backbone; see `load_backbone`."""

    drop_path: float
    pool: str
    in_chans: int


LoadedBackbone = tuple[Backbone, WeightsInfo, dict[str, Any] | None]


def load_backbone(
    weights: str, name: str = "", *, drop_path: float = 0.0, pool: str = "auto", in_chans: int = 0
) -> LoadedBackbone:
    """Build a backbone and load its weights.

    Random weights come from torch's default generator; other weights leave it as it is.

    Args:
        weights: ``none``, a timm name, a checkpoint file (those of dinocli have model and preprocessing in them), a
            timm folder (``config.json`` and weights), a run of dinocli (which has such a folder, ``backbone/``), or a
            hub id (``organisation/name``, optionally with ``hf-hub:``). An existing path takes precedence over a name.
        name: timm name; needed with ``none``, and with a file whose shapes are ambiguous. Elsewhere it has to agree
            with the weights.
        drop_path: Stochastic depth rate, 0 to 1; ignored by models without it.
        pool: What the backbone pools: `cls`, `mean`, `timm`, or `auto`. If timm pools the mean of the patches although
            there is a class token (DINOv3, BEiT), auto uses the class token, as the weights were trained; if a
            classifier used the mean, or a folder states the pooling, auto changes nothing.
        in_chans: Channels of the input; 0 for those of the weights. RGB weights are adapted to any number.

    Returns:
        The backbone in train mode, the source of its weights, and the preprocessing stored with weights of dinocli
        (`Preprocess.to_dict` data), else None.

    Raises:
        WeightsError: The weights do not exist, cannot be read, or do not fit the model or the channels.
    """
    build = BuildOptions(drop_path, pool, in_chans)
    backbone, info, stored = _random(name, build) if weights == "none" else _load(weights, name, build)
    if name and name.partition(".")[0] != info.name.partition(".")[0]:
        raise WeightsError(f"{weights}: holds {info.name}, not {name}: leave out the name of the model")
    mean, std = (for_channels(values, backbone.in_chans) for values in (info.mean, info.std))
    if not len(mean) == len(std) == backbone.in_chans:
        raise WeightsError(f"{weights}: normalises {len(mean)} channels, and its network takes {backbone.in_chans}")
    return backbone, replace(info, mean=mean, std=std), stored


@torch.random.fork_rng(devices=[])  # timm draws weights before it loads those of a file
def _load(weights: str, name: str, build: BuildOptions) -> LoadedBackbone:
    path = user_path(weights)
    if path.is_dir():
        return _from_folder(path, name, str(path.resolve()), build)
    if path.is_file() and (config := embedded_config(path)):
        with tempfile.TemporaryDirectory() as folder:  # timm reads a config from a folder only
            (Path(folder) / "config.json").write_text(config)
            return _from_timm_folder(Path(folder), path, str(path.resolve()), build)
    if path.is_file():
        return *_from_file(path, name, build), None
    hub_id = weights.removeprefix("hf-hub:")
    refuse_missing_weights(weights)
    if "/" in hub_id:
        hub_config = find_file(hub_id, ["config.json"])
        find_file(hub_id, WEIGHTS_FILES)
        return _from_folder(hub_config.parent, name, f"hf-hub:{hub_id}", build)
    return *_from_timm(weights, build), None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _choose_pool(backbone: Backbone, pool: str, *, classifier: bool) -> None:
    """Set the pooling; `auto` uses the class token unless a classifier was trained on the mean."""
    if pool == "auto":
        pool = "cls" if backbone.pool_kind == "mean" and not classifier else "timm"
    backbone.set_pool(pool)


def _random(name: str, build: BuildOptions) -> tuple[Backbone, WeightsInfo, None]:
    if not name:
        raise WeightsError("--weights none starts from random weights: name the architecture with --model TIMM_NAME")
    backbone = create_backbone(name, drop_path=build.drop_path, in_chans=build.in_chans)
    _choose_pool(backbone, build.pool, classifier=False)
    digest = hashlib.sha256()
    for key, value in backbone.model.state_dict().items():
        digest.update(key.encode() + value.detach().cpu().numpy().tobytes())
    info = _describe(backbone, "none", digest.hexdigest(), matched=0)
    return backbone, replace(info, licence="unknown", pretrained=False), None


def _from_timm(name: str, build: BuildOptions) -> tuple[Backbone, WeightsInfo]:
    check_name(name)
    cfg = timm.models.get_pretrained_cfg(name)
    path = find_pretrained(name, cfg)
    backbone = create_backbone(name, drop_path=build.drop_path, in_chans=build.in_chans)
    _choose_pool(backbone, build.pool, classifier=bool(cfg.num_classes))
    matched = load_tensors(backbone, read_tensors(path), name)
    return backbone, _describe(backbone, name, sha256_of(path), matched)


def _from_file(path: Path, name: str, build: BuildOptions) -> tuple[Backbone, WeightsInfo]:
    tensors = read_tensors(path)
    with reading(path, "give the right model with --model TIMM_NAME"):
        inner = unwrap(tensors)
        named = name or guess_name(inner)
        args = args_for(named, inner, guessed=not name) if named else {}
    if not named:
        raise WeightsError(f"{path}: the shapes do not tell which model it is: give it with --model TIMM_NAME")
    backbone = create_backbone(named, drop_path=build.drop_path, model_args=args, in_chans=build.in_chans)
    classifier = any(f".{key}".endswith(".head.weight") for key in tensors)
    _choose_pool(backbone, build.pool, classifier=classifier)
    matched = load_tensors(backbone, tensors, str(path))
    info = replace(_describe(backbone, str(path.resolve()), sha256_of(path), matched), licence="unknown")
    # timm's untagged ViTs are configured for supervised weights with a mean of 0.5. A ViT without a classifier comes
    # from DINO, MAE or similar methods, all of which use the mean and standard deviation of ImageNet.
    if backbone.is_vit and "." not in named and not classifier:
        info = replace(info, mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)
    return backbone, info


def _from_folder(folder: Path, name: str, source: str, build: BuildOptions) -> LoadedBackbone:
    if (folder / "backbone" / "config.json").is_file():
        folder = folder / "backbone"
    if (transformers_config := read_transformers_config(folder)) is not None:
        return *_from_transformers(folder, name, transformers_config, source, build), None
    path = next((folder / file for file in WEIGHTS_FILES if (folder / file).is_file()), None)
    return _from_timm_folder(folder, path, source, build)


def _from_timm_folder(folder: Path, path: Path | None, source: str, build: BuildOptions) -> LoadedBackbone:
    """Build the model of a folder's ``config.json``, and load the weights of a file."""
    config = read_timm_config(folder, source)
    if config["dinocli"] is not None:
        Preprocess.from_dict(config["dinocli"])
    if path is None:
        raise WeightsError(
            f"{source}: has no {' or '.join(WEIGHTS_FILES)}: give a run, a timm folder or a checkpoint file"
        )
    args = config["model_args"]
    weights_chans, image_chans = args.get("in_chans", 3), build.in_chans
    if image_chans not in (0, weights_chans) and weights_chans != 3:
        raise WeightsError(channels_differ(source, weights_chans, image_chans))
    with reading(f"{source}: the model of its config.json", "give the same weights by their timm name", "built"):
        backbone = create_backbone(
            config["architecture"], drop_path=build.drop_path, folder=folder, model_args=args, in_chans=image_chans
        )
        info = _describe(backbone, source, sha256_of(path), matched=0)
    has_pool = "global_pool" in args or config["dinocli"] is not None  # a run of dinocli stores its pooling
    _choose_pool(backbone, build.pool, classifier=has_pool or bool(config["num_classes"]))
    matched = load_tensors(backbone, read_tensors(path), source)
    known = {"matched": matched, "pool": backbone.pool_kind, "similarity_change": config["similarity_change"]}
    return backbone, replace(info, **known), config["dinocli"]


def _from_transformers(
    folder: Path, name: str, config: TransformersRecord, source: str, build: BuildOptions
) -> tuple[Backbone, WeightsInfo]:
    """Load a folder of the transformers library, with mean, std and size of its processor."""
    path = next((folder / file for file in WEIGHTS_FILES if (folder / file).is_file()), None)
    if config.model_type not in MODEL_TYPES or path is None:
        what = f"a {config.model_type} of the transformers library" if path else f"no {' or '.join(WEIGHTS_FILES)}"
        raise WeightsError(f"{source}: {what}: give {', '.join(MODEL_TYPES)}, or the same weights by their timm name")
    backbone, info = _from_file(path, name, build)
    heads = {module.num_heads for name, module in backbone.model.named_modules() if name.endswith(".attn")}
    if heads != {config.num_attention_heads}:
        raise WeightsError(
            f"{source}: {config.num_attention_heads} attention heads, {backbone.name} has {max(heads)}: its features "
            "would be wrong; give the same weights by their timm name"
        )
    return backbone, replace(info, source=source, **read_processor(folder))


def _describe(backbone: Backbone, source: str, sha256: str, matched: int) -> WeightsInfo:
    cfg = backbone.model.pretrained_cfg
    return WeightsInfo(
        name=backbone.name,
        source=source,
        sha256=sha256,
        licence=cfg.get("license") or "unknown",
        matched=matched,
        total=len(without_counters(backbone.model.state_dict())),
        mean=tuple(cfg["mean"]),
        std=tuple(cfg["std"]),
        size=usual_size(backbone.name, cfg["input_size"][-1]),
        pretrained=True,
        pool=backbone.pool_kind,
        model_args=backbone.model_args,
    )
