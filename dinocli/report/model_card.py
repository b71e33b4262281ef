"""Model card of exported weights: origin, verdict, loading code, input format, limits."""

from typing import Any

from dinocli import __version__
from dinocli.artifacts.detector_graph import DetectorGraph
from dinocli.artifacts.export_source import Source
from dinocli.artifacts.feature_graph import MIN_COSINE, FeatureGraph
from dinocli.engine.rare_features import RareFeatures
from dinocli.engine.square_resize import CANVAS_PER_SIDE
from dinocli.models.export_graph import OPSET, has_one_size
from dinocli.quality.classifier_file import SavedClassifier
from dinocli.quality.verdict import KEPT
from dinocli.report.card_input import (
    NOT_IN_GRAPH,
    channel_lines,
    pixels_line,
    plain,
    range_words,
    region_lines,
    repeated_words,
)
from dinocli.report.card_snippets import snippet
from dinocli.report.detector_card import detector_card
from dinocli.report.text import number

_LIMITS = [
    "- The features suit images like those of the training. On other images they may be worse than those of the start.",
    "- Compare images by the cosine of their features; a single value of a feature has no meaning.",
]
_UNLABELLED = [
    "- No label was used. Label-free scores can mislead: training may teach the network to ignore a defect together",
    "  with the noise around it. If labels exist, measure with `dinocli evaluate --labels`.",
]


def card_of(whole: FeatureGraph | DetectorGraph, kind: str, name: str, difference: float) -> str:
    """Return the card as Markdown with the front matter of model hubs.

    Args:
        whole: Weights, their origin, and the other parts of the graph; or a detector.
        kind: Format of the export.
        name: Name of the exported file or folder.
        difference: Difference to the original network, as `ExportResult.difference`.
    """
    if isinstance(whole, DetectorGraph):
        return detector_card(whole, name, difference)
    source, info = whole.source, whole.source.info
    compared = "largest difference to the original network"
    if whole.by_cosine:
        compared = "cosine to the features of `dinocli embed` at least"
    head = [
        "---",
        f"license: {plain(info.licence)}",
        "library_name: timm",
        "tags: [image-feature-extraction, dino]",
        "---",
    ]
    made = _history(source.manifest)
    lines = [
        *head,
        "",
        f"# {plain(name)}",
        "",
        f"A {plain(info.name)} image backbone, {made}. A feature has {source.backbone.dim} values. Written by dinocli "
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
        *(_takes_pixels(source) if whole.with_preprocessing else _takes_tensors(source)),
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
        *channel_lines(source),
        *region_lines(source),
        f"- Source values: {range_words(source)}, mapped to 0 to 1{repeated_words(source)}.",
        f"- Resize the whole image to {size} x {size} px with PIL's bicubic filter, which antialiases; "
        "OpenCV, and torch without antialiasing, give other features.",
        f"- `dinocli embed` first downscales larger images to a shorter side of {CANVAS_PER_SIDE * size} px, with "
        "the same filter.",
        f"- Subtract the mean {list(preprocess.mean)}, and divide by the standard deviation {list(preprocess.std)}.",
    ]


def _takes_pixels(source: Source) -> list[str]:
    preprocess = source.preprocess
    return [
        pixels_line(source),
        *channel_lines(source),
        *region_lines(source),
        f"- In the graph: source values {range_words(source)}{', converted to grey' if preprocess.grey else ''}, "
        f"resized to {preprocess.size} x {preprocess.size} px with PIL's antialiased bicubic filter, normalised.",
        f"- Verified against `dinocli embed` on images of several sizes; a cosine below {MIN_COSINE} is refused.",
        NOT_IN_GRAPH,
    ]


def _dynamic(whole: FeatureGraph) -> str:
    one_size = has_one_size(whole.source.backbone) or whole.rare is not None
    return (
        "the batch is dynamic" if one_size and not whole.with_preprocessing else "batch, height and width are dynamic"
    )


def _features(rare: RareFeatures) -> list[str]:
    return [
        f"- `features`: (B, {rare.width}), `{rare.kind}` of length 1, as `dinocli embed --like` gives to a new image: "
        f"unusual patches, by a bank of {len(rare.images):,} images, weigh more. An image of that bank has another row "
        "in its own feature file, where it is not compared with itself.",
    ]


def _classes(saved: SavedClassifier) -> list[str]:
    names = ", ".join(map(plain, saved.classifier.classes))
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
            (what, f"{plain(str(weights.get('source')))}, sha256 {str(weights.get('sha256'))[:12]}")
            for what, weights in origins.items()
        ),
        ("licence", f"{plain(info.licence)} (inherited from {of})"),
    ]
    if manifest:
        recipe = manifest.get("recipe", {})
        rows += [
            ("images", f"{number(manifest.get('images', 0))} in {plain(str(manifest.get('root')))}"),
            ("unreadable images", number(manifest.get("bad", 0))),
            ("recipe", plain(str(recipe.get("description", "")))),
            ("started", plain(str(manifest.get("started")))),
        ]
    return ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows), ""]


def _verdict(manifest: dict[str, Any]) -> list[str]:
    outcome = manifest.get("outcome")
    if not outcome:
        return []
    verdict = outcome["verdict"]
    lines = ["## Verdict of the training", "", f"{verdict['outcome'].capitalize()}: {plain(verdict['reason'])}"]
    lines += [f"These are {KEPT[verdict['keep']]}.", "", "| score | start | adapted |", "|---|---:|---:|"]
    for line in [*outcome["scores"], *outcome["labelled"]]:
        start, adapted = (float("nan") if line[key] is None else line[key] for key in ("start", "adapted"))
        lines.append(f"| {plain(line['name'])} | {number(start)} | {number(adapted)} |")
    return [*lines, ""]
