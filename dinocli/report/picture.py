"""Pictures and links of a page: bytes inside it, or relative links to files; never a remote address."""

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_MIMES = ("image/png", "image/jpeg", "image/webp")


@dataclass(frozen=True)
class Picture:
    """A picture inside a page.

    Args:
        data: Bytes of a PNG, JPEG or WebP file.
        mime: `image/png`, `image/jpeg` or `image/webp`.
    """

    data: bytes
    mime: str

    def __post_init__(self) -> None:
        if self.mime not in _MIMES:
            raise ValueError(f"a page shows {', '.join(_MIMES)}, not {self.mime!r}")


def data_url(picture: Picture) -> str:
    """Return a picture as a data URL."""
    return f"data:{picture.mime};base64,{base64.b64encode(picture.data).decode('ascii')}"


def source(picture: Picture | Path, page: Path) -> str:
    """Return the source of an `<img>`: a data URL for a `Picture`, a relative link for a file."""
    if isinstance(picture, Picture):
        return data_url(picture)
    return link(picture, page)


def is_near(folder: Path, page: Path) -> bool:
    """Return whether a page should link to the files of a folder: both have a common parent other than the root.

    They are then likely to be moved together, so that relative links stay valid.
    """
    try:
        shared = Path(os.path.commonpath([os.path.abspath(folder), os.path.abspath(page.parent)]))
    except ValueError:  # different drives
        return False
    return shared != shared.parent


def link(target: Path, page: Path) -> str:
    """Return the URL of a file relative to a page.

    It begins with `./` or `../`, and reserved bytes are percent-encoded, so that a file named `javascript:alert(1)` or
    `//host/a.png` stays a file. Page and files can move together. Symbolic links are not resolved.

    Args:
        target: File, relative to the working directory or absolute; its name may not be UTF-8.
        page: HTML file that links to it.

    Returns:
        ASCII text.
    """
    relative = os.path.relpath(target, page.parent)
    prefix = "" if relative.startswith("../") else "./"
    return prefix + quote(os.fsencode(relative))
