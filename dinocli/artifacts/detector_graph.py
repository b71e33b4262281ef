"""A detector as one graph: its parts, its canvas, and what it cannot contain."""

from dataclasses import dataclass
from functools import cached_property

from dinocli.artifacts.detector_folder import Detector, load_detector
from dinocli.artifacts.detector_verification import verified_detector
from dinocli.artifacts.export_source import Source, open_source
from dinocli.data.region_of_interest import is_box
from dinocli.engine.precision import graph_note
from dinocli.errors import UsageError, WeightsError
from dinocli.files import user_path
from dinocli.models.export_graph import Compute
from dinocli.progress import ProgressReporter
from dinocli.segmentation.anomaly_graph import AnomalyGraph
from dinocli.segmentation.feature_extraction import grid_layout
from dinocli.segmentation.patch_geometry import PatchGeometry, canvas_size
from dinocli.segmentation.segment_images import GridLayout


@dataclass(frozen=True)
class DetectorGraph:
    """A detector to be exported, with the interface of `FeatureGraph`.

    Args:
        detector: The detector.
        source: Its weights and their preprocessing.
        with_preprocessing: The graph includes range, resize and normalisation, and takes source values of any size.

    Raises:
        UsageError: The detector computes what a graph does not.
        WeightsError: Its canvas does not fit the weights.
    """

    detector: Detector
    source: Source
    with_preprocessing: bool = False

    def __post_init__(self) -> None:
        record, about, name = self.detector.record, self.source.preprocess, self.detector.folder
        if record["tile"]:
            raise UsageError(f"{name} cuts images into tiles, a graph takes whole ones: save a detector without --tile")
        canvas = record["canvas"] or [record["size"]]
        if not all(canvas) or any(side % self.layout.multiple for side in record["canvas"] or ()):
            raise WeightsError(f"{name} has a canvas of {canvas} px: save the detector again")
        if self.detector.fitted.scale.enhanced:
            raise UsageError(
                f"{name} measures connected regions (enhanced features), which a graph cannot: save a detector with "
                "--reference, whose distances are not enhanced"
            )
        if about.roi and not is_box(about.roi):
            raise UsageError(f"{name} has a mask as region of interest, a graph takes boxes: use --roi x,y,w,h")
        if self.with_preprocessing and about.range_policy == "image":
            raise UsageError("--with-preprocessing: a range of each image by its percentiles is not for a graph")

    @property
    def layout(self) -> GridLayout:
        """Layout of the fine grid."""
        return grid_layout(self.source.backbone, self.detector.fitted.feature_kind)

    @cached_property
    def geometry(self) -> PatchGeometry:
        """The canvas of the images that the detector was fitted to, else a square, and its grid."""
        recorded, side = self.detector.record["canvas"], self.detector.record["size"]
        square = canvas_size((side, side), short_side=side, multiple=self.layout.multiple)
        canvas = (recorded[0], recorded[1]) if recorded else square
        return self.layout.geometry(canvas, canvas)

    @property
    def threshold(self) -> float:
        """Value of the anomaly map above which an image is defective."""
        fitted, (rows, columns) = self.detector.fitted, self.geometry.grid
        return fitted.scale.soft_line(rows * columns, fitted.threshold)

    def pipeline(self) -> AnomalyGraph:
        """Build the graph."""
        source = self.source
        return AnomalyGraph(
            source.backbone,
            self.detector.fitted,
            source.preprocess,
            self.geometry,
            with_preprocessing=self.with_preprocessing,
        )

    def facts(self) -> dict[str, str]:
        """Return the metadata of the graph: that of the weights, preprocessing, canvas, features, threshold, hashes."""
        rows, columns = self.geometry.canvas
        return {
            **{key: value for key, value in self.source.facts().items() if key != "trained_by"},
            **({"preprocessing": "in the graph"} if self.with_preprocessing else {}),
            "size": str(self.detector.record["size"]),
            "canvas": f"[{rows}, {columns}]",
            "features": self.detector.fitted.features,
            "threshold": f"{self.threshold:.6g}",
            "detector_sha256": self.detector.digest,
        }

    def verified(self, compute: Compute) -> float:
        """Return the largest difference of the graph's distances to those of `segment`, in units of the threshold.

        Raises:
            WeightsError: They differ by more than rounding explains, or a decision differs.
        """
        return verified_detector(
            compute, self.source, self.detector.fitted, self.geometry, with_preprocessing=self.with_preprocessing
        )


def open_detector_graph(folder: str, reporter: ProgressReporter, *, with_preprocessing: bool) -> DetectorGraph:
    """Load a detector for an export.

    Args:
        folder: Detector folder.
        reporter: Receives its weights, and a line if its images have no common canvas.
        with_preprocessing: As in `DetectorGraph`.

    Raises:
        WeightsError: The folder is damaged.
        UsageError: The detector computes what a graph does not.
    """
    detector = load_detector(user_path(folder))
    source = open_source(str(detector.backbone), "", reporter)
    if detector.record["stride"]:
        source.backbone.set_stride(detector.record["stride"])
    if note := graph_note(folder, detector.record["precision"]):
        reporter.warn(note)
    graph = DetectorGraph(detector, source, with_preprocessing)
    if not detector.record["canvas"]:
        rows, columns = graph.geometry.canvas
        reporter.line(f"{folder} records no canvas that all its images have: the graph takes {columns} x {rows} px")
    return graph
