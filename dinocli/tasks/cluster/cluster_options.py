"""Options and result of `cluster`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from dinocli.artifacts.link_folders import check_tree
from dinocli.artifacts.protected_files import check_free, refuse_inputs
from dinocli.errors import UsageError
from dinocli.output_paths import side_file
from dinocli.quality.layout import Layout, check_layout
from dinocli.tasks.inputs import FeatureInputs

if TYPE_CHECKING:
    from dinocli.quality.auto_k import KScore
    from dinocli.report.crosstab import LabelCounts

AUTO = 0
"""Value of `k` that chooses the number of groups automatically."""
NO_REPORT = "none"
AUTO_DUPLICATES = -1.0
"""Value of `duplicates` that estimates the threshold from the images and compares pixels."""
DUPLICATES, DUPLICATE_GROUPS, SELECTED = "duplicates.csv", "duplicate_groups.csv", "selected.txt"
ISSUES, DRIFT = "issues.csv", "drift.csv"
CLUSTERS, PAGE = "clusters.csv", "report.html"

Method = Literal["kmeans", "hdbscan", "agglomerative"]


@dataclass(frozen=True)
class ClusterOptions(FeatureInputs):
    """Options of `cluster`, in addition to `FeatureInputs`.

    Args:
        out: CSV table of all images; duplicates.csv, issues.csv and report.html are written beside it. For a table with
            another name, `other.csv`, they are `other.duplicates.csv`, `other.issues.csv` and `other.html`.
        method: kmeans, hdbscan or agglomerative.
        k: Number of groups; 0 chooses it. Not for hdbscan, which determines the number itself.
        pca: PCA components to keep before grouping; 0 keeps all (hdbscan: 50).
        whiten: Whiten features before grouping (`whitening.fit_whitening`).
        min_size: Minimum group size; images of smaller groups are in no group. 0 means 1; for hdbscan 1 % of the
            images, at least 5.
        duplicates: Cosine from which two images count as near-duplicates; 0 disables the search, `AUTO_DUPLICATES`
            estimates the threshold from the images and compares pixels.
        checks: Decode all images to find dark, bright, blank, blurred and odd ones.
        drift: Feature file of another batch to test for drift; empty for none.
        ids_from: Table of an earlier run; groups take the number of the earlier group with the most images in common.
            Empty for numbers by size.
        select: Size of the diverse subset; 0 for none.
        map: pca, tsne or umap.
        report: HTML page; "none" for no page, empty for a page beside the table if the images are available.
        sheet: Contact sheet of the groups (PNG), or empty.
        coco: COCO file for groups, duplicates and the diverse subset, or empty.
        link_dir: Folder for symbolic links, one subfolder per group, or empty.
        copy: Copy images instead of linking them.
        follow_links: Also copy images outside the image folder that links in it point to.
        labels: `folder`, a CSV or annotations (COCO, YOLO, VOC); compared with the groups, never used to form them.

    Raises:
        UsageError: Invalid values or combinations.
        WeightsError: The map needs a package that is not installed.
    """

    out: str = CLUSTERS
    method: Method = "kmeans"
    k: int = AUTO
    pca: int = 0
    whiten: bool = False
    min_size: int = 0
    duplicates: float = AUTO_DUPLICATES
    checks: bool = True
    drift: str = ""
    ids_from: str = ""
    select: int = 0
    map: Layout = "pca"
    report: str = ""
    sheet: str = ""
    coco: str = ""
    link_dir: str = ""
    copy: bool = False
    follow_links: bool = False
    labels: str = ""

    def __post_init__(self) -> None:
        for option, value, known in (("--method", self.method, Method), ("--map", self.map, Layout)):
            if value not in get_args(known):
                raise UsageError(f"{option} {value!r} is not known; use one of {', '.join(get_args(known))}")
        if self.k < 0:
            raise UsageError(f"-k {self.k} is not a number of groups; give 1 or more, or auto")
        if self.method == "hdbscan" and self.k != AUTO:
            raise UsageError("--method hdbscan finds the number of groups itself; leave -k out, --min-size steers it")
        if self.duplicates != AUTO_DUPLICATES and not 0 <= self.duplicates <= 1:
            raise UsageError(f"--duplicates {self.duplicates:g} is not a cosine; give 0 (no search) to 1, or auto")
        if self.copy and not self.link_dir:
            raise UsageError("--copy needs --link-dir DIR, the folder for the copies")
        if self.follow_links and not self.copy:
            raise UsageError("--follow-links works with --copy only; add --copy")
        if self.sheet and Path(self.sheet).suffix.lower() != ".png":
            raise UsageError(f"--sheet {self.sheet}: the sheet is a .png")
        check_layout(self.map)
        super().__post_init__()

    def check_outputs(self) -> None:
        """Raise `UsageError` if an output exists and `force` is not set."""
        thumbnails = [thumbnail_folder(self.page)] if self.page else []
        inputs = (*self.sources, self.drift, self.labels)  # not ids_from: it may be updated
        check_free([*self.outputs(), *thumbnails], force=self.force, options="--out or --report", inputs=inputs)
        if self.link_dir:
            refuse_inputs([Path(self.link_dir)], inputs, options="--link-dir")
            check_tree(Path(self.link_dir), force=self.force)

    @property
    def table(self) -> Path:
        return Path(self.out)

    @property
    def page(self) -> Path | None:
        """Path of the page; None for no page."""
        if self.report == NO_REPORT:
            return None
        return Path(self.report) if self.report else self._default_page

    @property
    def _default_page(self) -> Path:
        is_default = self.table.stem == Path(CLUSTERS).stem
        return self.table.with_name(PAGE) if is_default else self.table.with_suffix(".html")

    def older(self) -> list[Path]:
        """Return the files beside an existing table that this command would not replace."""
        beside = map(self.beside, (DUPLICATES, DUPLICATE_GROUPS, ISSUES, DRIFT, SELECTED))
        found = [path for path in (*beside, self._default_page) if path.exists() and path not in self.outputs()]
        return found if self.table.exists() else []

    def beside(self, name: str) -> Path:
        """Return the path of a further table or list, named after the main table (`side_file`)."""
        return side_file(self.table, CLUSTERS, name)

    @property
    def width(self) -> int:
        """PCA components to keep; 0 keeps all."""
        from dinocli.quality.hdbscan import HDBSCAN_WIDTH  # loads scikit-learn, and options are checked before

        return self.pca or (HDBSCAN_WIDTH if self.method == "hdbscan" else 0)

    def least(self, images: int) -> int:
        """Return the minimum group size."""
        return self.min_size or (max(5, images // 100) if self.method == "hdbscan" else 1)

    def outputs(self) -> list[Path]:
        """Return the files that will be written."""
        written = {DUPLICATES: self.duplicates, DUPLICATE_GROUPS: self.duplicates}
        written |= {ISSUES: self.checks, DRIFT: bool(self.drift), SELECTED: self.select}
        names = [name for name, wanted in written.items() if wanted]
        more = [self.page, *(Path(name) if name else None for name in (self.coco, self.sheet))]
        return [self.table, *map(self.beside, names), *(path for path in more if path)]


def thumbnail_folder(page: Path) -> Path:
    """Return the folder of thumbnails that do not fit into the page."""
    return page.with_name(f"{page.stem}_files")


@dataclass(frozen=True)
class Cluster:
    """One group.

    Args:
        cluster: Group number; 0 is the largest, unless numbers come from an earlier table.
        size: Number of images.
        medoid: Most typical image.
        name: Name from the medoid, distinct from those of the other groups.
        mean_distance: Mean distance of the images to the centre.
    """

    cluster: int
    size: int
    medoid: str
    name: str
    mean_distance: float


@dataclass(frozen=True)
class ClusterResult:
    """Result of `cluster`.

    Args:
        out: Path of the table.
        features: Feature file; None if images were given.
        weights: Weights that made the features; empty if unknown.
        images: Number of grouped rows.
        dropped: Number of rows left out because they are not finite.
        method: Clustering method.
        map: Description of the map method.
        clear: Whether the data show groups, by the criterion of `-k auto`; None if k was given.
        reason: Reason for the number of groups.
        clusters: Groups, largest first.
        ungrouped: Number of images in no group.
        curve: Scores of each number of groups that `-k auto` tried.
        agreement: Label column -> scores of the agreement of groups and labels (NMI, ARI, accuracy).
        label_counts: Label column -> number of images of each label in each group.
        duplicates: Number of near-duplicate pairs; None without a search, or if there were too many to list.
        duplicate_groups: Number of groups of near or exact duplicates.
        duplicate_reason: Source of the near-duplicate threshold; empty without a search.
        copies: Number of images whose file is a byte-identical copy of another one.
        outliers: The most outlying images with their scores: 0 is typical, 2 is two standard deviations above.
        drift: Result of the drift test; None without one.
        issues: Issue name -> number of images.
        selected: Size of the diverse subset.
        files: All written files.
        seconds: Duration of the command.
        root: Folder that image names are relative to; None if unknown or missing.
    """

    out: Path
    features: Path | None
    weights: str
    images: int
    dropped: int
    method: str
    map: str
    clear: bool | None
    reason: str
    clusters: list[Cluster]
    ungrouped: int
    curve: "list[KScore]"
    agreement: dict[str, dict[str, float]]
    label_counts: "dict[str, LabelCounts]"
    duplicates: int | None
    duplicate_groups: int
    duplicate_reason: str
    copies: int
    outliers: list[tuple[str, float]]
    issues: dict[str, int]
    drift: dict[str, Any] | None
    selected: int
    files: list[Path]
    seconds: float
    root: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        curve = [asdict(k_score) | {"score": k_score.score, "clear": k_score.clear} for k_score in self.curve]
        return asdict(self) | {
            "out": str(self.out),
            "features": str(self.features) if self.features else None,
            "root": str(self.root) if self.root else None,
            "files": [str(path) for path in self.files],
            "outliers": [{"path": name, "score": score} for name, score in self.outliers],
            "curve": curve,
            "label_counts": {column: table._asdict() for column, table in self.label_counts.items()},
            "k": len(self.clusters),
        }
