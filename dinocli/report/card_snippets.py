"""Python code for the model card that loads an export and computes features of a file."""

import json

from dinocli.artifacts.detector_graph import DetectorGraph
from dinocli.artifacts.feature_graph import FeatureGraph
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
_READING = """image = {image}.resize(({width}, {height}), Image.Resampling.BICUBIC)
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
planes = [Image.fromarray(plane).resize(({width}, {height}), Image.Resampling.BICUBIC) for plane in pixels]
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
_DETECTOR = """import numpy
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession({name})
{reading}score, anomaly_map, defective = session.run(None, {{"images": images[None]}})  # (B,), (B, {grid}), (B,)
threshold = float(session.get_modelmeta().custom_metadata_map["threshold"])
mask = anomaly_map[0] > threshold  # of cells; not empty where defective[0]
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


def snippet(whole: FeatureGraph, kind: str, name: str) -> str:
    """Return Python code that reads an 8-bit image `a.png`, or channels `a.npy`, and computes its features."""
    source, about = whole.source, whole.source.preprocess
    template = _TIMM_OF_CHANNELS if kind == "timm" and not has_colours(about) else _TEMPLATES[kind]
    words = {"image": _image(about), "side": about.size}
    reading = reading_code(about, (about.size, about.size), with_preprocessing=whole.with_preprocessing)
    fixed = has_one_size(source.backbone) or whole.rare is not None
    shapes = "any B, at this size" if fixed and not whole.with_preprocessing else "any B, H, W"
    outputs = ", ".join([*(FITTED_OUTPUTS if whole.rare else OUTPUTS), *([PROBABILITIES] if whole.saved else [])])
    args = "".join(f", {key}={value!r}" for key, value in source.backbone.model_args.items())
    words |= {"reading": reading, "outputs": outputs, "shapes": shapes, "args": args, "dim": source.backbone.dim}
    words["other"] = f"(B, {whole.rare.width})" if whole.rare else "(B, D', h, w)"
    words |= {"name": _quoted(name), "local": _quoted(f"local-dir:{name}"), "architecture": _quoted(source.info.name)}
    text = template.format(**words)
    return f"import json\n\n{text}{_CLASSES}" if whole.saved else text


def detector_snippet(graph: DetectorGraph, name: str) -> str:
    """Return Python code that reads an 8-bit image `a.png`, or channels `a.npy`, and judges it."""
    reading = reading_code(graph.source.preprocess, graph.geometry.canvas, with_preprocessing=graph.with_preprocessing)
    return _DETECTOR.format(name=_quoted(name), reading=reading, grid="{}, {}".format(*graph.geometry.grid))


def reading_code(about: Preprocess, size: tuple[int, int], *, with_preprocessing: bool) -> str:
    """Return Python code that reads an image as the input `images[None]` of a graph.

    Args:
        about: Preprocessing of the weights.
        size: Height and width of the input, pixels.
        with_preprocessing: The graph takes source values.
    """
    box = region_box(about.roi)
    cut = f"[{box[1]}:{box[1] + box[3]}, {box[0]}:{box[0] + box[2]}]" if box else ""
    array, values = f'numpy.load("a.npy"){cut}', "float32" if about.deep else "uint8"
    if with_preprocessing and not has_colours(about):
        return f'images = {array}.astype("{values}")  # (h, w, {about.in_chans})\n'
    if with_preprocessing and about.deep:
        return f'images = numpy.stack([numpy.asarray({_file(about)}, "{values}")] * 3, axis=-1)  # any size\n'
    if with_preprocessing:
        return f'images = numpy.asarray({_file(about)}.convert("RGB"), "{values}")  # any height and width\n'
    words = {"height": size[0], "width": size[1], "mean": list(about.mean), "std": list(about.std)}
    template = _READING if has_colours(about) else _READING_OF_CHANNELS
    return template.format(image=_image(about), array=array, **words)


def has_colours(about: Preprocess) -> bool:
    """Return whether images are grey or RGB; else they are channels without colours."""
    return about.grey or about.in_chans == len("RGB")


def channel_words(about: Preprocess) -> str:
    """Return the names of the selected channels, in order."""
    if about.channels == PAGES:
        return f"the {about.in_chans} pages"
    return ", ".join(visible(str(channel)) for channel in about.channels)


def _file(about: Preprocess) -> str:
    box = region_box(about.roi)
    return f'Image.open("a.png"){f".crop({(box[0], box[1], box[0] + box[2], box[1] + box[3])})" if box else ""}'


def _image(about: Preprocess) -> str:
    return f'{_file(about)}.convert("L").convert("RGB")' if about.grey else f'{_file(about)}.convert("RGB")'


def _quoted(text: str) -> str:
    """Return a name as a Python string literal that cannot end a Markdown code block."""
    return json.dumps(visible(text)).replace("`", "\\u0060")
