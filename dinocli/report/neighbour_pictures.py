"""The nearest neighbours of the same images by the start and by the adapted weights, framed by labels where known.

Shapes: N images, D width, n images that are shown.
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

NOTE = "The images are spread evenly over the folder; they were not selected."
FRAMES = (
    "A solid frame with ✓ is a neighbour with the label of the image, a dashed frame with ✗ one with another label; "
    "the label stands below."
)


def neighbour_table(sides: Sides, holdout_probe: Probe, labels: dict[str, list[str]]) -> PictureTable:
    """Put the neighbours by both networks below each other.

    Args:
        sides: Of at least two images.
        holdout_probe: Knows the images.
        labels: The first column frames the neighbours; the values are in the order of the loader's images.
    """
    values = next(iter(labels.values()), [])
    label_N = [values[row] if values else "" for row in sides.rows]
    places = shown_places(sides)
    wanted = min(NEIGHBOURS, len(sides.rows) - 1)
    everyone = range(len(sides.rows))
    found = [nearest_places(side, everyone, wanted) for side in (sides.start_ND, sides.adapted_ND)]
    shown = sorted({place for order in found for one in places for place in order[one]} | set(places))
    made = squares(holdout_probe, [sides.rows[place] for place in shown])
    drawn = dict(zip(shown, map(webp, made), strict=True))
    names = holdout_probe.loader.store.names

    def framed(place: int, beside: str = "") -> FramedPicture:
        label = label_N[place]
        frame = "" if not (beside and label) else "right" if label == beside else "wrong"
        return FramedPicture(drawn[place], names[sides.rows[place]], label, frame)  # type: ignore[arg-type]

    rows = [
        PictureRow([name], [framed(other, label_N[place]) for other in order[place]], None if line else framed(place))
        for place in places
        for line, (name, order) in enumerate(zip(NAMES, found, strict=True))
    ]
    title = "Nearest neighbours of the same images, by start and by adapted weights"
    note = f"{NOTE} {FRAMES}" if values else NOTE
    return PictureTable(title, ("image", "by", "nearest neighbours"), rows, note, _lead(found, label_N, wanted))


def nearest_places(features_ND: NDArray[np.float32], places: Sequence[int], wanted: int) -> list[list[int]]:
    """Return for some images the places of their nearest others, most similar first."""
    own_n = np.array(places)
    order: list[list[int]] = nearest_rows(features_ND[own_n], features_ND, wanted, leave_out=own_n).rows_QK.tolist()
    return order


def _lead(found: Sequence[list[list[int]]], label_N: list[str], wanted: int) -> str:
    """Say how many neighbours of all images have the label of the image; nothing without labels."""
    known = [place for place, label in enumerate(label_N) if label]
    if len({label_N[place] for place in known}) < 2:
        return ""
    start, adapted = (
        float(np.mean([label_N[other] == label_N[place] for place in known for other in order[place]]))
        for order in found
    )
    return (
        f"Of the {wanted} nearest neighbours of {len(known):,} labelled images, {start:.1%} have the label of the "
        f"image by the start and {adapted:.1%} by the adapted weights."
    )
