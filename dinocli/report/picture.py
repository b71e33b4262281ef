"""Pictures and links of a page: bytes inside it, or files beside it, and never an address from elsewhere."""

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_MIMES = ("image/png", "image/jpeg", "image/webp")


@dataclass(frozen=True)
class Picture:
    """A picture that a page carries inside.

    Args:
        data: The bytes of a PNG, JPEG or WebP file.
        mime: `image/png`, `image/jpeg` or `image/webp`.
    """

    data: bytes
    mime: str

    def __post_init__(self) -> None:
        if self.mime not in _MIMES:
            raise ValueError(f"a page shows {', '.join(_MIMES)}, not {self.mime!r}")


def data_url(picture: Picture) -> str:
    """Return what an `<img>` of any page has as its source for a picture inside the page."""
    return f"data:{picture.mime};base64,{base64.b64encode(picture.data).decode('ascii')}"


def source(picture: Picture | Path, page: Path) -> str:
    """Return what an `<img>` of the page has as its source: data for bytes, a relative link for a file."""
    if isinstance(picture, Picture):
        return data_url(picture)
    return link(picture, page)


def is_near(folder: Path, page: Path) -> bool:
    """Return whether a page may link to the files of a folder: both lie below one folder that is not the root.

    Then they are likely to be moved together, and a relative link stays right.
    """
    try:
        shared = Path(os.path.commonpath([os.path.abspath(folder), os.path.abspath(page.parent)]))
    except ValueError:  # two drives
        return False
    return shared != shared.parent


def link(target: Path, page: Path) -> str:
    """Return the relative address of a file, as seen from a page.

    It begins with `./` or `../` and every byte that means something in an address is spelt out, so that a file called
    `javascript:alert(1)` or `//host/a.png` stays a file. Page and files may move together. Symbolic links are left
    alone.

    Args:
        target: Of any name, also one that is not UTF-8; relative to the working directory, or absolute.
        page: The HTML file that links to it.

    Returns:
        ASCII text.
    """
    way = os.path.relpath(target, page.parent)
    prefix = "" if way.startswith("../") else "./"
    return prefix + quote(os.fsencode(way))
