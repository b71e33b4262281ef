"""Model card of an exported detector: origin, code that judges an image, input, outputs, limits."""

from dinocli import __version__
from dinocli.artifacts.detector_graph import DetectorGraph
from dinocli.models.export_graph import OPSET
from dinocli.quality.image_scores import TOP_FRACTION
from dinocli.report.card_input import (
    NOT_IN_GRAPH,
    channel_lines,
    pixels_line,
    plain,
    range_words,
    region_lines,
    repeated_words,
)
from dinocli.report.card_snippets import detector_snippet
from dinocli.report.text import number

_LIMITS = [
    "- Normal is what the images have that the detector was fitted to. New light, focus or parts need a new detector.",
    "- Compare with `segment --precision fp32`: half precision, its default on GPUs, gives other digits.",
]


def detector_card(graph: DetectorGraph, name: str, difference: float) -> str:
    """Return the card as Markdown with the front matter of model hubs.

    Args:
        graph: Detector, weights and canvas.
        name: Name of the exported file.
        difference: Difference to `segment`, as `DetectorGraph.verified`.
    """
    source, record = graph.source, graph.detector.record
    origin, parameters = record["weights"], graph.detector.fitted.parameters
    rows = [
        ("weights", f"{plain(source.info.name)}, sha256 {source.info.sha256[:12]}"),
        ("from", plain(str(origin.get("source")))),
        ("licence", f"{plain(source.info.licence)} (of the weights)"),
        ("features", f"{record['features']}, {number(int(parameters['bank_patches']))} patches in the bank"),
        ("threshold rule", plain(str(parameters["threshold_rule"]))),
    ]
    lines = [
        "---",
        f"license: {plain(source.info.licence)}",
        "library_name: onnxruntime",
        "tags: [anomaly-detection]",
        "---",
        "",
        f"# {plain(name)}",
        "",
        f"A detector of defects: patches of an image are compared with a bank of typical ones. Written by dinocli "
        f"{__version__} as onnx; its distances differ from those of `dinocli segment --detector` by at most "
        f"{difference:.1g} of the threshold on test images.",
        "",
        *["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows), ""],
        *["## Usage", "", "```python", detector_snippet(graph, name).rstrip(), "```", ""],
        *["## Input", "", *_input(graph), ""],
        *["## Outputs", "", *_outputs(graph), ""],
        *["## Limits", "", *_LIMITS, ""],
    ]
    return "\n".join(lines)


def _input(graph: DetectorGraph) -> list[str]:
    source, (height, width) = graph.source, graph.geometry.canvas
    about, size = source.preprocess, f"{width} x {height} px"
    whose = "as the images that the detector was fitted to; an image of another shape is stretched, and scores differ"
    if not graph.detector.record["canvas"]:
        whose = (
            "a square, for the detector records no shape that all its images have; they are stretched, scores differ"
        )
    fixed = [f"- The canvas has {size}, {whose} from those of `segment`, which keeps the shape."]
    if graph.with_preprocessing:
        return [
            pixels_line(source),
            *channel_lines(source),
            *region_lines(source),
            f"- In the graph: source values {range_words(source)}{', converted to grey' if about.grey else ''}, "
            "resized to the canvas with PIL's antialiased bicubic filter and its rounding, normalised.",
            *fixed,
            NOT_IN_GRAPH,
            f"- ONNX opset {OPSET}; batch, height and width are dynamic.",
        ]
    return [
        f"- `images`: float32, (B, {about.in_chans}, {height}, {width}), normalised.",
        *channel_lines(source),
        *region_lines(source),
        f"- Source values: {range_words(source)}, mapped to 0 to 1{repeated_words(source)}.",
        f"- Resize the whole image to {size} with PIL's bicubic filter, which antialiases and rounds to whole levels; "
        "others give other distances.",
        f"- Subtract the mean {list(about.mean)}, and divide by the standard deviation {list(about.std)}.",
        *fixed,
        f"- ONNX opset {OPSET}; the batch is dynamic.",
    ]


def _outputs(graph: DetectorGraph) -> list[str]:
    (rows, columns), step = graph.geometry.grid, graph.geometry.step
    return [
        f"- `score`: (B,), the image score of `segment`, 0 to 1, from the highest {100 * TOP_FRACTION:g} % of all "
        "distances.",
        f"- `anomaly_map`: (B, {rows}, {columns}), a value between 0 and 1 for every {step} px of the canvas, before a "
        "mask is outlined.",
        f"- `defective`: (B,), bool: the highest value of the map is above {graph.threshold:g}, `threshold` in the "
        "metadata. The masks of `segment` follow the edges of the image and have no small regions; such a mask can be "
        "empty although the value is above the threshold.",
    ]
