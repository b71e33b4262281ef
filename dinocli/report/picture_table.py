"""A table of small pictures with frames: what is right and what is wrong is seen before it is read.

Right and wrong differ by colour, by the line of the frame and by a sign with a word for a screen reader.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dinocli.report.page import note_html, scrollable
from dinocli.report.picture import Picture, data_url
from dinocli.report.text import cell_text, html_text, middle_ellipsis, visible

Frame = Literal["", "right", "wrong"]

_SIGN = {"right": "✓ ", "wrong": "✗ "}
_CAPTION = 18


@dataclass(frozen=True)
class FramedPicture:
    """One picture of a table.

    Args:
        picture: Small.
        name: Of its file: the tooltip, and what a screen reader says.
        caption: Below it, such as its label.
        frame: Whether it is right; empty where nothing says so.
    """

    picture: Picture
    name: str
    caption: str = ""
    frame: Frame = ""


@dataclass(frozen=True)
class PictureRow:
    """One line of a table.

    Args:
        heading: Cells in front, as text.
        pictures: In their order.
        subject: What the line is about, in front of all; the next lines may be about it too.
    """

    heading: Sequence[str]
    pictures: Sequence[FramedPicture]
    subject: FramedPicture | None = None


@dataclass(frozen=True)
class PictureTable:
    """Pictures in rows, such as the nearest neighbours of some images.

    Args:
        title: Heading above it.
        header: One name for each heading cell of a row, then one for all pictures. With subjects, one for them first.
        rows: A row without a subject is about that of the row above.
        note: A sentence below it, or empty.
        lead: A sentence above it, or empty.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[PictureRow]
    note: str = ""
    lead: str = ""

    def html(self) -> str:
        """Write the section; nothing without a row."""
        if not self.rows:
            return ""
        widest = max(len(row.pictures) for row in self.rows)
        spans = ["" for _ in self.header[:-1]] + [f' colspan="{widest}"']
        head = "".join(
            f'<th scope="col"{span}>{html_text(name)}</th>' for name, span in zip(self.header, spans, strict=True)
        )
        body = "\n".join(self._row(place) for place in range(len(self.rows)))
        table = f'<table class="pictures">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'
        lead = f'<p class="lead">{html_text(self.lead)}</p>\n' if self.lead else ""
        shown = scrollable(table, self.title)
        return f"<section>\n<h2>{html_text(self.title)}</h2>\n{lead}{shown}{note_html(self.note)}\n</section>"

    def _row(self, place: int) -> str:
        row, first = self.rows[place], ""
        if row.subject:
            following = [other.subject is None for other in self.rows[place + 1 :]]
            lines = 1 + (following.index(False) if False in following else len(following))
            first = f'<th scope="rowgroup" rowspan="{lines}">{_figure(row.subject)}</th>'
        heading = "".join(f'<th scope="row">{cell_text(text)}</th>' for text in row.heading)
        cells = "".join(f"<td>{_figure(picture)}</td>" for picture in row.pictures)
        style = ' class="subject"' if row.subject else ""
        return f"<tr{style}>{first}{heading}{cells}</tr>"


def _figure(shown: FramedPicture) -> str:
    name, sign = html_text(shown.name), _SIGN.get(shown.frame, "")
    caption = html_text(middle_ellipsis(visible(shown.caption), _CAPTION))
    spoken = f"{name}, {shown.frame}" if shown.frame else name
    image = f'<img alt="{spoken}" title="{name}" src="{data_url(shown.picture)}">'
    below = f'<figcaption><span aria-hidden="true">{sign}</span>{caption}</figcaption>' if caption or sign else ""
    return f'<figure class="small {shown.frame}">{image}{below}</figure>'
