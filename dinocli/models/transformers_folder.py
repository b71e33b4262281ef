"""Export a backbone for the transformers library: config.json, preprocessor_config.json, model.safetensors.

Tensors have the names of the released ViT, DINOv2 and DINOv3 weights, which later versions of the library convert.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from dinocli.config.preprocess import Preprocess
from dinocli.errors import WeightsError
from dinocli.files import write_atomic
from dinocli.models.backbone import Backbone

_REMEDY = "use --format timm, onnx or torchscript"
_BICUBIC = 3  # `PIL.Image.Resampling.BICUBIC`
_QKV = ("attention.attention.query", "attention.attention.key", "attention.attention.value")
_QKV_V3 = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
_VIT = {
    **{"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.output.dense"},
    **{"mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"},
}
_DINOV2 = {
    **{"norm1": "norm1", "norm2": "norm2", "attn.proj": "attention.output.dense"},
    **{"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2", "ls1.gamma": "layer_scale1.lambda1"},
    **{"ls2.gamma": "layer_scale2.lambda1"},
}
_DINOV3 = {
    **{"norm1": "norm1", "norm2": "norm2", "attn.proj": "attention.o_proj", "gamma_1": "layer_scale1.lambda1"},
    **{"gamma_2": "layer_scale2.lambda1", "mlp.fc1": "mlp.up_proj", "mlp.fc2": "mlp.down_proj"},
}


def write_transformers(folder: Path, backbone: Backbone, preprocess: Preprocess) -> None:
    """Write a folder for `AutoModel.from_pretrained`.

    Args:
        folder: Output folder.
        backbone: A plain ViT, DINOv2 or DINOv3 of timm.
        preprocess: Mean, standard deviation and size for `preprocessor_config.json`.

    Raises:
        WeightsError: The library does not have this architecture, or its processor does not support the channels.
    """
    if backbone.in_chans != len("RGB"):
        raise WeightsError(f"transformers' processors read RGB, these weights {backbone.in_chans} channels: {_REMEDY}")
    kind = _kind(backbone)
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in _tensors(backbone.model, kind).items()}
    side = preprocess.size
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": _BICUBIC,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "model.safetensors", save(tensors, metadata={"format": "pt"}))
    write_atomic(folder / "config.json", json.dumps(_config(backbone.model, kind), indent=2) + "\n")
    write_atomic(folder / "preprocessor_config.json", json.dumps(processor, indent=2) + "\n")


def _kind(backbone: Backbone) -> str:
    """Return the `model_type` of the library, determined from the tensor names."""
    names = set(backbone.model.state_dict())
    inner = {key.split(".", 2)[2] for key in names if key.startswith("blocks.")}
    plain = {"cls_token", "norm.weight", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight"} <= names
    known = {f"{name}.{last}" for name in (*_DINOV2, "attn.qkv") for last in ("weight", "bias")}
    known |= {"ls1.gamma", "ls2.gamma", "gamma_1", "gamma_2", "attn.q_bias", "attn.v_bias"}
    if not plain or inner - known or type(backbone.model).__name__ not in ("VisionTransformer", "Eva"):
        raise WeightsError(f"{backbone.name} has no place in the transformers library: {_REMEDY}")
    if "pos_embed" not in names:
        return "dinov3_vit"
    if "ls1.gamma" not in inner:
        if "reg_token" in names:
            raise WeightsError(
                f"{backbone.name}, a ViT with registers, has no place in the transformers library: {_REMEDY}"
            )
        return "vit"
    return "dinov2_with_registers" if "reg_token" in names else "dinov2"


def _tensors(model: Any, kind: str) -> dict[str, Tensor]:
    state = model.state_dict()
    v3 = kind == "dinov3_vit"
    names = _VIT if kind == "vit" else _DINOV3 if v3 else _DINOV2
    tensors = {"embeddings.cls_token": state["cls_token"]}
    width = state["cls_token"].shape[-1]
    patch = "embeddings.patch_embeddings" if v3 else "embeddings.patch_embeddings.projection"
    norm = "norm" if v3 else "layernorm"
    for last in ("weight", "bias"):
        tensors[f"{patch}.{last}"] = state[f"patch_embed.proj.{last}"]
        tensors[f"{norm}.{last}"] = state[f"norm.{last}"]
    if "reg_token" in state:
        tensors["embeddings.register_tokens"] = state["reg_token"]
    if v3:
        tensors["embeddings.mask_token"] = torch.zeros(1, 1, width)
    else:
        position = state["pos_embed"]
        if kind == "dinov2_with_registers" and model.no_embed_class:  # the class token includes its position
            position = torch.cat([torch.zeros(1, 1, width), position], dim=1)
        tensors["embeddings.position_embeddings"] = position
        if kind != "vit":
            tensors["embeddings.mask_token"] = torch.zeros(1, width)
    for key in state:
        if key.startswith("blocks."):
            tensors |= _block(key, state, names, kind)
    return tensors


def _block(key: str, state: dict[str, Tensor], names: dict[str, str], kind: str) -> dict[str, Tensor]:
    """Return a tensor of a block under its names in the library; QKV is split into three."""
    _, number, inner = key.split(".", 2)
    layer = f"layer.{number}" if kind == "dinov3_vit" else f"encoder.layer.{number}"
    stem, _, last = inner.rpartition(".")
    if stem == "attn.qkv":
        qkv = _QKV_V3 if kind == "dinov3_vit" else _QKV
        return {f"{layer}.{part}.{last}": piece for part, piece in zip(qkv, state[key].chunk(3), strict=True)}
    if inner in ("attn.q_bias", "attn.v_bias"):
        return {f"{layer}.attention.{inner[5]}_proj.bias": state[key]}
    if inner in names:
        return {f"{layer}.{names[inner]}": state[key]}
    return {f"{layer}.{names[stem]}.{last}": state[key]}


def _config(model: Any, kind: str) -> dict[str, Any]:
    state, block = model.state_dict(), model.blocks[0]
    width, hidden = state["cls_token"].shape[-1], state["blocks.0.mlp.fc1.weight"].shape[0]
    patch = state["patch_embed.proj.weight"].shape[-1]
    classes = {"vit": "ViTModel", "dinov2": "Dinov2Model", "dinov3_vit": "DINOv3ViTModel"}
    config = {
        "architectures": [classes.get(kind, "Dinov2WithRegistersModel")],
        "model_type": kind,
        "hidden_size": width,
        "num_hidden_layers": len(model.blocks),
        "num_attention_heads": block.attn.num_heads,
        "hidden_act": "gelu",
        "layer_norm_eps": model.norm.eps,
        "image_size": patch * model.patch_embed.grid_size[0],
        "patch_size": patch,
        "num_channels": 3,
        "torch_dtype": "float32",
    }
    if kind == "dinov3_vit":
        biased = "blocks.0.attn.q_bias" in state
        config |= {"intermediate_size": hidden, "num_register_tokens": state["reg_token"].shape[1], "rope_theta": 100.0}
        return config | {"query_bias": biased, "key_bias": False, "value_bias": biased, "use_gated_mlp": False}
    config["qkv_bias"] = "blocks.0.attn.qkv.bias" in state
    if kind == "vit":
        return config | {"intermediate_size": hidden}
    ratio = hidden / width
    config |= {"mlp_ratio": int(ratio) if ratio.is_integer() else ratio}  # the library refuses 4.0
    config |= {"use_swiglu_ffn": False}
    return config | ({"num_register_tokens": state["reg_token"].shape[1]} if "reg_token" in state else {})
