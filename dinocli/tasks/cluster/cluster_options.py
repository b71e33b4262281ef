"""Options and result of `cluster`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from dinocli.errors import UsageError
from dinocli.file_set import side_file
from dinocli.quality.auto_k import KScore
from dinocli.quality.density import HDBSCAN_WIDTH
from dinocli.quality.layout import Layout, check_layout
from dinocli.report.crosstab import LabelCounts
from dinocli.tasks.inputs import FeatureInputs

AUTO = 0
"""Value of `k` that lets the number of groups be chosen."""
NO_REPORT = "none"
AUTO_DUPLICATES = -1.0
"""Value of `duplicates` that takes the threshold from the folder and compares pixels."""
DUPLICATES, DUPLICATE_GROUPS, SELECTED = "duplicates.csv", "duplicate_groups.csv", "selected.txt"
ISSUES, DRIFT = "issues.csv", "drift.csv"
CLUSTERS, PAGE = "clusters.csv", "report.html"

Method = Literal["kmeans", "hdbscan", "agglomerative"]


@dataclass(frozen=True)
class ClusterOptions(FeatureInputs):
    """Options of `cluster`, beside those of `FeatureInputs`.

    Args:
        out: The table of all images, a CSV; duplicates.csv, issues.csv and report.html lie beside it. Beside a table of
            another name, `other.csv`, they are `other.duplicates.csv`, `other.issues.csv` and `other.html`.
        method: kmeans, hdbscan or agglomerative.
        k: Number of groups; 0 chooses it. Not for hdbscan, which finds the number itself.
        pca: Directions to keep before grouping; 0 keeps all (hdbscan: 50).
        whiten: Whiten features before grouping (`normalized_features.fit_whitening`).
        min_size: Smallest group. Images of smaller ones are in no group; 0 takes 1, for hdbscan 1 % of the images, at
            least 5.
        duplicates: Cosine from which two images count as nearly the same; 0 looks for none, `AUTO_DUPLICATES` takes it
            from the folder and compares pixels.
        checks: Decode all images to find dark, bright, blank, blurred and odd ones.
        drift: Feature file of another batch, compared with this one; empty for none.
        ids_from: Table of an earlier run: its groups give theirs numbers to those that share most images; or empty.
        select: Size of the diverse subset to choose, 0 for none.
        map: pca, tsne or umap.
        report: The page; "none" for no page, empty for a page beside the table where the images are at hand.
        sheet: A PNG with the groups, or empty.
        coco: File for groups, duplicates and the diverse subset as COCO, or empty.
        link_dir: Folder for a tree of links, one folder a group, or empty.
        copy: Copies instead of links.
        follow_links: Also copy images outside the folder of the images, to which links in it lead.
        labels: `folder` or a CSV: compared with the groups, never used to make them.

    Raises:
        UsageError: Values that make no sense, alone or together.
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
            raise UsageError(f"-k {self.k} is no number of groups; give 1 or more, or auto")
        if self.method == "hdbscan" and self.k != AUTO:
            raise UsageError("--method hdbscan finds the number of groups itself; leave -k out, --min-size steers it")
        if self.duplicates != AUTO_DUPLICATES and not 0 <= self.duplicates <= 1:
            raise UsageError(f"--duplicates {self.duplicates:g} is no cosine; give 0 (look for none) to 1, or auto")
        if self.copy and not self.link_dir:
            raise UsageError("--copy needs --link-dir DIR, the folder for the copies")
        if self.follow_links and not self.copy:
            raise UsageError("--follow-links says what --copy copies; add --copy")
        check_layout(self.map)

    @property
    def table(self) -> Path:
        return Path(self.out)

    @property
    def page(self) -> Path | None:
        """Where the page goes; None for no page."""
        if self.report == NO_REPORT:
            return None
        if self.report:
            return Path(self.report)
        usual = self.table.stem == Path(CLUSTERS).stem
        return self.table.with_name(PAGE) if usual else self.table.with_suffix(".html")

    def beside(self, name: str) -> Path:
        """Return where a further table or list lies: its name says which table it belongs to."""
        return side_file(self.table, CLUSTERS, name)

    @property
    def width(self) -> int:
        """Directions to keep, 0 for all."""
        return self.pca or (HDBSCAN_WIDTH if self.method == "hdbscan" else 0)

    def least(self, images: int) -> int:
        """Return the size of the smallest group."""
        if self.min_size:
            return self.min_size
        return max(5, images // 100) if self.method == "hdbscan" else 1

    def outputs(self) -> list[Path]:
        """Return the files that will be written."""
        more = [self.page, *(Path(name) if name else None for name in (self.coco, self.sheet))]
        wanted = {
            DUPLICATES: self.duplicates != 0,
            DUPLICATE_GROUPS: self.duplicates != 0,
            ISSUES: self.checks,
            DRIFT: bool(self.drift),
            SELECTED: self.select > 0,
        }
        beside = (self.beside(name) for name, asked in wanted.items() if asked)
        return [self.table, *beside, *(path for path in more if path)]


@dataclass(frozen=True)
class Cluster:
    """One group.

    Args:
        cluster: Its number; 0 is the largest.
        size: Images.
        medoid: Name of its most typical image.
        mean_distance: Mean distance of its images to its centre.
    """

    cluster: int
    size: int
    medoid: str
    mean_distance: float


@dataclass(frozen=True)
class ClusterResult:
    """Result of `cluster`.

    Args:
        out: The table.
        features: The feature file; None where images were given.
        weights: That made the features, as far as is known.
        images: Rows that were grouped.
        dropped: Rows that were left out, because they are not finite.
        method: That was used.
        map: How the map was made, in words.
        clear: Whether the data show groups, by the criterion of `-k auto`; None where k was given.
        reason: Why this k.
        clusters: Largest first.
        ungrouped: Images in no group.
        curve: Scores of each number of groups that `-k auto` tried.
        agreement: For each label column: how well groups and labels agree.
        label_counts: For each label column: how many images of each label are in each group.
        duplicates: Pairs that are nearly the same; None where they were too many.
        duplicate_groups: Groups of images that are nearly or exactly the same.
        duplicate_reason: Where the threshold of near-duplicates comes from; empty where none were looked for.
        copies: Images whose file is a copy of another one.
        outliers: The oddest images, with their scores: 0 is usual, 2 two standard deviations beyond.
        drift: How another batch differs from this one; None where none was named.
        issues: How many images are dark, blurred and so on, by the name of the issue.
        selected: Size of the diverse subset.
        files: Everything that was written.
        seconds: Duration of the whole command.
        root: Folder that the names of the images are relative to; None where it is not known or gone.
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
    curve: list[KScore]
    agreement: dict[str, dict[str, float]]
    label_counts: dict[str, LabelCounts]
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
        curve = [asdict(one) | {"score": one.score, "clear": one.clear} for one in self.curve]
        outliers = [{"path": name, "score": score} for name, score in self.outliers]
        paths = {
            "out": str(self.out),
            "features": str(self.features or ""),
            "root": str(self.root) if self.root else None,
            "files": [str(path) for path in self.files],
        }
        counts = {column: found._asdict() for column, found in self.label_counts.items()}
        return (
            asdict(self)
            | paths
            | {"curve": curve, "outliers": outliers, "label_counts": counts, "k": len(self.clusters)}
        )
