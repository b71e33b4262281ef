"""Table of small pictures with frames for right and wrong.

Right and wrong differ by colour, by line style and by a sign, with a word for screen readers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dinocli.report.page import scrollable, section
from dinocli.report.picture import Picture, data_url
from dinocli.report.text import cell_text, html_text, middle_ellipsis, sentence_html, visible

Frame = Literal["", "right", "wrong"]

_SIGN = {"right": "✓ ", "wrong": "✗ "}
_MAX_CAPTION_LENGTH = 18


@dataclass(frozen=True)
class FramedPicture:
    """A picture of a table.

    Args:
        picture: Thumbnail.
        name: File name, as tooltip and for screen readers.
        caption: Text below the picture, such as its label.
        frame: Right or wrong; empty if unknown.
    """

    picture: Picture
    name: str
    caption: str = ""
    frame: Frame = ""


@dataclass(frozen=True)
class PictureRow:
    """A row of a table.

    Args:
        heading: Text cells before the pictures.
        pictures: The pictures, in order.
        subject: Picture that the row is about, in the first column; None: that of the row above, if there is one.
    """

    heading: Sequence[str]
    pictures: Sequence[FramedPicture]
    subject: FramedPicture | None = None


@dataclass(frozen=True)
class PictureTable:
    """Rows of pictures, such as nearest neighbours of images.

    Args:
        title: Heading of the section.
        header: Name of the subject column, if there is one, of each heading cell, and of the pictures.
        rows: The rows; without any there is no section.
        note: Sentence below the table; empty for none.
        lead: Sentence above the table; empty for none.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[PictureRow]
    note: str = ""
    lead: str = ""

    def html(self) -> str:
        """Return the section as HTML; empty without rows."""
        if not self.rows:
            return ""
        columns = max(len(row.pictures) for row in self.rows)
        spans = ["" for _ in self.header[:-1]] + [f' colspan="{columns}"']
        head = "".join(
            f'<th scope="col"{span}>{html_text(name)}</th>' for name, span in zip(self.header, spans, strict=True)
        )
        body = "\n".join(self._row(place) for place in range(len(self.rows)))
        table = f'<table class="pictures">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'
        lead = f'<p class="lead">{sentence_html(self.lead)}</p>\n' if self.lead else ""
        return section(self.title, lead + scrollable(table, self.title), self.note)

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
    caption = html_text(middle_ellipsis(visible(shown.caption), _MAX_CAPTION_LENGTH))
    alt = f"{name}, {shown.frame}" if shown.frame else name
    image = f'<img alt="{alt}" title="{name}" src="{data_url(shown.picture)}">'
    below = f'<figcaption><span aria-hidden="true">{sign}</span>{caption}</figcaption>' if caption or sign else ""
    return f'<figure class="small {shown.frame}">{image}{below}</figure>'
