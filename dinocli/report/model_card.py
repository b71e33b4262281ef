"""Model card of exported weights: origin, verdict, loading code, input format, limits."""

from typing import Any

from dinocli import __version__
from dinocli.artifacts.export_source import Source
from dinocli.artifacts.whole_graph import MIN_COSINE, WholeGraph
from dinocli.data.region_of_interest import is_box, region_box
from dinocli.engine.rare_features import RareFeatures
from dinocli.engine.square_resize import CANVAS_PER_SIDE
from dinocli.models.export_graph import OPSET, has_one_size
from dinocli.quality.classifier_file import SavedClassifier
from dinocli.quality.verdict import KEPT
from dinocli.report.card_snippets import channel_words, has_colours, snippet
from dinocli.report.text import number, visible

_LIMITS = [
    "- The features suit images like those of the training. On other images they may be worse than those of the start.",
    "- Compare images by the cosine of their features; a single value of a feature has no meaning.",
]
_UNLABELLED = [
    "- No label was used. Label-free scores can mislead: training may teach the network to ignore a defect together",
    "  with the noise around it. If labels exist, measure with `dinocli evaluate --labels`.",
]


def card_of(whole: WholeGraph, kind: str, name: str, difference: float) -> str:
    """Return the card as Markdown with the front matter of model hubs.

    Args:
        whole: Weights, their origin, and the other parts of the graph.
        kind: Format of the export.
        name: Name of the exported file or folder.
        difference: Difference to the original network, as `ExportResult.difference`.
    """
    source, info = whole.source, whole.source.info
    compared = "largest difference to the original network"
    if whole.by_cosine:
        compared = "cosine to the features of `dinocli embed` at least"
    head = [
        "---",
        f"license: {_plain(info.licence)}",
        "library_name: timm",
        "tags: [image-feature-extraction, dino]",
        "---",
    ]
    made = _history(source.manifest)
    lines = [
        *head,
        "",
        f"# {_plain(name)}",
        "",
        f"A {_plain(info.name)} image backbone, {made}. A feature has {source.backbone.dim} values. Written by dinocli "
        f"{__version__} as {kind}; {compared} {_compared(difference, whole.by_cosine)}.",
        "",
        *_origin(source),
        *_verdict(source.manifest),
        "## Usage",
        "",
        "```python",
        snippet(whole, kind, name).rstrip(),
        "```",
        "",
        "## Input",
        "",
        *(_takes_pixels(source) if whole.reads else _takes_tensors(source)),
        *([f"- ONNX opset {OPSET}; {_dynamic(whole)}."] if kind == "onnx" else []),
        *(_features(whole.rare) if whole.rare else []),
        *(_classes(whole.saved) if whole.saved else []),
        "",
        "## Limits",
        "",
        *_LIMITS,
        *(_UNLABELLED if source.manifest else []),
        "",
    ]
    return "\n".join(lines)


def _compared(difference: float, by_cosine: bool) -> str:
    return f"{1 - difference:.5f}" if by_cosine else f"{difference:.1g}"


def _takes_tensors(source: Source) -> list[str]:
    preprocess = source.preprocess
    size = preprocess.size
    sides = f", sides in multiples of {source.backbone.patch}" if source.backbone.patch else ""
    return [
        f"- `images`: float32, (B, {preprocess.in_chans}, H, W), trained at {size} x {size} px{sides}.",
        *_channels(source),
        *_region(source),
        f"- Source values: {_range(source)}, mapped to 0 to 1{_repeated(source)}.",
        f"- Resize the whole image to {size} x {size} px with PIL's bicubic filter, which antialiases; "
        "OpenCV, and torch without antialiasing, give other features.",
        f"- `dinocli embed` first downscales larger images to a shorter side of {CANVAS_PER_SIDE * size} px, with "
        "the same filter.",
        f"- Subtract the mean {list(preprocess.mean)}, and divide by the standard deviation {list(preprocess.std)}.",
    ]


def _takes_pixels(source: Source) -> list[str]:
    preprocess = source.preprocess
    values = "float32 with the values of the file" if preprocess.deep else "uint8"
    colours = "red first, any height and width; a grey image three times"
    if not has_colours(preprocess):
        colours = "any height and width"
    return [
        f"- `images`: {values}, (B, H, W, {3 if preprocess.grey else preprocess.in_chans}), {colours}.",
        *_channels(source),
        *_region(source),
        f"- In the graph: source values {_range(source)}{', converted to grey' if preprocess.grey else ''}, resized to "
        f"{preprocess.size} x {preprocess.size} px with PIL's antialiased bicubic filter, normalised.",
        f"- Verified against `dinocli embed` on images of several sizes; a cosine below {MIN_COSINE} is refused.",
        "- Not in the graph: EXIF orientation, palettes, transparency and nodata. The program that reads the file has "
        "to handle them.",
    ]


