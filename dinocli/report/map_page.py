"""Interactive map of all images, with groups, outliers and duplicates.

The page's data is stored as columns, which takes a third of the size of one object per image.
"""

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dinocli.files import write_atomic
from dinocli.quality.duplicates import DuplicateGroup
from dinocli.quality.image_issues import ImageIssue
from dinocli.report.app import app_page, template
from dinocli.report.chart import Curve
from dinocli.report.crosstab import crosstab
from dinocli.report.drift_part import DriftPart
from dinocli.report.issue_data import issue_data
from dinocli.report.page import Cell
from dinocli.report.page_parts import Charts, FactList, NoteList
from dinocli.report.picture import Picture, is_near, link, source
from dinocli.report.text import html_text, number, visible

_STYLES = ("page.css", "web/app.css", "web/map_page.css")
_SCRIPTS = tuple(
    f"web/{name}.js"
    for name in (
        *("dom", "rows", "choices", "viewer"),
        *("geometry", "stamps", "plot_labels", "plot", "plot_input"),
        *("selection", "map_gallery", "duplicates", "issues", "map_viewer", "map_page"),
    )
)

_RESOLUTION = 100_000
"""Coordinates are integers up to this, finer than a screen at the largest zoom."""


@dataclass(frozen=True)
class MapImage:
    """An image on the map.

    Args:
        name: Relative path, displayed and searched.
        x: Horizontal coordinate in any unit; the page keeps the aspect ratio of x and y.
        y: Vertical coordinate, upwards.
        cluster: Index into `MapPage.clusters`; -1 for no group.
        distance: Distance to the centre of its group; NaN for no group.
        margin: Distance to the next group's centre minus `distance`, small at a border; NaN for no group.
        outlier: Outlier score, larger is odder; NaN for none.
        thumbnail: Thumbnail, inside the page or as a file.
        original: The image file, relative to the working directory or absolute.
        medoid: The image is the medoid of its group.
        label: Label; empty for none.
        neighbours: Most similar images, nearest first: index into `MapPage.images`, and cosine.
    """

    name: str
    x: float
    y: float
    cluster: int
    distance: float
    margin: float
    outlier: float
    thumbnail: Picture | Path
    original: Path
    medoid: bool = False
    label: str = ""
    neighbours: Sequence[tuple[int, float]] = ()


@dataclass(frozen=True)
class MapPage:
    """Content of a map page; empty parts are left out.

    Args:
        title: Title of the page and of the browser tab.
        images: The images; duplicates, issues and neighbours index this list.
        clusters: Names of the groups, largest first; the index selects the colour.
        clear: Whether the data has clear groups, shown beside their number if False; None: unknown.
        root: Folder that names are relative to; None if unknown: then no file is linked or listed by path.
        method: Method and parameters of the projection.
        duplicates: Groups of duplicates, largest first.
        copies: Number of files that are byte-identical copies of another one.
        near: Number of pairs of near-copies; None if there are too many.
        issues: Dark, bright, blank, blurred and odd images.
        drift: Result of the drift test; None without one.
        curves: Charts, such as the score of each k.
        agreement: (name, value) pairs of the agreement between groups and labels; the contingency table is counted from
            the images.
        facts: (name, value) pairs about method and settings.
        notes: Explanatory sentences.
    """

    title: str
    images: Sequence[MapImage]
    clusters: Sequence[str]
    clear: bool | None = None
    root: Path | None = None
    method: str = ""
    duplicates: Sequence[DuplicateGroup] = ()
    copies: int = 0
    near: int | None = 0
    issues: Sequence[ImageIssue] = ()
    drift: DriftPart | None = None
    curves: Sequence[Curve] = ()
    agreement: Sequence[tuple[str, Cell]] = ()
    facts: Sequence[tuple[str, Cell]] = ()
    notes: Sequence[str] = ()


def write_map_page(path: Path, page: MapPage) -> None:
    """Write the map as an HTML file; only pictures that are given as files stay outside.

    Equal pages give equal bytes.

    Args:
        path: Output file, replaced atomically; links to originals and thumbnails are relative to its folder.
        page: Content with unescaped text.

    Raises:
        ValueError: An index of a cluster, duplicate or neighbour is out of range, or a coordinate is not finite.
        OSError: The file cannot be written.
    """
    _check(page)
    write_atomic(path, app_page(page.title, _body(page, path), _data(page, path), styles=_STYLES, scripts=_SCRIPTS))


