"""What a user has to know about a folder: what was assumed where the right reading is not knowable, and the option."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dinocli.data.image_sample import ImageSample
from dinocli.data.pixels import full_range
from dinocli.data.ranges import MEASURED, PER_IMAGE, depth_kind

_SHARE = 0.001  # of the pixels that one extreme value holds before it may be nodata; fewer are hot or dead pixels
_GAP = 0.25  # between that value and the others, as a share of what the others span
_BETWEEN = 0.1  # pixels on the inner side of the gap, as a share of those that hold the value: saturation has a slope
_MOST = 2**20  # values that are read
_DARK, _NARROW = 1 / 16, 1 / 100  # of the full range, and of a measured one: what uses less is nearly one grey
_DARK_SHARE = 0.1  # of the images
_CLIPPED = 0.02  # of the pixels that a stored range may clip without a word


def ignores_alpha(samples: Sequence[ImageSample]) -> bool:
    """Say whether what is named alpha is a channel of its own, near infrared for example: GIS tools name it so."""
    named = [one.alpha for one in samples if one.alpha not in ("none", "opaque")]
    return named.count("data") > len(named) / 2


def alpha_notes(samples: Sequence[ImageSample], *, ignored: bool) -> list[str]:
    """Say what happens to alpha."""
    found = [one for one in samples if one.alpha not in ("none", "opaque")]
    if not found:
        return []
    count, colours = f"{len(found)} of {len(samples)} files", "0" if found[0].grey else "0,1,2"
    if ignored:
        return [
            f"the sample named alpha in {count} is left out: it holds an image's values, or would hide all of it; "
            f"--channels takes it as a channel, for example --channels {colours},{1 if found[0].grey else 3}"
        ]
    return [f"alpha laid over white in {count}; --channels {colours} ignores it"]


def channel_notes(samples: Sequence[ImageSample]) -> list[str]:
    """Say that files have channels that are not read, such as near infrared, and which axis of an array they are."""
    notes = []
    several = [one for one in samples if one.unread_channels]
    if several:
        notes.append(
            f"{len(several)} of {len(samples)} files have {3 + several[0].unread_channels} channels; 0,1,2 are read "
            "(--channels 0,1,2,3 reads all)"
        )
    first = sum(one.channels_first for one in samples)
    if first:
        notes.append(f"{first} of {len(samples)} arrays are read as (channels, height, width), by their shape")
    return notes


def page_notes(samples: Sequence[ImageSample]) -> list[str]:
    """Say that files have more pages than the one that is read, and where another one is larger."""
    several = [one for one in samples if one.pages > 1]
    if not several:
        return []
    note = f"{len(several)} of {len(samples)} files have several pages; page 0 is read "
    note += "(--page N, --channels page, --z max)"
    larger = [one for one in several if one.largest]
    if larger:
        first = larger[0]
        note += f"; in {len(larger)} of them another is larger, in {first.name} page {first.largest}"
    return [note]


def nodata_notes(samples: Sequence[ImageSample], policy: str) -> list[str]:
    """Warn of an extreme value that is probably nodata and stretches a measured range."""
    if policy not in MEASURED:
        return []
    values = np.concatenate([one.values[:: max(1, len(samples) * one.values.size // _MOST)] for one in samples])
    return [
        f"{value:g} holds {share:.1%} of the pixels, far from the others ({low:g} to {high:g}), and widens the range; "
        f"if it means no data use --nodata {_exact(value)}, else --range fixed:{low:g},{high:g}"
        for value, share, low, high in _outliers(values)
    ]


def absent_notes(samples: Sequence[ImageSample]) -> list[str]:
    """Say which of the values that were named as nodata no pixel has."""
    absent = set.intersection(*(set(one.absent) for one in samples))
    return [f"no pixel of {len(samples)} files has the value of --nodata {_exact(value)}" for value in sorted(absent)]


def _exact(value: float) -> str:
    """Write a value so that it is the same when it is read again."""
    return str(int(value)) if value.is_integer() and abs(value) < 2**63 else repr(value)


def _outliers(values: NDArray[np.float64]) -> list[tuple[float, float, float, float]]:
    """Return extreme values that many pixels hold, with their share and the range of the other pixels."""
    low, high = float(values.min()), float(values.max())
    others = values[(values > low) & (values < high)]
    if not others.size:
        return []
    inner_low, inner_high = np.percentile(others, (1, 99)).tolist()
    found: list[tuple[float, float, float, float]] = []
    for value, near in ((low, inner_low), (high, inner_high)):
        share = float(np.count_nonzero(values == value) / values.size)
        between = float(np.count_nonzero(np.abs(others - value) < abs(near - value) / 2) / values.size)
        if share >= _SHARE and abs(near - value) > _GAP * (inner_high - inner_low) and between < _BETWEEN * share:
            found.append((value, share, inner_low, inner_high))
    return found


def kind_notes(samples: Sequence[ImageSample], source: str) -> list[str]:
    """Warn of images that do not fit a range that was measured on others."""
    others = [one for one in samples if source and depth_kind(one.dtype) != source]
    if not others:
        return []
    return [
        f"{len(others)} of {len(samples)} files are {others[0].dtype}, and the range of these weights was measured on "
        f"{source} images: such files cannot be read; --range auto or another one measures a range of their own"
    ]


def float_notes(samples: Sequence[ImageSample], policy: str) -> list[str]:
    """Warn of float values that the full range of floats, 0 to 1, clips."""
    floats = [one for one in samples if one.dtype.kind == "f"]
    low, high = min((one.low for one in floats), default=0.0), max((one.high for one in floats), default=1.0)
    if policy != "full" or (low >= 0 and high <= 1):
        return []
    return [
        f"float values reach from {low:g} to {high:g}, and --range full clips them to 0 and 1; "
        f"--range fixed:{low:g},{high:g} keeps them"
    ]


def narrow_notes(samples: Sequence[ImageSample], policy: str, low: float, high: float) -> list[str]:
    """Warn of images that a range makes nearly one grey: others of another scale, or few bits in many."""
    if policy == PER_IMAGE or not samples:
        return []
    if policy == "full":
        narrow = [one for one in samples if 0 <= one.low < one.high < _DARK * full_range(one.dtype)[1]]
        if len(narrow) < _DARK_SHARE * len(samples):  # a few dark pictures are what they are
            return []
        used = "a sixteenth of the full range"
    else:
        narrow = [one for one in samples if 0 < one.high - one.low < _NARROW * (high - low)]
        used = f"a hundredth of the range {low:g} to {high:g}"
    if not narrow:
        return []
    first = narrow[0]
    return [
        f"{len(narrow)} of {len(samples)} files use less than {used}, such as {first.name} ({first.low:g} to "
        f"{first.high:g}), and are nearly one grey; --range image:1,99 gives each its own, fixed:LOW,HIGH all the same"
    ]


def clip_notes(samples: Sequence[ImageSample], policy: str, low: float, high: float) -> list[str]:
    """Warn of values outside a range that was measured on other images."""
    if policy not in ("auto", "minmax") or not samples:  # percentiles clip on purpose
        return []
    outside = sum(np.count_nonzero((one.values < low) | (one.values > high)) for one in samples)
    share = outside / sum(one.values.size for one in samples)
    if share < _CLIPPED:
        return []
    return [
        f"{share:.0%} of the pixels lie outside {low:g} to {high:g}, the range of these weights, and become black or "
        "white; --range auto measures a range of its own"
    ]


def window_notes(samples: Sequence[ImageSample], policy: str) -> list[str]:
    """Say that files name a window for viewers, where the range is another one."""
    named = Counter(one.window for one in samples if one.window)
    if not named or policy in ("window", "fixed"):
        return []
    (level, width), count = named.most_common(1)[0]
    others = f", and {len(named) - 1} others" if len(named) > 1 else ""
    return [
        f"{count} of {len(samples)} files name a window of level {level:g}, width {width:g}{others}; "
        f"--range window:{level:g},{width:g} reads all with it"
    ]
