"""Find JPEG files whose copy was interrupted: the rest of a preallocated file is zero bytes.

libjpeg decodes zero bytes as grey, and so does PIL without a word. A file that is only cut short is an error of PIL.
"""

import os
import re
from typing import IO

_MIN_ZEROS = 64  # zero bytes at the end of a file that need an end of image before them
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # neither a stuffed 0xFF nor a restart
_END_OF_IMAGE = 0xD9
_WITHOUT_LENGTH = (0x01, 0xD8)  # TEM, start of image


def is_zero_filled(file: IO[bytes]) -> bool:
    """Return whether a JPEG file ends in zero bytes, and its image does not end before them.

    Only the end of the file is read, unless it is zero. Padding and other data behind the image do not count, nor do
    images within its metadata.
    """
    if file.seek(0, os.SEEK_END) < _MIN_ZEROS:
        return False
    file.seek(-_MIN_ZEROS, os.SEEK_END)
    if any(file.read(_MIN_ZEROS)):
        return False
    file.seek(0)
    return not _has_end(file.read())


def _has_end(content: bytes) -> bool:
    """Return whether the first image of a JPEG file has an end-of-image marker."""
    place = 0
    while marker := _MARKER.search(content, place):  # the next segment, or the first one behind the data of a scan
        code, place = marker[1][0], marker.end()
        if code == _END_OF_IMAGE:
            return True
        if code not in _WITHOUT_LENGTH:
            place += int.from_bytes(content[place : place + 2])
    return False
