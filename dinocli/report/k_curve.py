"""Chart of the scores of each number of groups."""

from collections.abc import Sequence

from dinocli.quality.auto_k import KScore
from dinocli.report.chart import Curve


def k_curves(curve: Sequence[KScore], k: int) -> list[Curve]:
    """Return the chart of `-k auto` with the chosen number marked; empty without scores."""
    if not curve:
        return []
    series = {
        "score": [point.score for point in curve],
        "stability": [point.stability for point in curve],
        "silhouette": [point.silhouette for point in curve],
        "silhouette of structureless points": [point.cloud_silhouette for point in curve],
    }
    return [Curve("How many groups?", "k", "", [point.k for point in curve], series, mark=k)]
