"""Weights of the transformers library under the names that DINO's own code gives them.

Its ViT, DINOv2 (with registers or without) and DINOv3 keep query, key and value apart and call everything otherwise;
the numbers are the same. Under the official names they take the way of every other checkpoint.
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

_MARK = "embeddings.cls_token"
_BLOCK = re.compile(r"(?:.*\.)?layers?\.(\d+)\.(.+)\.(weight|bias|lambda1)")
_OUTSIDE = {
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
_INSIDE = {
    **{"norm1": "norm1", "layernorm_before": "norm1", "norm2": "norm2", "layernorm_after": "norm2"},
    **{"attention.output.dense": "attn.proj", "attention.o_proj": "attn.proj"},
    **{"layer_scale1": "ls1", "layer_scale2": "ls2"},
    **{"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2", "intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2"},
    **{"mlp.weights_in": "mlp.w12", "mlp.weights_out": "mlp.w3"},
    **{"mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2"},
}
_GATED = {"mlp.gate_proj": "mlp.w1", "mlp.up_proj": "mlp.w2", "mlp.down_proj": "mlp.w3"}
_QKV = {
    **{"attention.attention.query": 0, "attention.attention.key": 1, "attention.attention.value": 2},
    **{"attention.q_proj": 0, "attention.k_proj": 1, "attention.v_proj": 2},
}


_LEFT_OUT = ("pooler", "decoder", "rope_embeddings")
"""Parts that no backbone has, or that are computed."""

KNOWN = ("vit", "dinov2", "dinov2_with_registers", "dinov3_vit")
"""What `model_type` may say."""


class TransformersRecord(Stored):
    """`config.json` of the transformers library, as far as it decides what the weights mean."""

    model_type: str
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)] = 12


class ProcessorRecord(Stored):
    """`preprocessor_config.json`, as far as we read it."""

    image_mean: list[float] = Field(default_factory=list, max_length=3)
    image_std: list[Annotated[float, Field(gt=0)]] = Field(default_factory=list, max_length=3)
    crop_size: dict[str, Any] | int | None = None
    size: dict[str, Any] | int | None = None


def are_transformers(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of the transformers library."""
    return any(key == _MARK or key.endswith(f".{_MARK}") for key in tensors)


def official_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the official names, query, key and value joined.

    Args:
        tensors: Of a ViT, DINOv2 or DINOv3 of the transformers library.

    Raises:
        WeightsError: One of query, key and value is missing, or there are parts of another architecture.
    """
    gated = any(".gate_proj." in key for key in tensors)
    unknown: list[str] = []
    inside = _INSIDE | (_GATED if gated else {})
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[int, Tensor]] = {}
    for key, value in tensors.items():
        match = _BLOCK.fullmatch(key)
        if match is None:
            outer = next((name for name in _OUTSIDE if key == name or key.endswith(f".{name}")), None)
            if outer:
                found[_OUTSIDE[outer]] = value
            elif not any(part in _LEFT_OUT for part in key.split(".")):
                unknown.append(key)
            continue
        number, inner, last = match.groups()
        if inner in _QKV:
            parts.setdefault(f"blocks.{number}.attn.qkv.{last}", {})[_QKV[inner]] = value
        elif inner in inside:
            found[f"blocks.{number}.{inside[inner]}.{'gamma' if last == 'lambda1' else last}"] = value
        else:
            unknown.append(key)
    if unknown:
        raise WeightsError(
            f"its {unknown[0]} is no part of a ViT, DINOv2 or DINOv3: give the weights by their timm name"
        )
    found |= {key: _joined(key, three) for key, three in parts.items()}
    for last in ("weight", "bias"):  # a gated DINOv2 of later versions of the library
        for key in [key for key in found if "pos_embed" in found and key.endswith(f".mlp.w1.{last}")]:
            stem = key.removesuffix(f"w1.{last}")
            found[f"{stem}w12.{last}"] = torch.cat([found.pop(key), found.pop(f"{stem}w2.{last}")])
    if "pos_embed" not in found and "register_tokens" in found:  # DINOv3
        found["storage_tokens"] = found.pop("register_tokens")
    return found


def _joined(key: str, three: dict[int, Tensor]) -> Tensor:
    """Join query, key and value; DINOv3's key has no bias."""
    known = next(iter(three.values()))
    if len(three) < 3 and not key.endswith(".bias"):
        raise WeightsError(f"its {key} lacks query, key or value: fetch the weights again")
    return torch.cat([three.get(place, torch.zeros_like(known)) for place in range(3)])


def read_transformers_config(folder: Path) -> TransformersRecord | None:
    """Read `config.json` of a folder of the transformers library; None where it is of another kind.

    Raises:
        WeightsError: It is damaged.
    """
    path = folder / "config.json"
    if not path.is_file() or "model_type" not in read_json(path, Stored, "fetch the weights again"):
        return None
    return TransformersRecord.model_validate(read_json(path, TransformersRecord, "fetch the weights again"))


def read_processor(folder: Path) -> dict[str, Any]:
    """Return mean, std and size of `preprocessor_config.json`, as far as they are there.

    Raises:
        WeightsError: It is damaged.
    """
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return {}
    about = ProcessorRecord.model_validate(read_json(path, ProcessorRecord, "fetch the weights again"))
    found: dict[str, Any] = {}
    if len(about.image_mean) == len(about.image_std) == 3:
        found |= {"mean": tuple(about.image_mean), "std": tuple(about.image_std)}
    for size in (about.crop_size, about.size):
        side = size.get("height", size.get("shortest_edge")) if isinstance(size, dict) else size
        if isinstance(side, int) and 1 <= side <= 16_384:
            return found | {"size": side}
    return found
