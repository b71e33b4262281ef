"""Image formats: the endings that a folder is searched for, and the Pillow decoders that may open a file."""

from functools import cache
from importlib.util import find_spec

from PIL import features

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "PPM": (".pgm", ".ppm", ".pnm", ".pbm"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
    "NumPy": (".npy", ".npz"),
    "DICOM": (".dcm", ".dicom"),
}
# A closed list: Pillow also knows formats that start other programs (EPS) or read further files.

_NEEDS = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}
_HEIF_PLUGIN, _DICOM_PACKAGE = "pillow_heif", "pydicom"
_NOT_PILLOW = ("HEIF", "NumPy", "DICOM")


@cache
def decoders() -> tuple[str, ...]:
    """Return Pillow's names of the formats that can be read here; register the HEIF plug-in where it is installed."""
    found = [name for name in _SUFFIXES if name not in _NOT_PILLOW and features.check(_NEEDS.get(name, "zlib"))]
    if find_spec(_HEIF_PLUGIN):
        from pillow_heif import register_heif_opener

        register_heif_opener()
        found.append("HEIF")
    return tuple(found)


@cache
def image_suffixes() -> tuple[str, ...]:
    """Return the endings, in lower case, of files that a folder is searched for."""
    names = (*decoders(), "NumPy", *(["DICOM"] if find_spec(_DICOM_PACKAGE) else []))
    return tuple(suffix for name in names for suffix in _SUFFIXES[name])


def missing_decoder(suffix: str) -> str:
    """Say what would make files of an ending readable; empty for endings that are no image format."""
    name = next((name for name, suffixes in _SUFFIXES.items() if suffix in suffixes), "")
    if not name or suffix in image_suffixes():
        return ""
    extra = {"HEIF": "heic", "DICOM": "dicom"}.get(name)
    return f"pip install 'dinocli[{extra}]'" if extra else f"a Pillow that was built with {name}"
