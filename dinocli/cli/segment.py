"""`dinocli segment`: parse, one library call, present."""

import sys
from functools import partial
from typing import Annotated, Any, Literal

import typer

from dinocli.cli import options as opt
from dinocli.cli import paths
from dinocli.cli.help_page import examples
from dinocli.cli.option_groups import grouped, options_of, read_options, terminal_options

EPILOG = examples(
    "dinocli segment ./images --out masks --overlay",
    "dinocli segment ./parts --method anomaly --reference ./good --out masks --soft --coco masks/coco.json",
    "dinocli segment ./big --method anomaly --tile 512:64 --out masks",
    "dinocli segment clip.mp4 --propagate first.png --out masks",
)
METHOD, RESOLUTION = "Method", "Resolution"


MethodName = Annotated[
    Literal["auto", "attention", "tokencut", "kmeans", "pca", "anomaly"],
    opt.option("--method", "-m", panel=METHOD, help="Segmentation method; auto names its choice and the reason."),
]
Objects = Annotated[
    int | None, opt.option("--objects", panel=METHOD, min=1, help="tokencut: objects to look for.", show_default="1")
]
Segments = Annotated[
    int | None,
    opt.option("--segments", "-k", panel=METHOD, min=2, help="kmeans: number of segments.", show_default="chosen"),
]
Head = Annotated[
    str | None,
    opt.option("--head", metavar="HEAD", panel=METHOD, help="attention: best, mean or a number.", show_default="best"),
]
Query = Annotated[
    str,
    opt.option(
        "--query", metavar="X,Y", panel=METHOD, help="attention: query patch at x,y, fractions of width and height."
    ),
]
Reference = Annotated[
    str,
    opt.option(
        "--reference",
        metavar="FOLDER",
        panel=METHOD,
        help="anomaly: folder of good images to compare with.",
        callback=paths.inputs,
    ),
]
Threshold = Annotated[
    str | None,
    opt.option(
        "--threshold",
        metavar="VALUE",
        panel=METHOD,
        help="anomaly: auto, a value of the soft maps (0 to 1), or quantile:Q of image maxima.",
        show_default="auto",
    ),
]
Features = Annotated[
    Literal["auto", "fine", "coarse", "both"] | None,
    opt.option(
        "--features",
        panel=METHOD,
        help="anomaly: coarse is for large, faint defects; auto takes both with --reference.",
        show_default="auto",
    ),
]
Propagate = Annotated[
    str,
    opt.option(
        "--propagate",
        metavar="FILE",
        panel=METHOD,
        help="Label map of the first frame, propagated through the others.",
        callback=paths.inputs,
    ),
]
Sample = Annotated[int, opt.option("--sample", panel=METHOD, min=1, help="Images that the method is fitted on.")]
Size = Annotated[
    int | None,
    opt.option(
        "--size",
        panel=RESOLUTION,
        min=16,
        help="Pixels of the shorter side that the network sees; larger is finer.",
        show_default="480; with --tile the image's own",
    ),
]
Stride = Annotated[
    int | None,
    opt.option(
        "--stride",
        panel=RESOLUTION,
        min=1,
        help="Stride of a ViT's patches, pixels; smaller is finer.",
        show_default="the patch",
    ),
]
Tile = Annotated[str, opt.tile(panel=RESOLUTION, help="Cut large images into blended tiles of SIZE[:OVERLAP] pixels.")]
Refine = Annotated[
    bool, opt.option("--refine/--no-refine", panel=RESOLUTION, help="Refine masks along the edges of the image.")
]
MinArea = Annotated[
    int | None,
    opt.option(
        "--min-area",
        panel=RESOLUTION,
        min=0,
        help="Smallest region, pixels.",
        show_default="a quarter of a patch",
    ),
]
From = Annotated[
    str,
    opt.option(
        "--from",
        metavar="FOLDER",
        panel=METHOD,
        help="Folder of anomaly masks: apply a new --threshold to them.",
        callback=paths.stored,
    ),
]
Detector = Annotated[
    str,
    opt.option(
        "--detector",
        metavar="FOLDER",
        panel=METHOD,
        help="Saved detector to apply; without --out: one JSON line per image.",
        callback=paths.stored,
    ),
]
SaveDetector = Annotated[
    str,
    opt.option(
        "--save-detector", metavar="FOLDER", panel=opt.OUTPUT, help="Save the fitted anomaly method to this folder."
    ),
]
Out = Annotated[
    str,
    opt.option("--out", "-o", metavar="FOLDER", panel=opt.OUTPUT, help="Folder of the results.", show_default=False),
]
Soft = Annotated[bool, opt.option("--soft", panel=opt.OUTPUT, help="Also write soft maps as 16-bit PNG.")]
Npy = Annotated[bool, opt.option("--npy", panel=opt.OUTPUT, help="Also write soft maps as float32 .npy.")]
PatchMaps = Annotated[
    bool,
    opt.option(
        "--maps", "--heads", panel=opt.OUTPUT, help="Also write attention heads (attention) or components (pca)."
    ),
]
Overlay = Annotated[bool, opt.option("--overlay", panel=opt.OUTPUT, help="Also write images with masks drawn in.")]
Coco = Annotated[
    str,
    opt.option("--coco", metavar="FILE", panel=opt.OUTPUT, help="Write all regions to this COCO file, as run lengths."),
]
Polygons = Annotated[bool, opt.option("--polygons", panel=opt.OUTPUT, help="COCO file with polygons, without holes.")]
Yolo = Annotated[bool, opt.option("--yolo", panel=opt.OUTPUT, help="Also write YOLO segmentation labels.")]
Truth = Annotated[
    str,
    opt.option(
        "--truth",
        metavar="MASKS",
        panel=opt.INPUT,
        help="True masks to score against: folder, COCO, YOLO or VOC.",
        callback=paths.inputs,
    ),
]
GoodWithoutMask = Annotated[
    bool, opt.option("--good-without-mask", panel=opt.INPUT, help="Images without a mask in --truth have no defect.")
]
Groups = Annotated[
    str,
    opt.option(
        "--groups",
        metavar="LABELS",
        panel=opt.INPUT,
        help="Images of one part: folder, folder:N, CSV; the worst decides.",
        callback=paths.labels,
    ),
]
Seed = Annotated[
    int, opt.option("--seed", panel=METHOD, min=0, max=opt.MAX_SEED, help="Random seed of sample and method.")
]


