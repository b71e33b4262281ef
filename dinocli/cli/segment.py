"""`dinocli segment`: parse, one library call, present."""

import sys
from collections.abc import Iterable, Mapping
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import dinocli
from dinocli.cli import options as opt
from dinocli.cli import paths
from dinocli.cli.help_page import examples
from dinocli.cli.option_groups import grouped, options_of, read_options, terminal_options
from dinocli.errors import counted

if TYPE_CHECKING:
    from dinocli.cli.render import Terminal
    from dinocli.tasks.segment.segment_options import SegmentResult

EPILOG = examples(
    "dinocli segment ./images --out masks --overlay",
    "dinocli segment ./parts --method anomaly --reference ./good --out masks --soft --coco masks/coco.json",
    "dinocli segment ./big --method anomaly --tile 512:64 --out masks",
    "dinocli segment clip.mp4 --propagate first.png --out masks",
)
method_option, resolution_option = partial(opt.option, "Method"), partial(opt.option, "Resolution")


@grouped(read=read_options, terminal=terminal_options)
def segment(
    images: opt.Images = None,
    read: Any = None,
    truth: Annotated[
        str, opt.image("--truth", "True masks to score against: folder, COCO, YOLO or VOC.", "MASKS", paths.inputs)
    ] = "",
    good_without_mask: Annotated[
        bool, opt.image("--good-without-mask", "Images without a mask in --truth have no defect.")
    ] = False,
    groups: Annotated[
        str,
        opt.image("--groups", "Images of one part: folder, folder:N, CSV; the worst decides.", "LABELS", paths.labels),
    ] = "",
    weights: opt.Weights = None,
    model: opt.Model = None,
    method: Annotated[
        Literal["auto", "attention", "tokencut", "kmeans", "pca", "anomaly"],
        method_option("--method, -m", "Segmentation method; auto names its choice and the reason."),
    ] = "auto",
    objects: Annotated[
        int | None, method_option("--objects", "tokencut: objects to look for.", min=1, show_default="1")
    ] = None,
    segments: Annotated[
        int | None, method_option("--segments, -k", "kmeans: number of segments.", min=2, show_default="chosen")
    ] = None,
    head: Annotated[
        str | None, method_option("--head", "attention: best, mean or a number.", "HEAD", show_default="best")
    ] = None,
    query: Annotated[
        str, method_option("--query", "attention: query patch at x,y, fractions of width and height.", "X,Y")
    ] = "",
    reference: Annotated[
        str, method_option("--reference", "anomaly: folder of good images to compare with.", "FOLDER", paths.inputs)
    ] = "",
    threshold: Annotated[
        str | None,
        method_option(
            "--threshold",
            "anomaly: auto, a value (0 to 1; auto is 0.5), or quantile:Q of image maxima.",
            "VALUE",
            show_default="auto",
        ),
    ] = None,
    features: Annotated[
        Literal["auto", "fine", "coarse", "both"] | None,
        method_option(
            "--features",
            "anomaly: coarse is for large, faint defects; auto takes both with --reference.",
            show_default="auto",
        ),
    ] = None,
    propagate: Annotated[
        str,
        method_option(
            "--propagate", "Label map of the first frame, propagated through the others.", "FILE", paths.inputs
        ),
    ] = "",
    sample: Annotated[int, method_option("--sample", "Images that the method is fitted on.", min=1)] = 128,
    seed: Annotated[int, method_option("--seed", "Random seed of sample and method.", min=0, max=opt.MAX_SEED)] = 0,
    size: Annotated[
        int | None,
        resolution_option(
            "--size",
            "Pixels of the shorter side that the network sees; larger is finer.",
            min=16,
            show_default="480; with --tile the image's own",
        ),
    ] = None,
    stride: Annotated[
        int | None,
        resolution_option(
            "--stride", "Stride of a ViT's patches, pixels; smaller is finer.", min=1, show_default="the patch"
        ),
    ] = None,
    tile: Annotated[
        str,
        opt.tile("Resolution", "Cut large images into blended tiles of SIZE[:OVERLAP] pixels."),
    ] = "",
    refine: Annotated[
        bool | None,
        resolution_option("--refine/--no-refine", "Refine masks along the edges of the image.", show_default="refine"),
    ] = None,
    min_area: Annotated[
        int | None,
        resolution_option("--min-area", "Smallest region, pixels.", min=0, show_default="a quarter of a patch"),
    ] = None,
    maps_from: Annotated[
        str,
        method_option("--from", "Folder of anomaly masks: apply a new --threshold to them.", "FOLDER", paths.stored),
    ] = "",
    detector: Annotated[
        str,
        method_option(
            "--detector", "Saved detector to apply; without --out: one JSON line per image.", "FOLDER", paths.stored
        ),
    ] = "",
    save_detector: Annotated[
        str, opt.output("--save-detector", "Save the fitted anomaly method to this folder.", "FOLDER")
    ] = "",
    out: Annotated[str, opt.output("--out, -o", "Folder of the results.", "FOLDER", show_default=False)] = "",
    soft: Annotated[bool, opt.output("--soft", "Also write soft maps as 16-bit PNG.")] = False,
    npy: Annotated[bool, opt.output("--npy", "Also write soft maps as float32 .npy.")] = False,
    maps: Annotated[
        bool, opt.output("--maps, --heads", "Also write attention heads (attention) or components (pca).")
    ] = False,
    overlay: Annotated[bool, opt.output("--overlay", "Also write images with masks drawn in.")] = False,
    coco: Annotated[str, opt.output("--coco", "Write all regions to this COCO file, as run lengths.", "FILE")] = "",
    polygons: Annotated[bool, opt.output("--polygons", "COCO file with polygons, without holes.")] = False,
    yolo: Annotated[bool, opt.output("--yolo", "Also write YOLO segmentation labels.")] = False,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    resume: opt.Resume = False,
    force: opt.Force = False,
    dry_run: opt.DryRun = False,
    terminal: Any = None,
) -> None:
    """Find objects, segments or defects without labels, and write masks.

    Writes masks/ (label maps at the size of each image), segments.csv and report.html into --out, and prints its path.

    Without IMAGES or --weights those of the newest run are taken.

    anomaly: what is unlike the other images; at most half may be defective.
    tokencut: the one object that stands out in a photograph; marks parts of bare surfaces too.
    attention: what a ViT looks at: large salient objects; needs a ViT.
    pca: a foreground that most images share; with a convnet, what has texture.
    kmeans: a segment for every pixel, the same in all images: materials and textures, not objects.
    auto: anomaly with --reference, --tile or images of one part; tokencut if most images show an object; else anomaly.
    """
    if not out and not detector:
        raise typer.BadParameter("name a folder for the masks", param_hint="--out")
    if not out and (dry_run or terminal.as_json):
        flag = "--dry-run" if dry_run else "--json"
        raise typer.BadParameter("without --out there is one JSON line per image: leave it out", param_hint=flag)
    from dinocli.cli.facts import show_plan

    with terminal:
        method_options = {"objects": objects, "segments": segments, "head": head, "threshold": threshold}
        method_options["features"] = features
        options = options_of(
            dinocli.SegmentOptions,
            locals(),
            inputs=images,
            method_options={name: value for name, value in method_options.items() if value is not None},
            outputs=options_of(dinocli.MaskOutputs, locals()),
        )
        options.check(dry_run=dry_run)
        if not out:
            from dinocli.tasks.segment.inspection import inspect_images

            show_answers(inspect_images(options, terminal, sys.stdin.buffer))
            return
        from dinocli.tasks.segment.segment import dry_run as plan

        if dry_run:
            show = partial(show_plan, terminal, plan(options, terminal, sys.stdin.buffer))
        else:
            show = partial(show_segmented, terminal, dinocli.segment(options, terminal, sys.stdin.buffer))
    show()


