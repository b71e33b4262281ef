"""Channel names stored in image files: OME-XML (microscopy) and GDAL band descriptions."""

from xml.etree import ElementTree

_MAX_XML_CHARACTERS = 2**24  # longer XML is ignored


def ome_names(description: str) -> tuple[tuple[str, ...], int]:
    """Read the channel names of the first image of an OME-TIFF.

    Args:
        description: Image description of the first page.

    Returns:
        Channel names, and the number of pages from one channel to the next, by the DimensionOrder of the file. Without
        OME-XML, no names and 1.
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
    """Read the band descriptions of a GDAL_METADATA tag; a band without a description has an empty name."""
    root = _parsed(metadata)
    descriptions: dict[int, str] = {}
    for item in root.iter("Item") if root is not None else ():
        sample = item.get("sample", "")
        if item.get("role") == "description" and sample.isdigit() and len(sample) < 6:
            descriptions[int(sample)] = item.text or ""
    return tuple(descriptions.get(band, "") for band in range(max(descriptions, default=-1) + 1))


def _parsed(text: str) -> ElementTree.Element | None:
    if "<" not in text or len(text) > _MAX_XML_CHARACTERS:
        return None
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