def _dynamic(whole: WholeGraph) -> str:
    one_size = has_one_size(whole.source.backbone) or whole.rare is not None
    return "the batch is dynamic" if one_size and not whole.reads else "batch, height and width are dynamic"


def _features(rare: RareFeatures) -> list[str]:
    return [
        f"- `features`: (B, {rare.width}), `{rare.kind}` of length 1, as `dinocli embed --like` gives to a new image: "
        f"unusual patches, by a bank of {len(rare.images):,} images, weigh more. An image of that bank has another row "
        "in its own feature file, where it is not compared with itself.",
    ]


def _classes(saved: SavedClassifier) -> list[str]:
    names = ", ".join(map(_plain, saved.classifier.classes))
    precision = saved.precision
    lines = [f"- `probabilities`: (B, {len(saved.classifier.classes)}), calibrated, of {names}."]
    if precision:
        lines.append(
            f"- Predictions with at least the confidence `threshold` of the metadata had a precision of {precision:g}."
        )
    return lines


def _history(manifest: dict[str, Any]) -> str:
    if not manifest:
        return "not trained by dinocli"
    outcome = manifest.get("outcome")  # none in a run that was cut off
    if outcome and outcome["verdict"]["keep"] == "start":
        return "unchanged by a DINO training on unlabelled images that did not help"
    if manifest.get("teacher"):
        return "distilled from a larger network on unlabelled images"
    return "trained further with DINO on unlabelled images"


def _origin(source: Source) -> list[str]:
    info, manifest = source.info, source.manifest
    start = manifest.get("weights", {}) if manifest else info.to_dict()
    teacher = manifest.get("teacher") or {}
    origins = {"start weights": start} | ({"teacher": teacher} if teacher else {})
    of = "teacher and start weights" if teacher else "the start weights"
    rows = [
        *(
            (what, f"{_plain(str(weights.get('source')))}, sha256 {str(weights.get('sha256'))[:12]}")
            for what, weights in origins.items()
        ),
        ("licence", f"{_plain(info.licence)} (inherited from {of})"),
    ]
    if manifest:
        recipe = manifest.get("recipe", {})
        rows += [
            ("images", f"{number(manifest.get('images', 0))} in {_plain(str(manifest.get('root')))}"),
            ("unreadable images", number(manifest.get("bad", 0))),
            ("recipe", _plain(str(recipe.get("description", "")))),
            ("started", _plain(str(manifest.get("started")))),
        ]
    return ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows), ""]


def _verdict(manifest: dict[str, Any]) -> list[str]:
    outcome = manifest.get("outcome")
    if not outcome:
        return []
    verdict = outcome["verdict"]
    lines = ["## Verdict of the training", "", f"{verdict['outcome'].capitalize()}: {_plain(verdict['reason'])}"]
    lines += [f"These are {KEPT[verdict['keep']]}.", "", "| score | start | adapted |", "|---|---:|---:|"]
    for line in [*outcome["scores"], *outcome["labelled"]]:
        start, adapted = (float("nan") if line[key] is None else line[key] for key in ("start", "adapted"))
        lines.append(f"| {_plain(line['name'])} | {number(start)} | {number(adapted)} |")
    return [*lines, ""]


def _region(source: Source) -> list[str]:
    box = region_box(source.preprocess.roi)
    if box is None:
        return []
    crop = f"- Crop each image first: {box[2]} x {box[3]} px at left {box[0]}, top {box[1]}."
    mask = " Then fill the pixels outside the mask of the training (`roi`, a PNG) with the mean colour of those inside."
    return [crop + ("" if is_box(source.preprocess.roi) else mask)]


def _channels(source: Source) -> list[str]:
    preprocess = source.preprocess
    return [] if has_colours(preprocess) else [f"- Channels: {channel_words(preprocess)} of each file, in this order."]


def _repeated(source: Source) -> str:
    preprocess = source.preprocess
    if not preprocess.grey:
        return ""
    return ", one channel repeated to three" if preprocess.in_chans == len("RGB") else ", one channel"


def _range(source: Source) -> str:
    preprocess = source.preprocess
    if preprocess.range_policy == "full":
        return "the full range of the file's type"
    if preprocess.channel_ranges:
        each = ", ".join(f"{low:g} to {high:g}" for low, high in preprocess.channel_ranges)
        return f"of each channel {each} ({preprocess.range_policy})"
    return f"{preprocess.range_low:g} to {preprocess.range_high:g} ({preprocess.range_policy})"


def _plain(text: str) -> str:
    """Escape a name so that it is not parsed as a Markdown table, link or HTML."""
    return "".join(f"\\{c}" if c in "|`<>[]*_#\\" else c for c in visible(text)) if not text.isidentifier() else text
