"""Options and result of `segment`."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dinocli.artifacts.mask_folder import DETECTOR_RECORD, RESULT_FILES, MaskFolder
from dinocli.artifacts.protected_files import check_free, refuse_inputs
from dinocli.data.tiling import parse_tiling
from dinocli.errors import UsageError
from dinocli.file_set import LOCK_NAME
from dinocli.segmentation.anomaly_threshold import parse_threshold
from dinocli.segmentation.method_options import check_method, parse_query
from dinocli.tasks.inputs import ImageOptions, check_inputs

if TYPE_CHECKING:
    from dinocli.segmentation.patch_geometry import PatchGeometry

SIZE = 480
"""Shorter side of the canvas, pixels, as in DINO's scripts: a grid of 30 cells with patches of 16 px."""


@dataclass(frozen=True)
class MaskOutputs:
    """Outputs in addition to label maps, `segments.csv` and `report.html`.

    Args:
        soft: Soft maps as 16-bit PNG.
        npy: Soft maps as float32 `.npy`.
        maps: Additional maps of the method: attention heads, false colours.
        overlay: Images with mask overlays, JPEG.
        coco: Path of a COCO file; empty for none.
        polygons: Polygons in the COCO file instead of run-length encoding.
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

    In addition to `ImageOptions`; `inputs` may also be one video.

    Args:
        out: Output folder.
        method: `auto`, or the name of a method.
        method_options: Options of the method by name.
        reference: Folder of good images; empty for the typical patches of the images themselves.
        size: Shorter side of the canvas, pixels; 0 is `SIZE`, with tiles the size of each image.
        stride: Distance between patches of a ViT, pixels; 0 is the patch size.
        tile: `SIZE` or `SIZE:OVERLAP`, pixels.
        query: `x,y` of the query patch of attention, as fractions of width and height.
        propagate: Label map of the first frame, propagated to the other frames; needs no method.
        refine: Refine masks along the edges of the image; None is yes, or what the detector was saved with.
        min_area: Minimum region area, pixels; None is a quarter of a patch.
        maps_from: Output folder of an earlier command whose distances get another threshold; empty computes maps.
        detector: Detector folder of `save_detector`; its method is not fitted again.
        save_detector: Output folder for the fitted anomaly method with its weights; empty for none.
        outputs: Additional outputs.
        truth: Ground-truth masks: a folder, COCO, YOLO or VOC; empty for none.
        good_without_mask: Images without a true mask have no object; otherwise only those in a folder `good`.
        groups: `folder`, `folder:N` or a CSV: images of one part share one answer; empty for none.
        sample: Number of images that a method is fitted on.
        seed: Random seed of the sample and of the method.
        precision: auto, fp32, bf16 or fp16.
        resume: Continue an interrupted command.

    Raises:
        UsageError: A value is invalid, or options contradict each other.
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
    refine: bool | None = None
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
        super().__post_init__()
        if not self.out and not self.detector:
            raise UsageError("--out is missing: name a folder for the masks, such as --out masks")
        if self.outputs.polygons and not self.outputs.coco:
            raise UsageError("--polygons is a form of the COCO file: add --coco FILE")
        if self.good_without_mask and not self.truth:
            raise UsageError("--good-without-mask belongs to the true masks: add --truth MASKS")
        parse_tiling(self.tile)
        parse_threshold(str(self.method_options.get("threshold", "auto")))
        parse_query(self.query)
        given = self.options_of_methods
        if self.propagate and (self.method != "auto" or given):
            others = ["--method"] * (self.method != "auto") + [f"--{name}" for name in given]
            raise UsageError(f"--propagate is a method of its own: leave {', '.join(others)} out")
        check_method(self.method, given)
        own = {name: getattr(self, name) for name in ("truth", "save_detector", "resume")} | asdict(self.outputs)
        files = [f"--{name.replace('_', '-')}" for name, value in own.items() if value]
        if not self.out and self.read.max_bad:
            raise UsageError("--max-bad: answers on stdout name each unreadable image; name a folder with --out")
        if not self.out and files:
            raise UsageError(f"{', '.join(files)}: answers on stdout have no such files; name a folder with --out")

    @property
    def sources(self) -> tuple[str, ...]:
        """As in `ImageOptions`, with the good images, true masks, label map, detector and table of groups."""
        own = (self.reference, self.truth, self.propagate, self.detector, self.groups)
        return (*super().sources, *own)

    @property
    def options_of_methods(self) -> list[str]:
        """Names of the given options that only some methods take."""
        more = {name: getattr(self, name) for name in ("query", "reference", "groups")} | {"maps": self.outputs.maps}
        return [name for name, value in {**self.method_options, **more}.items() if value]

    @property
    def canvas_side(self) -> int:
        """Shorter side of the canvas, pixels; 0 keeps the scale of each image."""
        return self.size or (0 if self.tile else SIZE)

    @property
    def refines(self) -> bool:
        """Whether masks are refined along the edges of the image."""
        return self.refine is not False

    def least_area(self, geometry: "PatchGeometry") -> int:
        """Return the minimum region area in an image, pixels."""
        return geometry.min_area if self.min_area is None else self.min_area

    def check(self, *, dry_run: bool = False) -> None:
        """Raise the errors that need neither torch nor an image; a dry run may name an output that exists.

        Raises:
            UsageError: An output exists.
            DinocliError: As `check_inputs`.
        """
        if self.out:
            checked = replace(self, force=self.force or dry_run)
            if not (Path(self.out) / LOCK_NAME).exists():  # else another process may write it, which the lock will say
                checked.check_outputs()
            checked.check_detector()
        if not self.maps_from and (self.out or self.inputs):
            check_inputs(self, weights=self.detector)

    def check_outputs(self) -> None:
        """Raise `UsageError` if an output exists and neither --resume nor --force was given."""
        MaskFolder(Path(self.out)).check_free(resume=self.resume, force=self.force)
        coco = [Path(self.outputs.coco)] if self.outputs.coco else []
        others = {os.path.abspath(Path(self.out, name)) for name in (*RESULT_FILES, "segment.json")}
        if coco and os.path.abspath(coco[0]) in others:
            raise UsageError(f"--coco {coco[0]} is another file of the result; choose another name")
        results = [path for name in RESULT_FILES if (path := Path(self.out, name)).exists()]
        refuse_inputs(results, self.sources)
        check_free(coco, force=self.force or self.resume, options="--coco", inputs=self.sources)

    def check_detector(self) -> None:
        """Raise `UsageError` if `save_detector` cannot be written, before any long work."""
        if not self.save_detector:
            return
        folder = Path(self.save_detector)
        if Path(os.path.realpath(self.out)).is_relative_to(os.path.realpath(folder)):
            raise UsageError(f"--out {self.out} lies in --save-detector {folder}, which is replaced: choose another")
        if self.maps_from or self.detector:
            by = f"--from {self.maps_from}" if self.maps_from else f"--detector {self.detector}"
            raise UsageError(f"{by} fits no method that could be kept: leave --save-detector out")
        if self.method not in ("auto", "anomaly") or self.propagate:
            raise UsageError("--save-detector keeps what --method anomaly has fitted: use it with that method")
        if folder.exists() and not (folder / DETECTOR_RECORD).is_file():
            raise UsageError(f"{folder} exists and is not a detector: choose another --save-detector")
        unfinished = MaskFolder(Path(self.out)).journal.is_file()
        if folder.exists() and unfinished and not (self.force or self.resume):
            raise UsageError(f"{self.out} is unfinished: add --resume to continue it, or --force to start again")
        check_free([folder], force=self.force or self.resume, options="--save-detector", inputs=self.sources)

    def check_settled(self, by: str, fields: Iterable[str], others: Iterable[str]) -> None:
        """Raise `UsageError` for options that an earlier command has settled; the threshold is not settled.

        Args:
            by: Option that names the earlier result, with its value.
            fields: Fields that it settles besides those of weights, method and resolution.
            others: Further given options that it settles.
        """
        method = ("reference", "size", "stride", "tile", "query", "propagate", "sample", "seed")
        own = ("weights", "model", *method, *fields)
        changed = [name for name in own if (value := getattr(self, name)) and value != getattr(SegmentOptions, name)]
        given = [f"--{name.removeprefix('maps_').replace('_', '-')}" for name in changed]
        given += [*others, *(f"--{name}" for name in self.method_options if name != "threshold")]
        if given:
            raise UsageError(f"{by} settles {', '.join(given)}: leave it out")
        if self.method not in ("auto", "anomaly"):
            raise UsageError(f"{by} has --method anomaly, not {self.method}: leave --method out")


@dataclass(frozen=True)
class MethodUsed:
    """Record of the method of a run.

    Args:
        name: Name, with `auto` resolved.
        reason: Reason for the choice of `auto`; empty if the user chose the method.
        parameters: Parameters fitted on the images, such as the number of segments; empty before the fit.
    """

    name: str
    reason: str = ""
    parameters: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class SegmentResult:
    """Counts, method and scores of a finished run.

    Args:
        folder: Output folder.
        method: Name of the method, reason for its choice, and fitted parameters.
        images: Number of listed images.
        segmented: Number of images with a label map.
        empty_images: Number of images with an empty label map.
        bad: Number of unreadable images.
        regions: Number of regions in all images.
        scores: Scores against the ground truth: name -> value, low, high; empty without ground truth.
        confusion: Confusion matrix of images, `true_positive` and so on; empty without ground truth.
        groups: Number of groups and of good groups; None if not requested.
        seconds: Duration of the command.
        root: Folder that image names are relative to.
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
        return asdict(self) | {"folder": str(self.folder), "scores": scores}
