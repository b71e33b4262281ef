"""Drift test on the page of `cluster`: the verdict, and the images that differ most."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.quality.drift import LEVEL
from dinocli.report.page import section
from dinocli.report.picture import Picture, data_url, is_near, link
from dinocli.report.text import html_text, number
from dinocli.report.thumbnails import Thumbnails

MOST = 24
"""Maximum number of images of the other batch on the page; the table has all."""

_SIDE = 160


@dataclass(frozen=True)
class DriftPart:
    """Result of the drift test, with the most different images of the other batch.

    Args:
        verdict: One sentence.
        names: Image names, most different first.
        scores: Drift score of each.
        pictures: Thumbnail of each; empty without the files.
        root: Folder of the files; None if unknown or missing.
    """

    verdict: str
    names: Sequence[str]
    scores: Sequence[float]
    pictures: Sequence[Picture] = ()
    root: Path | None = None

    def html(self, page: Path) -> str:
        """Return the panel as HTML; files near the page are linked."""
        pictures: Sequence[Picture | None] = self.pictures or [None] * len(self.names)
        figures = map(self._figure, self.names, self.scores, pictures, [page] * len(self.names))
        note = "By the drift score of the features; larger is less like the old batch. The table of --drift has all."
        verdict = f"<p>{html_text(self.verdict[:1].upper() + self.verdict[1:])}.</p>"
        images = f'<div class="drifted">{"".join(figures)}</div>'
        level = f"A p-value below {LEVEL:g} is a difference. Appearance: brightness, colour and sharpness."
        return f"{section('Drift', verdict, level)}\n{section('Most different images of the new batch', images, note)}"

    def _figure(self, name: str, score: float, picture: Picture | None, page: Path) -> str:
        shown = html_text(name)
        image = f'<img alt="" src="{data_url(picture)}">' if picture else ""
        if self.root and is_near(self.root, page):
            image = f'<a href="{link(self.root / name, page)}" target="_blank" rel="noopener noreferrer">{image}</a>'
        return f'<figure title="{shown}">{image}<figcaption>{number(score)} · {shown}</figcaption></figure>'


def drift_part(verdict: str, batch: FeatureFile, score_M: NDArray[np.float64]) -> DriftPart:
    """Collect what the page shows of a drift test.

    Args:
        verdict: One sentence.
        batch: The other batch.
        score_M: Drift score of each of its images.
    """
    rows = np.argsort(-score_M, kind="stable")[:MOST].tolist()
    pictures = list(Thumbnails(batch, _SIDE).encoded(rows)) if batch.root else []
    return DriftPart(verdict, [batch.names[row] for row in rows], score_M[rows].tolist(), pictures, batch.root)
