"""Notes on assumptions about a dataset (nodata, alpha, pages, range), each with the option that changes it."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dinocli.config.preprocess import Preprocess
from dinocli.data.image_sample import ImageSample
from dinocli.data.pixels import full_range
from dinocli.data.ranges import MEASURED, PER_IMAGE, depth_kind
from dinocli.data.spread import spread

# An extreme value is suspected to be nodata if all three hold:
_MIN_NODATA_FRACTION = 0.001  # of all pixels have it; fewer are hot or dead pixels
_MIN_GAP = 0.25  # distance to the 1st or 99th percentile of the other pixels, as a fraction of that percentile range
_MAX_GAP_PIXELS = 0.1  # pixels in the half of the gap next to the value, per pixel with it; saturation has more

_MAX_VALUES = 2**20  # pixel values searched for nodata, over all samples
_LOW_CONTRAST_FULL, _LOW_CONTRAST_MEASURED = 1 / 16, 1 / 100  # fraction of the full, or measured, range
_MIN_DARK_FRACTION = 0.1  # of the images of a dtype: a few dark images are normal
_MAX_MASK_VALUES = 8  # different values of a mask; its colours have few levels too
_MAX_CLIPPED_FRACTION = 0.02  # of the pixels that a stored range may clip without a warning


def ignores_alpha(samples: Sequence[ImageSample]) -> bool:
    """Return whether the alpha channel holds data in most files: GIS tools label near infrared so."""
    kinds = [image.alpha for image in samples if image.alpha not in ("none", "opaque")]
    return kinds.count("data") > len(kinds) / 2


def alpha_notes(samples: Sequence[ImageSample], *, ignored: bool) -> list[str]:
    """Note that alpha is composited over white, or ignored."""
    transparent = [image for image in samples if image.alpha not in ("none", "opaque")]
    if not transparent:
        return []
    grey = transparent[0].grey
    count, colours = f"{len(transparent)} of {len(samples)} files", "0" if grey else "0,1,2"
    if ignored:
        return [
            f"alpha ignored in {count}: it holds measured values, or would hide the whole image; "
            f"--channels reads it as a channel, for example --channels {colours},{1 if grey else 3}"
        ]
    return [f"alpha composited over white in {count}; --channels {colours} ignores it"]


def channel_notes(samples: Sequence[ImageSample]) -> list[str]:
    """Note channels that are not read, such as near infrared, arrays read as (c, h, w), and negatives."""
    notes = []
    several = [image for image in samples if image.unread_channels]
    if several:
        notes.append(
            f"{len(several)} of {len(samples)} files have {3 + several[0].unread_channels} channels; 0,1,2 are read "
            "(--channels 0,1,2,3 reads all)"
        )
    first = sum(image.channels_first for image in samples)
    if first:
        notes.append(f"{first} of {len(samples)} arrays are read as (channels, height, width), by their shape")
    negative = sum(image.not_inverted for image in samples)
    if negative:
        notes.append(f"{negative} of {len(samples)} files say that 0 is white, and are read as stored: 0 stays dark")
    return notes


def mask_notes(samples: Sequence[ImageSample]) -> list[str]:
    """Note images with few values among others: masks, by whatever names."""
    few = [image for image in samples if np.unique(image.values).size <= _MAX_MASK_VALUES]
    if len(few) == len(samples) or all(image.low == image.high for image in few):
        return []
    first = next(image for image in few if image.low < image.high)
    return [
        f"{len(few)} of {len(samples)} files have at most {_MAX_MASK_VALUES} different values, such as {first.name}; "
        "if they are masks, --exclude GLOB leaves them out"
    ]


def page_notes(samples: Sequence[ImageSample]) -> list[str]:
    """Note files with several pages, of which one is read, and files in which another page is larger."""
    several = [image for image in samples if image.pages > 1]
    if not several:
        return []
    ways = ["--page N"]
    if all(image.name.lower().endswith((".tif", ".tiff")) for image in several):
        ways += ["--channels page"] * all(image.channels == 1 for image in several) + ["--z max"]
    note = f"{len(several)} of {len(samples)} files have several pages; page 0 is read ({', '.join(ways)})"
    larger = [image for image in several if image.largest_page]
    if larger:
        first = larger[0]
        note += f"; in {len(larger)} of them another is larger, in {first.name} page {first.largest_page}"
    return [note]


def nodata_notes(samples: Sequence[ImageSample], policy: str) -> list[str]:
    """Warn about an extreme value that is probably nodata and widens a measured range."""
    if policy not in MEASURED:
        return []
    values = np.concatenate([spread(image.values, _MAX_VALUES // len(samples)) for image in samples])
    return [
        f"{value:g} holds {share:.1%} of the pixels, far from the others ({low:g} to {high:g}), and widens the range; "
        f"if it means no data use --nodata {_exact(value)}, else --range fixed:{low:g},{high:g}"
        for value, share, low, high in _outliers(values)
    ]


def absent_notes(samples: Sequence[ImageSample]) -> list[str]:
    """Note the values of `--nodata` that no pixel has."""
    absent = set.intersection(*(set(image.absent_nodata) for image in samples))
    return [f"no pixel of {len(samples)} files has the value of --nodata {_exact(value)}" for value in sorted(absent)]


def _exact(value: float) -> str:
    """Format a value so that parsing it gives the same number."""
    return str(int(value)) if value.is_integer() and abs(value) < 2**63 else repr(value)


def _outliers(values: NDArray[np.float64]) -> list[tuple[float, float, float, float]]:
    """Return (value, fraction of pixels, 1st and 99th percentile of the others) of suspected nodata values."""
    low, high = float(values.min()), float(values.max())
    others = values[(values > low) & (values < high)]
    if not others.size:
        return []
    p1, p99 = np.percentile(others, (1, 99)).tolist()
    suspects: list[tuple[float, float, float, float]] = []
    for value, near in ((low, p1), (high, p99)):
        fraction = float(np.count_nonzero(values == value) / values.size)
        gap_fraction = float(np.count_nonzero(np.abs(others - value) < abs(near - value) / 2) / values.size)
        is_far = abs(near - value) > _MIN_GAP * (p99 - p1)
        if fraction >= _MIN_NODATA_FRACTION and is_far and gap_fraction < _MAX_GAP_PIXELS * fraction:
            suspects.append((value, fraction, p1, p99))
    return suspects


def kind_notes(samples: Sequence[ImageSample], source: str, file: str = "") -> list[str]:
    """Warn about images of another depth than those that a stored range, of weights or a file, was measured on."""
    others = [image for image in samples if source and depth_kind(image.dtype) != source]
    if not others:
        return []
    return [
        f"{len(others)} of {len(samples)} files are {others[0].dtype}, and the range of {file or 'these weights'} was "
        f"measured on {source} images: such files cannot be read; {_other_range(file)}"
    ]


def float_notes(samples: Sequence[ImageSample], policy: str) -> list[str]:
    """Warn about float values outside 0 to 1, which policy `full` clips."""
    floats = [image for image in samples if image.dtype.kind == "f"]
    low, high = min((image.low for image in floats), default=0.0), max((image.high for image in floats), default=1.0)
    if policy != "full" or (low >= 0 and high <= 1):
        return []
    least, most = min(image.low for image in samples), max(image.high for image in samples)
    return [
        f"float values reach from {low:g} to {high:g}, and --range full clips them to 0 and 1; "
        f"--range fixed:{least:g},{most:g} keeps {'all' if len(floats) < len(samples) else 'them'}"
    ]


def narrow_notes(samples: Sequence[ImageSample], policy: str, low: float, high: float) -> list[str]:
    """Warn about images with hardly any contrast in the range: another scale, or few bits in a deep dtype."""
    if policy == PER_IMAGE or not samples:
        return []
    if policy == "full":
        narrow = [image for image in samples if _is_narrow(image)]
        total, found = (Counter(image.dtype for image in images) for images in (samples, narrow))
        narrow = [image for image in narrow if found[image.dtype] >= _MIN_DARK_FRACTION * total[image.dtype]]
        used = "a sixteenth of the full range"
    else:
        narrow = [image for image in samples if 0 < image.high - image.low < _LOW_CONTRAST_MEASURED * (high - low)]
        used = f"a hundredth of the range {low:g} to {high:g}"
    if not narrow:
        return []
    first, kinds = narrow[0], {depth_kind(image.dtype) for image in samples}
    one = ", fixed:LOW,HIGH one for all" if len(kinds) == 1 else ""
    return [
        f"{len(narrow)} of {len(samples)} files use less than {used}, such as {first.name} ({first.low:g} to "
        f"{first.high:g}), and have hardly any contrast; --range image:1,99 sets a range per image{one}"
    ]


def _is_narrow(image: ImageSample) -> bool:
    """Return whether an image uses less than a sixteenth of the full range of its dtype."""
    black, white = full_range(image.dtype)
    if image.low >= 0:
        return image.low < image.high < _LOW_CONTRAST_FULL * white
    return black < 0 and 0 < image.high - image.low < _LOW_CONTRAST_FULL * (white - black)


def blank_notes(samples: Sequence[ImageSample]) -> list[str]:
    """Warn if every image has one value only: a shutter, a wrong channel or page, or a broken export."""
    if not samples or any(image.low < image.high for image in samples):
        return []
    blank = f"all {len(samples)} sampled files are blank, such as" if len(samples) > 1 else "blank:"
    return [
        f"{blank} {samples[0].name} ({samples[0].low:g} everywhere); look at them, or read another --channels or --page"
    ]


def _other_range(file: str) -> str:
    return "a --range can fit both" if file else "--range auto or another one measures a new range"


def clip_notes(samples: Sequence[ImageSample], preprocess: Preprocess, file: str = "") -> list[str]:
    """Warn about values outside a range, of weights or a file, that was measured on other images."""
    p = preprocess
    if p.range_policy not in ("auto", "minmax") or not samples:  # percentiles clip on purpose
        return []
    ranges = p.channel_ranges or ((p.range_low, p.range_high),)
    by_image = [image.channel_values if p.channel_ranges else (image.values,) for image in samples]
    pairs = [pair for channels in by_image for pair in zip(channels, ranges, strict=False)]
    outside = sum(np.count_nonzero((values < low) | (values > high)) for values, (low, high) in pairs)
    fraction = outside / max(1, sum(values.size for values, _ in pairs))
    if fraction < _MAX_CLIPPED_FRACTION:
        return []
    which = "the ranges of their channels" if p.channel_ranges else f"{p.range_low:g} to {p.range_high:g}, the range"
    return [
        f"{fraction:.0%} of the pixels lie outside {which} of {file or 'these weights'}, and are clipped; "
        f"{_other_range(file)}"
    ]


def outside_notes(samples: Sequence[ImageSample], policy: str, low: float, high: float, file: str = "") -> list[str]:
    """Warn about images without a value in the range, which it makes black or white; a few are normal."""
    if policy not in ("percentile", "window", "fixed"):  # `clip_notes` has the others
        return []
    ends = [(image, *np.percentile(image.values, (0.1, 99.9))) for image in samples if image.values.size]
    lost = [image for image, least, most in ends if most < low or least > high]
    if not lost or len(lost) < _MIN_DARK_FRACTION * len(samples):
        return []
    return [
        f"{len(lost)} of {len(samples)} files lie outside the range {low:g} to {high:g}, such as {lost[0].name} "
        f"({lost[0].low:g} to {lost[0].high:g}), and become black or white; {_other_range(file)}"
    ]


def window_notes(samples: Sequence[ImageSample], policy: str) -> list[str]:
    """Note that files store a display window, if the range is another one."""
    windows = Counter(image.window for image in samples if image.window)
    if not windows or policy in ("window", "fixed"):
        return []
    (level, width), count = windows.most_common(1)[0]
    others = f", and {len(windows) - 1} others" if len(windows) > 1 else ""
    return [
        f"{count} of {len(samples)} files name a window of level {level:g}, width {width:g}{others}; "
        f"--range window:{level:g},{width:g} reads all with it"
    ]
