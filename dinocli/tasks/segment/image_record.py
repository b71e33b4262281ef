"""What is known of one segmented image, as plain data: one line of the log that a resumed run goes on from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dinocli.tasks.segment.regions import Box, Region


@dataclass(frozen=True)
class RegionRecord:
    """One region, without its pixels.

    Args:
        label: Its value in the label map.
        area: Pixels.
        box: Left, top, width, height.
        score: Mean of the soft map over it, 0 to 1.
        counts: COCO's run lengths; empty where nobody asked.
        outlines: Its polygons, each as x, y, x, y ...; likewise.
    """

    label: int
    area: int
    box: Box
    score: float
    counts: Sequence[int] = ()
    outlines: Sequence[Sequence[int]] = ()


@dataclass(frozen=True)
class ImageRecord:
    """One image.

    Args:
        image: Its name, `./a/b.png`.
        mask: Its label map, relative to the output folder.
        height: Pixels of the upright image.
        width: Likewise.
        score: How sure the method is that there is something, 0 to 1.
        nothing: Why there is nothing here; empty where there is something.
        facts: Numbers of the method, and overlaps with a truth.
        found: Regions; empty where there is nothing.
    """

    image: str
    mask: str
    height: int
    width: int
    score: float
    nothing: str
    facts: Mapping[str, float]
    found: Sequence[RegionRecord]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data that `from_dict` takes back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ImageRecord":
        """Build the record from `to_dict` data, also after it went through JSON."""
        found = [RegionRecord(**{**one, "box": tuple(one["box"])}) for one in data["found"]]
        return cls(**{**data, "found": found})


def found_of(region: Region, shape: tuple[int, int], *, counts: bool, outlines: bool) -> RegionRecord:
    """Describe a region of an image of that (height, width)."""
    return RegionRecord(
        label=region.label,
        area=region.area,
        box=region.box,
        score=round(region.score, 6),
        counts=region.counts(shape) if counts else (),
        outlines=[corners.reshape(-1).tolist() for corners in region.outlines()] if outlines else (),
    )
