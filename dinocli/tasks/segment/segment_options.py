"""Options and result of `segment`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dinocli.errors import UsageError
from dinocli.tasks.inputs import ImageOptions

SIZE = 480
"""Pixels of the canvas's shorter side, as the scripts of DINO have it; a grid of 30 cells with patches of 16 px."""


@dataclass(frozen=True)
class MaskOutputs:
    """Files that are written besides label maps, `segments.csv` and `report.html`.

    Args:
        soft: Soft maps, 16-bit PNG.
        npy: Soft maps as float32 `.npy` instead of PNG.
        maps: Further maps of the method: attention heads, false colours.
        overlay: Images with their masks over them, JPEG.
        coco: Path of a COCO file; empty for none.
        polygons: Polygons in the COCO file, instead of run lengths.
        yolo: Label files for YOLO segmentation.
    """

    soft: bool = False
    npy: bool = False
    maps: bool = False
    overlay: bool = False
    coco: str = ""
    polygons: bool = False
    yolo: bool = False


@dataclass(frozen=True)
class SegmentOptions(ImageOptions):
    """Options of `segment`. Empty strings and None mean: as stored with the weights, else the default.

    Beside those of `ImageOptions`; `inputs` may also be one video.

    Args:
        out: The folder of the results.
        method: `auto`, or the name of a method.
        method_options: Options of the method, by name.
        reference: Folder of images that are known to be good; empty takes the typical patches of the folder itself.
        size: Pixels of the canvas's shorter side; 0 is `SIZE`, or every image's own scale with tiles.
        stride: Pixels between two patches of a ViT; 0 is the patch itself.
        tile: `SIZE` or `SIZE:OVERLAP`, pixels.
        query: `x,y` of the patch that attention asks about, as shares of width and height.
        propagate: Label map of the first frame, carried on through the others; needs no method.
        refine: Let masks follow the edges of the image.
        min_area: Pixels that a region has at least; None is a quarter of a patch.
        maps_from: Folder of an earlier command whose stored distances get another threshold; empty computes maps.
        detector: Folder that `save_detector` wrote; its method is taken as it was fitted.
        save_detector: Folder that gets the fitted anomaly method with its weights; empty for none.
        outputs: Files besides the masks.
        truth: Folder of ground-truth masks; empty for none.
        good_without_mask: Images without a mask in it have no object; otherwise only those in a folder `good`.
        groups: `folder`, `folder:N` or a CSV: images of one part, which get one answer; empty for none.
        sample: Images that a method is fitted on.
        seed: Of the choice of the sample, and of the method.
        precision: To compute in.
        resume: Go on where an interrupted command stopped.
    """

    out: str = ""
    method: str = "auto"
    method_options: Mapping[str, Any] = field(default_factory=dict)
    reference: str = ""
    size: int = 0
    stride: int = 0
    tile: str = ""
    query: str = ""
    propagate: str = ""
    refine: bool = True
    min_area: int | None = None
    maps_from: str = ""
    detector: str = ""
    save_detector: str = ""
    outputs: MaskOutputs = MaskOutputs()
    truth: str = ""
    good_without_mask: bool = False
    groups: str = ""
    sample: int = 128
    seed: int = 0
    precision: str = "auto"
    resume: bool = False

    def __post_init__(self) -> None:
        if not self.out and not self.detector:
            raise UsageError("--out is missing: name a folder for the masks, such as --out masks")
        if self.groups and self.method not in ("auto", "anomaly"):
            raise UsageError("--groups joins the scores of --method anomaly: leave it out, or name that method")

    def query_point(self) -> tuple[float, float] | None:
        """Parse the query, None without one.

        Raises:
            UsageError: Not two shares.
        """
        if not self.query:
            return None
        try:
            x, y = (float(part) for part in self.query.split(","))
        except ValueError:
            x = y = -1.0
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise UsageError(f"--query {self.query!r} is not x,y as shares of width and height; for example 0.5,0.5")
        return x, y


@dataclass(frozen=True)
class MethodUsed:
    """The method of a run.

    Args:
        name: After `auto`.
        reason: Why `auto` chose it; empty where the user named it.
        parameters: What the method fitted on the folder, such as the number of segments.
    """

    name: str
    reason: str
    parameters: Mapping[str, float | str]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        return asdict(self) | {"parameters": dict(self.parameters)}


@dataclass(frozen=True)
class SegmentResult:
    """Counts, method and scores of a finished run.

    Args:
        folder: Of the results.
        method: Its name, why it was chosen, and its parameters.
        images: Images that were listed.
        segmented: Images with a label map.
        empty_images: Images whose label map is empty.
        bad: Unreadable images.
        regions: Regions found in all images.
        scores: Against the ground truth: name -> value, low, high; empty without one.
        confusion: Counts of images by what is known and what was found, `true_positive` and so on; empty if unknown.
        groups: How many groups, and how many of them are good; None if not requested.
        seconds: Of the whole command.
        root: Folder that the names of the images are relative to.
    """

    folder: Path
    method: MethodUsed
    images: int
    segmented: int
    empty_images: int
    bad: int
    regions: int
    scores: Mapping[str, tuple[float, float, float]]
    confusion: Mapping[str, int]
    groups: Mapping[str, int] | None
    seconds: float
    root: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        scores = {name: dict(zip(("value", "low", "high"), three, strict=True)) for name, three in self.scores.items()}
        return asdict(self) | {"folder": str(self.folder), "method": self.method.to_dict(), "scores": scores}
