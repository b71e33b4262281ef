"""Survey of a sample of the dataset: depth, colour, sizes, and the range that follows from them."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from dinocli.config.preprocess import Preprocess
from dinocli.data.folder_notes import (
    absent_notes,
    alpha_notes,
    channel_notes,
    clip_notes,
    float_notes,
    ignores_alpha,
    kind_notes,
    narrow_notes,
    nodata_notes,
    page_notes,
    window_notes,
)
from dinocli.data.image_sample import ImageSample, SourceReading, sample_image
from dinocli.data.input_channels import described_channels, uneven_notes
from dinocli.data.parallel import in_order, thread_count
from dinocli.data.pixels import full_range
from dinocli.data.ranges import MEASURED, PER_IMAGE, Range, depth_kind, parse_range
from dinocli.data.region_of_interest import described_roi
from dinocli.data.sources import ImageList
from dinocli.errors import DataError

_HEADROOM = 0.1
"""Share of the measured span added at both ends under ``auto``: defects may be hotter or darker than any sample."""


@dataclass(frozen=True)
class Survey:
    """Facts of a sample of a dataset, and the range that follows from them.

    Args:
        policy: As in `Preprocess.range_policy`; ``auto`` on 8-bit images has become ``full``.
        low: Source value that becomes 0; of ``image`` a percentile.
        high: Source value that becomes 1.
        deep: Some image has more than 8 bits.
        channels: That are read of most images.
        grey: No image has colour.
        dtypes: Number of sampled images of each dtype.
        median_size: (h, w), pixels, each the median by itself.
        max_size: (h, w), pixels, of the largest image of the sample.
        sampled: Images that were read.
        bad: Names of sampled images that could not be read, with the reason.
        notes: Sentences for the user.
        warnings: Sentences about what was assumed and may be wrong, each with the option that says otherwise.
        alpha: As in `Preprocess`.
        source: See `Preprocess`.
    """

    policy: str
    low: float
    high: float
    deep: bool
    channels: int
    grey: bool
    dtypes: dict[str, int]
    median_size: tuple[int, int]
    max_size: tuple[int, int]
    sampled: int
    bad: list[tuple[str, str]]
    notes: list[str]
    warnings: list[str]
    alpha: str
    source: str


def survey(
    images: ImageList,
    range_spec: str,
    reading: SourceReading = SourceReading(),
    *,
    sample: int = 256,
    seed: int = 0,
) -> Survey:
    """Read a fixed sample of the images and decide on the range.

    Args:
        images: The dataset.
        range_spec: See `parse_range`.
        reading: What of each file is read.
        sample: Number of images to read; all of them if there are fewer.
        seed: Random seed of the choice of the sample.

    Raises:
        UsageError: A range that makes no sense.
        DataError: No sampled image can be read, or images of several kinds (8-bit, deep integer, float) are mixed and
            the range is to be measured.
    """
    wanted = parse_range(range_spec)
    samples, bad = _samples(images, reading, sample, seed)
    deep = any(one.dtype != np.uint8 for one in samples)
    kinds = Counter(depth_kind(one.dtype) for one in samples)
    measured = wanted.policy in MEASURED
    if measured and len(kinds) > 1:
        first = {depth_kind(one.dtype): one.name for one in reversed(samples)}
        mixed = " and ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        rarest = min(kinds, key=lambda kind: kinds[kind])
        raise DataError(
            f"{mixed} images are mixed ({first[rarest]} is {rarest}), no measured range fits all; use --range full, or "
            "leave some out with --exclude"
        )
    policy, low, high = _decide(wanted, samples, deep)
    read = Counter(one.channels for one in samples).most_common(1)[0][0]
    heights, widths = np.array([one.size for one in samples]).T
    return Survey(
        policy=policy,
        low=low,
        high=high,
        deep=deep,
        channels=read,
        grey=all(one.grey for one in samples),
        dtypes=dict(Counter(str(one.dtype) for one in samples)),
        median_size=(int(np.median(heights)), int(np.median(widths))),
        max_size=(int(heights.max()), int(widths.max())),
        sampled=len(samples),
        bad=bad,
        notes=[
            *filter(None, [described_roi(reading.roi), described_channels(read)]),
            *_notes(wanted, samples, deep, low, high),
        ],
        warnings=[
            *nodata_notes(samples, policy),
            *absent_notes(samples),
            *float_notes(samples, policy),
            *narrow_notes(samples, policy, low, high),
            *uneven_notes(samples, policy, low, high),
            *alpha_notes(samples, ignored=ignores_alpha(samples)),
            *channel_notes(samples),
            *page_notes(samples),
            *window_notes(samples, policy),
        ],
        alpha="ignore" if ignores_alpha(samples) else "white",
        source=next(iter(kinds)) if measured else "",
    )


def check_stored(images: ImageList, preprocess: Preprocess, sample: int = 16) -> list[str]:
    """Return what has to be said about images that are read with a stored record: they may not be what it was made for.

    Args:
        images: The dataset.
        preprocess: How they will be read.
        sample: Number of images to read. If none can be read, that is found later and counted against ``--max-bad``.
    """
    about = preprocess
    reading = SourceReading(about.channels, about.page, about.nodata, about.z, about.roi)
    try:
        samples, _ = _samples(images, reading, sample, seed=0)
    except DataError:
        return []
    fitting = [one for one in samples if preprocess.source in ("", depth_kind(one.dtype))]
    return [
        *kind_notes(samples, preprocess.source),
        *float_notes(samples, preprocess.range_policy),
        *narrow_notes(fitting, about.range_policy, about.range_low, about.range_high),
        *clip_notes(fitting, about.range_policy, about.range_low, about.range_high),
        *alpha_notes(samples, ignored=preprocess.alpha == "ignore"),
        *channel_notes(samples),
        *page_notes(samples),
    ]


def _samples(
    images: ImageList, reading: SourceReading, sample: int, seed: int
) -> tuple[list[ImageSample], list[tuple[str, str]]]:
    """Return what was seen of a sample, and its unreadable images with the reason."""
    rows = np.random.default_rng(seed).choice(len(images), min(sample, len(images)), replace=False)

    def read(row: int) -> ImageSample | str:
        return sample_image(images.path(row), images.names[row], reading)

    results = list(in_order(read, rows, thread_count("auto")))
    samples = [result for result in results if isinstance(result, ImageSample)]
    bad = [(images.names[row], result) for row, result in zip(rows, results, strict=True) if isinstance(result, str)]
    if not samples:
        raise DataError(f"none of {len(rows)} sampled images can be read: {bad[0][0]}: {bad[0][1]}")
    return samples, bad


def _decide(wanted: Range, samples: list[ImageSample], deep: bool) -> tuple[str, float, float]:
    """Return the policy's name for the record, and the range."""
    low, high = min(one.low for one in samples), max(one.high for one in samples)
    if wanted.policy == "full" or (wanted.policy == "auto" and not deep):
        return ("full", *full_range(samples[0].dtype))
    if wanted.policy == "window":
        level, width = wanted.values
        return "window", level - width / 2, level + width / 2
    if wanted.policy in ("fixed", PER_IMAGE):
        return (wanted.policy, wanted.values[0], wanted.values[1])
    if wanted.policy == "percentile":
        low, high = np.percentile(np.concatenate([one.values for one in samples]), wanted.values).tolist()
    elif wanted.policy == "auto":
        low, high = _with_headroom(low, high, samples[0].dtype)
    if high <= low:
        raise DataError(f"all sampled pixels are {low:g}; give the range yourself: --range fixed:LOW,HIGH")
    return wanted.policy, low, high