def show_segmented(terminal: "Terminal", outcome: "SegmentResult") -> None:
    """Show counts and scores on stderr, the output folder on stdout."""
    if outcome.scores:
        rows = [
            [name, f"{value:.3f}", f"{low:.3f} to {high:.3f}"] for name, (value, low, high) in outcome.scores.items()
        ]
        terminal.table("Against the truth", ["", "value", "95 %"], rows)
    if outcome.confusion:
        counts = (f"{count} {name.replace('_', ' ')}" for name, count in outcome.confusion.items())
        terminal.line(f"images: {', '.join(counts)}")
    if outcome.groups:
        groups = outcome.groups
        unknown = f", {groups['unknown']} have images that are not judged" if groups["unknown"] else ""
        terminal.line(
            f"{groups['good']} of {groups['groups']} groups are good{unknown}: {outcome.folder / 'groups.csv'}"
        )
    terminal.line(
        f"{counted(outcome.regions, 'region')} in {counted(outcome.segmented, 'image')} by {outcome.method.name}; "
        f"{outcome.empty_images} images have an empty mask"
    )
    other = f"dinocli segment --from {quote(str(outcome.folder))} --threshold VALUE --out FOLDER"
    terminal.ending([outcome.folder / "report.html"], [other] if outcome.method.name == "anomaly" else [])
    terminal.result(outcome.to_dict(), outcome.folder)


def show_answers(answers: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, flushed at once."""
    from dinocli.cli.render import print_json

    for answer in answers:
        print_json(answer)
