"""Names that a file gives its channels: OME-XML of microscopes, band descriptions of GDAL."""

from xml.etree import ElementTree

_MOST = 2**24  # characters of XML that are looked at


def ome_names(description: str) -> tuple[tuple[str, ...], int]:
    """Read the channels of the first image of an OME-TIFF.

    Args:
        description: Text of the first page.

    Returns:
        The names, and how many pages lie between one channel and the next: planes are counted in the file's own order
        of z, c and t. No names and 1 where it is no OME-XML.
    """
    root = _parsed(description)
    pixels = root.find(".//{*}Pixels") if root is not None else None
    if pixels is None:
        return (), 1
    names = tuple(channel.get("Name", "") for channel in pixels.iter() if channel.tag.endswith("}Channel"))
    stride = 1
    for axis in pixels.get("DimensionOrder", "XYCZT")[2:].partition("C")[0]:
        size = pixels.get(f"Size{axis}", "1")
        stride *= int(size) if size.isdigit() else 1
    return names, stride


def gdal_names(metadata: str) -> tuple[str, ...]:
    """Read the descriptions of bands from a GDAL_METADATA tag; a band without one has an empty name."""
    root = _parsed(metadata)
    found: dict[int, str] = {}
    for item in root.iter("Item") if root is not None else ():
        sample = item.get("sample", "")
        if item.get("role") == "description" and sample.isdigit() and len(sample) < 6:
            found[int(sample)] = item.text or ""
    return tuple(found.get(band, "") for band in range(max(found, default=-1) + 1))


def _parsed(text: str) -> ElementTree.Element | None:
    if "<" not in text or len(text) > _MOST:
        return None
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
