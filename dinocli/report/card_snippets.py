"""Python code for the model card that loads an export and computes features of a file."""

import json

from dinocli.artifacts.whole_graph import WholeGraph
from dinocli.config.preprocess import PAGES, Preprocess
from dinocli.data.region_of_interest import region_box
from dinocli.models.export_graph import has_one_size
from dinocli.models.graph_pipeline import FITTED_OUTPUTS, OUTPUTS, PROBABILITIES
from dinocli.report.text import visible

_TIMM = """import timm
import torch
from PIL import Image

model = timm.create_model({local}, pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
images = transform({image})[None]  # (1, 3, {side}, {side})
with torch.no_grad():
    pooled = model(images)  # (B, {dim})
    patches = model.forward_features(images)  # tokens of a transformer, map of a convnet
"""
_TRANSFORMERS = """import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

model = AutoModel.from_pretrained({name}).eval()
processor = AutoImageProcessor.from_pretrained({name})
with torch.no_grad():
    found = model(**processor({image}, return_tensors="pt"))
pooled = found.last_hidden_state[:, 0]  # (B, {dim}): the class token
"""
_READING = """image = {image}.resize(({side}, {side}), Image.Resampling.BICUBIC)
values = numpy.asarray(image, "float32").transpose(2, 0, 1) / 255
images = (values - numpy.float32({mean})[:, None, None]) / numpy.float32({std})[:, None, None]
"""
_TIMM_OF_CHANNELS = """import numpy
import timm
import torch
from PIL import Image

model = timm.create_model({local}, pretrained=True).eval()
{reading}with torch.no_grad():
    pooled = model(torch.from_numpy(images)[None])  # (B, {dim})
"""
_READING_OF_CHANNELS = """pixels = {array}.astype("float32").transpose(2, 0, 1)
planes = [Image.fromarray(plane).resize(({side}, {side}), Image.Resampling.BICUBIC) for plane in pixels]
values = numpy.stack(planes).clip(0, 255) / 255
images = (values - numpy.float32({mean})[:, None, None]) / numpy.float32({std})[:, None, None]
"""
_SAFETENSORS = """import numpy
import safetensors.torch
import timm
import torch
from PIL import Image

model = timm.create_model({architecture}, pretrained=False, num_classes=0{args})
model.load_state_dict(safetensors.torch.load_file({name}))
{reading}with torch.no_grad():
    pooled = model.eval()(torch.from_numpy(images)[None])  # (B, {dim})
"""
_ONNX = """import numpy
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession({name})
{reading}{outputs} = session.run(None, {{"images": images[None]}})  # (B, {dim}), {other}; {shapes}
about = session.get_modelmeta().custom_metadata_map
"""
_TORCHSCRIPT = """import numpy
import torch
from PIL import Image

about = {{"mean": "", "std": "", "range_policy": ""}}  # and whatever else it knows
model = torch.jit.load({name}, _extra_files=about)
{reading}with torch.no_grad():
    pooled, patches = model(torch.from_numpy(images)[None])  # (B, {dim}), (B, D', h, w); {shapes}
"""
_CLASSES = """classes = json.loads(about["classes"])
label, confidence = classes[probabilities[0].argmax()], probabilities[0].max()
"""
_TEMPLATES = {
    "timm": _TIMM,
    "transformers": _TRANSFORMERS,
    "safetensors": _SAFETENSORS,
    "onnx": _ONNX,
    "torchscript": _TORCHSCRIPT,
}


def snippet(whole: WholeGraph, kind: str, name: str) -> str:
    """Return Python code that reads an 8-bit image `a.png`, or channels `a.npy`, and computes its features."""
    source, about = whole.source, whole.source.preprocess
    crop = cut = ""
    if box := region_box(about.roi):
        left, top, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
        crop, cut = f".crop(({left}, {top}, {right}, {bottom}))", f"[{top}:{bottom}, {left}:{right}]"
    opened = f'Image.open("a.png"){crop}'
    image = f'{opened}.convert("L").convert("RGB")' if about.grey else f'{opened}.convert("RGB")'
    words = {"image": image, "side": about.size, "mean": list(about.mean), "std": list(about.std)}
    coloured, template = has_colours(about), _TEMPLATES[kind]
    if not coloured:
        template = _TIMM_OF_CHANNELS if kind == "timm" else template
        words["array"] = f'numpy.load("a.npy"){cut}'
    reading = (_READING if coloured else _READING_OF_CHANNELS).format(**words)
    if whole.reads and not coloured:
        values = "float32" if about.deep else "uint8"
        reading = f'images = {words["array"]}.astype("{values}")  # (h, w, {about.in_chans})\n'
    elif whole.reads:
        values = "float32" if about.deep else "uint8"
        reading = f'images = numpy.asarray({opened}.convert("RGB"), "{values}")  # any height and width\n'
        if about.deep:
            reading = f'images = numpy.stack([numpy.asarray({opened}, "{values}")] * 3, axis=-1)  # any size\n'
    fixed = has_one_size(source.backbone) or whole.rare is not None
    shapes = "any B, at this size" if fixed and not whole.reads else "any B, H, W"
    outputs = ", ".join([*(FITTED_OUTPUTS if whole.rare else OUTPUTS), *([PROBABILITIES] if whole.saved else [])])
    args = "".join(f", {key}={value!r}" for key, value in source.backbone.model_args.items())
    words |= {"reading": reading, "outputs": outputs, "shapes": shapes, "args": args, "dim": source.backbone.dim}
    words["other"] = f"(B, {whole.rare.width})" if whole.rare else "(B, D', h, w)"
    words |= {"name": _quoted(name), "local": _quoted(f"local-dir:{name}"), "architecture": _quoted(source.info.name)}
    text = template.format(**words)
    return f"import json\n\n{text}{_CLASSES}" if whole.saved else text


def has_colours(about: Preprocess) -> bool:
    """Return whether images are grey or RGB; else they are channels without colours."""
    return about.grey or about.in_chans == len("RGB")


def channel_words(about: Preprocess) -> str:
    """Return the names of the selected channels, in order."""
    if about.channels == PAGES:
        return f"the {about.in_chans} pages"
    return ", ".join(visible(str(channel)) for channel in about.channels)


def _quoted(text: str) -> str:
    """Return a name as a Python string literal that cannot end a Markdown code block."""
    return json.dumps(visible(text)).replace("`", "\\u0060")