@grouped(read=read_options, terminal=terminal_options)
def segment(
    images: opt.Images = None,
    read: Any = None,
    truth: Truth = "",
    good_without_mask: GoodWithoutMask = False,
    groups: Groups = "",
    weights: opt.Weights = None,
    model: opt.Model = None,
    method: MethodName = "auto",
    objects: Objects = None,
    segments: Segments = None,
    head: Head = None,
    query: Query = "",
    reference: Reference = "",
    threshold: Threshold = None,
    features: Features = None,
    propagate: Propagate = "",
    sample: Sample = 128,
    seed: Seed = 0,
    size: Size = None,
    stride: Stride = None,
    tile: Tile = "",
    refine: Refine = True,
    min_area: MinArea = None,
    maps_from: From = "",
    detector: Detector = "",
    save_detector: SaveDetector = "",
    out: Out = "",
    soft: Soft = False,
    npy: Npy = False,
    maps: PatchMaps = False,
    overlay: Overlay = False,
    coco: Coco = "",
    polygons: Polygons = False,
    yolo: Yolo = False,
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
    auto: anomaly with --reference or --tile, else tokencut if it finds an object in most of 32 images, else anomaly.
    """
    if not out and not detector:
        raise typer.BadParameter("name a folder for the masks", param_hint="--out")
    if not out and (dry_run or terminal.as_json):
        flag = "--dry-run" if dry_run else "--json"
        raise typer.BadParameter("without --out there is one JSON line per image: leave it out", param_hint=flag)
    from dinocli.cli.facts import show_plan
    from dinocli.cli.show_segment import show_answers, show_segmented

    with terminal:
        from dinocli.tasks.segment.segment_options import MaskOutputs, SegmentOptions

        method_options = {"objects": objects, "segments": segments, "head": head, "threshold": threshold}
        method_options["features"] = features
        options = options_of(
            SegmentOptions,
            locals(),
            inputs=images,
            method_options={name: value for name, value in method_options.items() if value is not None},
            outputs=options_of(MaskOutputs, locals()),
        )
        options.check(dry_run=dry_run)
        if not out:
            from dinocli.tasks.segment.answers import answers

            show_answers(answers(options, terminal, sys.stdin.buffer))
            return
        from dinocli.tasks.segment.segment import dry_run as plan
        from dinocli.tasks.segment.segment import segment as run

        if dry_run:
            show = partial(show_plan, terminal, plan(options, terminal, sys.stdin.buffer))
        else:
            show = partial(show_segmented, terminal, run(options, terminal, sys.stdin.buffer))
    show()
