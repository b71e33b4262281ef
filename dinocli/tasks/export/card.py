"""The model card: what these weights are, where they come from, how good they are, how to load them, their limits."""

from typing import Any

from dinocli import __version__
from dinocli.models.export_graph import has_one_size
from dinocli.report.text import number, visible
from dinocli.tasks.export.source import Source

_LOADING = {
    "timm": """model = timm.create_model("local-dir:{name}", pretrained=True).eval()   # import timm
pooled = model(images)                                    # (B, D)
patches = model.forward_features(images)                  # tokens of a transformer, map of a convnet""",
    "safetensors": """model = timm.create_model("{architecture}", pretrained=False, num_classes=0{args})   # import timm
model.load_state_dict(safetensors.torch.load_file("{name}"))
pooled = model.eval()(images)                             # (B, D)""",
    "onnx": """session = onnxruntime.InferenceSession("{name}")
pooled, patches = session.run(None, {{"images": images}})   # (B, D) and (B, D', h, w); {shapes}
about = session.get_modelmeta().custom_metadata_map""",
    "torchscript": """about = {{"mean": "", "std": "", "range_policy": ""}}         # and whatever else it knows
model = torch.jit.load("{name}", _extra_files=about)
pooled, patches = model(images)                           # (B, D) and (B, D', h, w); {shapes}""",
}

_LIMITS = [
    "- The features fit images like those they were trained on. On others they may be worse than the start.",
    "- Two images are compared by the cosine of their features; a single value of a feature means nothing by itself.",
]
_UNLABELLED = [
    "- No label was used. Scores without labels can be fooled: a training may learn to ignore a defect together with",
    "  the noise around it. Where labels exist, `dinocli evaluate --labels` has the last word.",
]


def card_of(source: Source, kind: str, name: str, difference: float) -> str:
    """Write the card as Markdown, with the front matter that model hubs read.

    Args:
        source: The weights and what is known about them.
        kind: Format of the export.
        name: Of the exported file or folder.
        difference: To our own network.
    """
    info, about = source.info, source.preprocess
    shapes = "any B, at this size" if has_one_size(source.backbone) else "any B, H, W"
    args = "".join(f", {_plain(key)}={value!r}" for key, value in source.backbone.model_args.items())
    loading = _LOADING[kind].format(name=_plain(name), architecture=_plain(info.name), shapes=shapes, args=args)
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
        f"A {_plain(info.name)} image backbone, {made}. {source.backbone.dim} values an image. Written by dinocli "
        f"{__version__} as {kind}; largest difference to the original network {difference:.1g}.",
        "",
        *_origin(source),
        *_verdict(source.manifest),
        "## How to load it",
        "",
        "```python",
        loading,
        "```",
        "",
        "## What it takes",
        "",
        f"- `images`: float32, (B, 3, H, W), trained at {about.size} x {about.size} px"
        + (f", sides in multiples of {source.backbone.patch}" if source.backbone.patch else "")
        + f"; resized by {about.interpolation}, the whole image squashed to the square.",
        f"- Source values: {_range(source)}, mapped to 0 to 1"
        + (", one channel repeated to three." if about.grey else "."),
        f"- Then minus mean {list(about.mean)}, divided by {list(about.std)}.",
        "",
        "## Limits",
        "",
        *_LIMITS,
        *(_UNLABELLED if source.manifest else []),
        "",
    ]
    return "\n".join(lines)


def _history(manifest: dict[str, Any]) -> str:
    if not manifest:
        return "not trained by dinocli"
    outcome = manifest.get("outcome")  # none in a run that was cut off
    if outcome and outcome["verdict"]["keep"] == "start":
        return "as it was before a training with DINO on own images, which did not help"
    return "continued with DINO on own images, without labels"


def _origin(source: Source) -> list[str]:
    info, manifest = source.info, source.manifest
    start = manifest.get("weights", {}) if manifest else info.to_dict()
    rows = [
        ("start weights", f"{_plain(str(start.get('source')))}, sha256 {str(start.get('sha256'))[:12]}"),
        ("licence", f"{_plain(info.licence)} (that of the start weights; it goes on)"),
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
    kept = {
        "adapted": "the adapted weights",
        "statistics": "the original weights with adapted batch-norm statistics",
        "start": "the original weights",
    }[verdict["keep"]]
    lines = ["## Did the training help", "", f"{verdict['outcome'].capitalize()}: {_plain(verdict['reason'])}"]
    lines += [f"These are {kept}.", "", "| score | start | adapted |", "|---|---:|---:|"]
    for line in [*outcome["scores"], *outcome["labelled"]]:
        start, adapted = (float("nan") if line[key] is None else line[key] for key in ("start", "adapted"))
        lines.append(f"| {_plain(line['name'])} | {number(start)} | {number(adapted)} |")
    return [*lines, ""]


def _range(source: Source) -> str:
    about = source.preprocess
    if about.range_policy == "full":
        return "the full range of the file's type"
    return f"{about.range_low:g} to {about.range_high:g} ({about.range_policy})"


def _plain(text: str) -> str:
    """Keep somebody's file name from becoming a table, a link or HTML."""
    return "".join(f"\\{c}" if c in "|`<>[]*_#\\" else c for c in visible(text)) if not text.isidentifier() else text
