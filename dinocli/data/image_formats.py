"""Image formats: the suffixes that a folder is searched for, and the Pillow decoders that may open a file."""

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
ZARR = ".zarr"
"""Suffix of Zarr stores: folders of chunks, which are not read."""

# Pillow also supports formats that start other programs (EPS) or read further files; they stay out.

_PILLOW_FEATURES = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}
_HEIF_PLUGIN, _DICOM_PACKAGE = "pillow_heif", "pydicom"
_NOT_PILLOW = ("HEIF", "NumPy", "DICOM")


@cache
def decoders() -> tuple[str, ...]:
    """Return Pillow's names of the readable formats; register the HEIF plug-in if it is installed."""
    candidates = [name for name in _SUFFIXES if name not in _NOT_PILLOW]
    names = [name for name in candidates if features.check(_PILLOW_FEATURES.get(name, "zlib"))]
    if find_spec(_HEIF_PLUGIN):
        from pillow_heif import register_heif_opener

        register_heif_opener()
        names.append("HEIF")
    return tuple(names)


@cache
def image_suffixes() -> tuple[str, ...]:
    """Return the suffixes of readable image files, in lower case."""
    names = (*decoders(), "NumPy", *(["DICOM"] if find_spec(_DICOM_PACKAGE) else []))
    return tuple(suffix for name in names for suffix in _SUFFIXES[name])


def missing_decoder(suffix: str) -> str:
    """Return what to install to read files of a suffix; empty if it is readable or not an image suffix."""
    if suffix == ZARR:
        return "save Zarr as OME-TIFF, GeoTIFF or .npy"
    name = next((name for name, suffixes in _SUFFIXES.items() if suffix in suffixes), "")
    if not name or suffix in image_suffixes():
        return ""
    extra = {"HEIF": "heic", "DICOM": "dicom"}.get(name)
    return f"pip install 'dinocli[{extra}]'" if extra else f"a Pillow that was built with {name}"