def _check(page: MapPage) -> None:
    if any(not -1 <= image.cluster < len(page.clusters) for image in page.images):
        raise ValueError(f"an image is in none of the {len(page.clusters)} groups")
    if not all(math.isfinite(image.x) and math.isfinite(image.y) for image in page.images):
        raise ValueError("an image has no place on the map")
    if any(not 0 <= place < len(page.images) for group in page.duplicates for place in group.rows):
        raise ValueError(f"a duplicate is beyond the {len(page.images)} images")
    if any(not 0 <= place < len(page.images) for image in page.images for place, _ in image.neighbours):
        raise ValueError(f"a neighbour is beyond the {len(page.images)} images")


def _data(page: MapPage, path: Path) -> dict[str, object]:
    """Return the data of the scripts: one column per property of the images, and the duplicates."""
    images = page.images
    labels = sorted({image.label for image in images} - {""})
    place = {label: index for index, label in enumerate(labels)} | {"": -1}
    across, up = _places(images)
    return {
        "clusters": [visible(name) for name in page.clusters],
        "labels": [visible(label) for label in labels],
        "name": [visible(image.name) for image in images],
        "raw": {index: image.name for index, image in enumerate(images) if visible(image.name) != image.name},
        "root": os.path.abspath(page.root) if page.root else "",
        "near": page.root is not None and is_near(page.root, path),
        "x": across,
        "y": up,
        "cluster": [image.cluster for image in images],
        "label": [place[image.label] for image in images],
        "distance": _short(image.distance for image in images),
        "margin": _short(image.margin for image in images),
        "outlier": _short(image.outlier for image in images),
        "medoids": [index for index, image in enumerate(images) if image.medoid],
        "thumbnail": _addresses([source(image.thumbnail, path) for image in images]),
        "original": _addresses([link(image.original, path) for image in images]),
        "neighbours": [[place for place, _ in image.neighbours] for image in images],
        "cosines": [_short(cosine for _, cosine in image.neighbours) for image in images],
        "duplicates": [
            {"images": group.rows, "identical": group.identical, "cosines": _short(group.cosines)}
            for group in page.duplicates
        ],
        "issues": issue_data(page.issues),
    }


def _places(images: Sequence[MapImage]) -> tuple[list[int], list[int]]:
    """Return integer coordinates with the aspect ratio kept, from the left and from the bottom."""
    if not images:
        return [], []
    left, bottom = min(image.x for image in images), min(image.y for image in images)
    span = max(max(image.x - left, image.y - bottom) for image in images)
    scale = _RESOLUTION / span if span > 0 else 0
    return [round((image.x - left) * scale) for image in images], [
        round((image.y - bottom) * scale) for image in images
    ]


def _short(values: Iterable[float]) -> list[float | None]:
    """Round to four digits, as displayed; NaN becomes None, since JSON has no NaN."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values]


def _addresses(addresses: Sequence[str]) -> dict[str, object]:
    """Split off the common prefix of all addresses."""
    shared = os.path.commonprefix(addresses)  # noqa: RUF071 - by characters on purpose
    return {"prefix": shared, "rest": [address[len(shared) :] for address in addresses]}


def _body(page: MapPage, path: Path) -> str:
    agreement = FactList(page.agreement, "Agreement with the labels").html()
    numbers = [
        Charts(page.curves).html(),
        agreement,
        crosstab([(image.cluster, image.label) for image in page.images], page.clusters),
        FactList(page.facts).html(),
        NoteList(page.notes).html(),
    ]
    return template(
        "web/map_page.html",
        title=html_text(page.title),
        summary=_summary(page),
        method=html_text(page.method),
        numbers="\n".join(filter(None, numbers)),
        drift=page.drift.html(path) if page.drift else "",
        viewer=template("web/viewer.html", tools=""),
    )


def _summary(page: MapPage) -> str:
    groups = _counted(len(page.clusters), "group")
    parts = [_counted(len(page.images), "image"), f"{groups}, not clear" if page.clear is False else groups]
    alone = sum(image.cluster < 0 for image in page.images)
    parts += [f"{number(alone)} in no group"] if alone else []
    parts += [_counted(page.copies, "exact copy", "exact copies")] if page.copies else []
    parts += ["too many near-copies to list"] if page.near is None else []
    parts += [_counted(page.near, "pair of near-copies", "pairs of near-copies")] if page.near else []
    return html_text(" · ".join(parts))


def _counted(size: int, one: str, many: str = "") -> str:
    return f"{number(size)} {one if size == 1 else many or f'{one}s'}"
