"""Convert weights of the transformers library to the tensor names of DINO's official code.

The library's ViT, DINOv2 (with or without registers) and DINOv3 have other names and separate query, key and value,
with the same values. Under the official names they are loaded like every other checkpoint.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from dinocli.errors import WeightsError
from dinocli.stored import Stored, read_json

_CLS_TOKEN = "embeddings.cls_token"
_BLOCK_KEY = re.compile(r"(?:.*\.)?layers?\.(\d+)\.(.+)\.(weight|bias|lambda1)")
_TOP_LEVEL_NAMES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.mask_token": "mask_token",
    "embeddings.register_tokens": "register_tokens",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "embeddings.patch_embeddings.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
    "norm.weight": "norm.weight",
    "norm.bias": "norm.bias",
    "classifier.weight": "head.weight",
    "classifier.bias": "head.bias",
}
_BLOCK_NAMES = {
    **{"norm1": "norm1", "layernorm_before": "norm1", "norm2": "norm2", "layernorm_after": "norm2"},
    **{"attention.output.dense": "attn.proj", "attention.o_proj": "attn.proj"},
    **{"layer_scale1": "ls1", "layer_scale2": "ls2"},
    **{"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2", "intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2"},
    **{"mlp.weights_in": "mlp.w12", "mlp.weights_out": "mlp.w3"},
    **{"mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2"},
}
_GATED_MLP_NAMES = {"mlp.gate_proj": "mlp.w1", "mlp.up_proj": "mlp.w2", "mlp.down_proj": "mlp.w3"}
_QKV_POSITIONS = {
    **{"attention.attention.query": 0, "attention.attention.key": 1, "attention.attention.value": 2},
    **{"attention.q_proj": 0, "attention.k_proj": 1, "attention.v_proj": 2},
}


_IGNORED_PARTS = ("pooler", "decoder", "rope_embeddings")
"""Parts that a backbone does not have, or that are computed."""

MODEL_TYPES = ("vit", "dinov2", "dinov2_with_registers", "dinov3_vit")
"""Supported values of `model_type`."""


class TransformersRecord(Stored):
    """The fields of the library's `config.json` that are used."""

    model_type: str
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)] = 12


class ProcessorRecord(Stored):
    """The fields of `preprocessor_config.json` that are used."""

    image_mean: list[float] = Field(default_factory=list, max_length=3)
    image_std: list[Annotated[float, Field(gt=0)]] = Field(default_factory=list, max_length=3)
    crop_size: dict[str, Any] | int | None = None
    size: dict[str, Any] | int | None = None


def are_transformers(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have names of the transformers library."""
    return any(key == _CLS_TOKEN or key.endswith(f".{_CLS_TOKEN}") for key in tensors)


def official_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the official names, with query, key and value concatenated.

    Args:
        tensors: Tensors of a ViT, DINOv2 or DINOv3 of the transformers library.

    Raises:
        WeightsError: Query, key or value is missing, or there are parts of another architecture.
    """
    gated = any(".gate_proj." in key for key in tensors)
    unknown: list[str] = []
    inside = _BLOCK_NAMES | (_GATED_MLP_NAMES if gated else {})
    renamed: dict[str, Tensor] = {}
    parts: dict[str, dict[int, Tensor]] = {}
    for key, value in tensors.items():
        match = _BLOCK_KEY.fullmatch(key)
        if match is None:
            outer = next((name for name in _TOP_LEVEL_NAMES if key == name or key.endswith(f".{name}")), None)
            if outer:
                renamed[_TOP_LEVEL_NAMES[outer]] = value
            elif not any(part in _IGNORED_PARTS for part in key.split(".")):
                unknown.append(key)
            continue
        number, inner, last = match.groups()
        if inner in _QKV_POSITIONS:
            parts.setdefault(f"blocks.{number}.attn.qkv.{last}", {})[_QKV_POSITIONS[inner]] = value
        elif inner in inside:
            renamed[f"blocks.{number}.{inside[inner]}.{'gamma' if last == 'lambda1' else last}"] = value
        else:
            unknown.append(key)
    if unknown:
        raise WeightsError(
            f"its {unknown[0]} is not part of a ViT, DINOv2 or DINOv3: give the weights by their timm name"
        )
    renamed |= {key: _joined(key, three) for key, three in parts.items()}
    for last in ("weight", "bias"):  # a gated DINOv2 of later versions of the library
        for key in [key for key in renamed if "pos_embed" in renamed and key.endswith(f".mlp.w1.{last}")]:
            stem = key.removesuffix(f"w1.{last}")
            renamed[f"{stem}w12.{last}"] = torch.cat([renamed.pop(key), renamed.pop(f"{stem}w2.{last}")])
    if "pos_embed" not in renamed and "register_tokens" in renamed:  # DINOv3
        renamed["storage_tokens"] = renamed.pop("register_tokens")
    return renamed


def _joined(key: str, three: dict[int, Tensor]) -> Tensor:
    """Concatenate query, key and value; DINOv3's key has no bias, which becomes 0."""
    known = next(iter(three.values()))
    if len(three) < 3 and not key.endswith(".bias"):
        raise WeightsError(f"its {key} lacks query, key or value: fetch the weights again")
    return torch.cat([three.get(place, torch.zeros_like(known)) for place in range(3)])


def read_transformers_config(folder: Path) -> TransformersRecord | None:
    """Read `config.json` of a folder of the transformers library; None if it is of another kind.

    Raises:
        WeightsError: It is damaged.
    """
    path = folder / "config.json"
    if not path.is_file() or "model_type" not in read_json(path, Stored, "fetch the weights again"):
        return None
    return TransformersRecord.model_validate(read_json(path, TransformersRecord, "fetch the weights again"))


def read_processor(folder: Path) -> dict[str, Any]:
    """Return mean, std and size from `preprocessor_config.json`, as far as present.

    Raises:
        WeightsError: It is damaged.
    """
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return {}
    processor = ProcessorRecord.model_validate(read_json(path, ProcessorRecord, "fetch the weights again"))
    settings: dict[str, Any] = {}
    if len(processor.image_mean) == len(processor.image_std) == 3:
        settings |= {"mean": tuple(processor.image_mean), "std": tuple(processor.image_std)}
    for size in (processor.crop_size, processor.size):
        side = size.get("height", size.get("shortest_edge")) if isinstance(size, dict) else size
        if isinstance(side, int) and 1 <= side <= 16_384:
            return settings | {"size": side}
    return settings
