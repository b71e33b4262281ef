"""Nearest neighbours of the same images by start and adapted weights, with frames for right and wrong labels.

Shapes: N images, D width, n displayed images.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dinocli.engine.probe import Probe
from dinocli.quality.nearest_rows import nearest_rows
from dinocli.report.adapted_comparison import Sides, shown_places, squares
from dinocli.report.picture_table import FramedPicture, PictureRow, PictureTable
from dinocli.report.thumbnails import webp

NEIGHBOURS = 5
NAMES = ("start", "adapted")

NOTE = "The images are evenly spaced in the folder, not selected by their results."
FRAME_NOTE = (
    "Solid frame with ✓: the neighbour has the label of the image. Dashed frame with ✗: another label. Labels "
    "are below the pictures."
)


def neighbour_table(sides: Sides, holdout_probe: Probe, labels: dict[str, list[str]]) -> PictureTable:
    """Return a table with the neighbours by both networks below each other.

    Args:
        sides: Features of at least two images.
        holdout_probe: Probe that holds the images.
        labels: Label columns; the first one sets the frames. Values are in the order of the loader's images.
    """
    values = next(iter(labels.values()), [])
    label_N = [values[row] if values else "" for row in sides.rows]
    places = shown_places(sides)
    wanted = min(NEIGHBOURS, len(sides.rows) - 1)
    everyone = range(len(sides.rows))
    neighbours = [nearest_places(side, everyone, wanted) for side in (sides.start_ND, sides.adapted_ND)]
    shown = sorted({place for order in neighbours for one in places for place in order[one]} | set(places))
    pictures = squares(holdout_probe, [sides.rows[place] for place in shown])
    drawn = dict(zip(shown, map(webp, pictures), strict=True))
    names = holdout_probe.loader.store.names

    def framed(place: int, beside: str = "") -> FramedPicture:
        label = label_N[place]
        frame = "" if not (beside and label) else "right" if label == beside else "wrong"
        return FramedPicture(drawn[place], names[sides.rows[place]], label, frame)  # type: ignore[arg-type]

    rows = [
        PictureRow([name], [framed(other, label_N[place]) for other in order[place]], None if line else framed(place))
        for place in places
        for line, (name, order) in enumerate(zip(NAMES, neighbours, strict=True))
    ]
    title = "Nearest neighbours of the same images, by start and by adapted weights"
    note = f"{NOTE} {FRAME_NOTE}" if values else NOTE
    return PictureTable(title, ("image", "by", "nearest neighbours"), rows, note, _lead(neighbours, label_N, wanted))


def nearest_places(features_ND: NDArray[np.float32], places: Sequence[int], wanted: int) -> list[list[int]]:
    """Return the indices of the nearest neighbours of some images, most similar first."""
    query_n = np.array(places)
    order: list[list[int]] = nearest_rows(features_ND[query_n], features_ND, wanted, leave_out=query_n).rows_QK.tolist()
    return order


def _lead(neighbours: Sequence[list[list[int]]], label_N: list[str], wanted: int) -> str:
    """Return a sentence with the share of neighbours that have the label of their image; empty without labels."""
    known = [place for place, label in enumerate(label_N) if label]
    if len({label_N[place] for place in known}) < 2:
        return ""
    start, adapted = (
        float(np.mean([label_N[other] == label_N[place] for place in known for other in order[place]]))
        for order in neighbours
    )
    return (
        f"Of the {wanted} nearest neighbours of {len(known):,} labelled images, {100 * start:.1f} % have the label of "
        f"the image by the start weights, {100 * adapted:.1f} % by the adapted weights."
    )