def _with_headroom(low: float, high: float, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Widen a measured range, for integers within the bits that the detector seems to have."""
    room = _HEADROOM * (high - low)
    if dtype.kind != "u":
        most = float(np.finfo(np.float64).max)
        return max(low - room, -most), min(high + room, most)
    return max(0.0, float(np.floor(low - room))), min(2.0 ** _bits(high) - 1, float(np.ceil(high + room)))


def _bits(high: float) -> int:
    return max(1, int(high).bit_length())


def _notes(wanted: Range, samples: list[ImageSample], deep: bool, low: float, high: float) -> list[str]:
    """Say what the range is where it was measured, and where it may disappoint."""
    tagged = sum(one.nodata for one in samples)
    tags = [f"{tagged} of {len(samples)} files tag or mask nodata: it is black and does not count for the range"]
    tags = tags if tagged else []
    if not deep or wanted.policy in ("full", PER_IMAGE):
        return tags
    first, top = samples[0].dtype, max(one.high for one in samples)
    data = f"{first} data"
    if first == np.uint16 and top <= 65535:
        data = f"{_bits(top)}-bit data in 16-bit files"
    notes = [*tags, f"{data}: range {low:g} to {high:g}"]
    inner = np.percentile(np.concatenate([one.values for one in samples]), (0.1, 99.9))
    if wanted.policy in ("auto", "minmax") and np.ptp(inner) < 0.25 * (high - low):
        notes.append(
            f"99.8 % of the pixels lie between {inner[0]:g} and {inner[1]:g}, a small part of the range; "
            "--range percentile:0.1,99.9 gives more contrast and clips the rest"
        )
    return notes
