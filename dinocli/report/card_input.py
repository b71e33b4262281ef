"""What model cards say about the input of a graph, in Markdown."""

from dinocli.artifacts.export_source import Source
from dinocli.data.region_of_interest import is_box, region_box
from dinocli.report.card_snippets import channel_words, has_colours
from dinocli.report.text import visible

NOT_IN_GRAPH = (
    "- Not in the graph: EXIF orientation, palettes, transparency and nodata. The program that reads the file has to "
    "handle them."
)


def pixels_line(source: Source) -> str:
    """Return a line on an input of source values."""
    preprocess = source.preprocess
    values = "float32 with the values of the file" if preprocess.deep else "uint8"
    colours = "red first, any height and width; a grey image three times"
    if not has_colours(preprocess):
        colours = "any height and width"
    return f"- `images`: {values}, (B, H, W, {3 if preprocess.grey else preprocess.in_chans}), {colours}."


def channel_lines(source: Source) -> list[str]:
    """Return a line on the channels of images without colours."""
    preprocess = source.preprocess
    return [] if has_colours(preprocess) else [f"- Channels: {channel_words(preprocess)} of each file, in this order."]


def region_lines(source: Source) -> list[str]:
    """Return a line on the region of interest, if there is one."""
    box = region_box(source.preprocess.roi)
    if box is None:
        return []
    crop = f"- Crop each image first: {box[2]} x {box[3]} px at left {box[0]}, top {box[1]}."
    mask = " Then fill the pixels outside the mask of the training (`roi`, a PNG) with the mean colour of those inside."
    return [crop + ("" if is_box(source.preprocess.roi) else mask)]


def range_words(source: Source) -> str:
    """Return the range of source values."""
    preprocess = source.preprocess
    if preprocess.range_policy == "full":
        return "the full range of the file's type"
    if preprocess.channel_ranges:
        each = ", ".join(f"{low:g} to {high:g}" for low, high in preprocess.channel_ranges)
        return f"of each channel {each} ({preprocess.range_policy})"
    return f"{preprocess.range_low:g} to {preprocess.range_high:g} ({preprocess.range_policy})"


def repeated_words(source: Source) -> str:
    """Return what happens to the one channel of grey images."""
    preprocess = source.preprocess
    if not preprocess.grey:
        return ""
    return ", one channel repeated to three" if preprocess.in_chans == len("RGB") else ", one channel"


def plain(text: str) -> str:
    """Escape a name so that it is not parsed as a Markdown table, link or HTML."""
    return "".join(f"\\{c}" if c in "|`<>[]*_#\\" else c for c in visible(text)) if not text.isidentifier() else text
