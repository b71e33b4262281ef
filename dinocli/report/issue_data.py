"""Image issues on the page of `cluster`: images by kind of issue."""

from collections.abc import Sequence

from dinocli.quality.image_issues import ImageIssue

MEASURES = {
    "unreadable": "",
    "blank": "contrast",
    "dark": "brightness",
    "bright": "brightness",
    "blurred": "log sharpness",
    "low_entropy": "entropy in bits",
    "odd_aspect": "width / height",
    "odd_size": "pixels",
}
"""Kind of issue -> statistic, in the order of the page."""


def issue_data(issues: Sequence[ImageIssue]) -> list[dict[str, object]]:
    """Return the data of the scripts: title, statistic, images and values of each kind of issue.

    Args:
        issues: Rows are indices of the page's images. Values of one kind have one usual value.
    """
    found = ((kind, [issue for issue in issues if issue.kind == kind]) for kind in MEASURES)
    return [
        {
            "title": kind.replace("_", " ").capitalize(),
            "measure": MEASURES[kind],
            "usual": _short(some[0].usual) if MEASURES[kind] else None,
            "images": [issue.row for issue in some],
            "values": [_short(issue.value) if MEASURES[kind] else None for issue in some],
        }
        for kind, some in found
        if some
    ]


def _short(value: float) -> float:
    return float(f"{value:.4g}")
