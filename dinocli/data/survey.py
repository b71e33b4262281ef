"""Survey of a sample of the dataset: depth, colour, sizes, and the intensity range."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from dinocli.config.preprocess import GREY_OR_RGB, range_text
from dinocli.data.folder_notes import (
    absent_notes,
    alpha_notes,
    blank_notes,
    channel_notes,
    float_notes,
    ignores_alpha,
    mask_notes,
    narrow_notes,
    nodata_notes,
    outside_notes,
    page_notes,
    window_notes,
)
from dinocli.data.image_list import ImageList
from dinocli.data.image_sample import ImageSample, SourceReading, sample_image
from dinocli.data.input_channels import described_channels, uneven_notes
from dinocli.data.measured_range import bit_depth, chosen_range, measured_channels
from dinocli.data.parallel import in_order, thread_count
from dinocli.data.ranges import MEASURED, PER_IMAGE, Range, depth_kind, parse_range
from dinocli.data.region_of_interest import described_roi
from dinocli.errors import DataError

_MAX_SHOWN = 8
"""Channels whose range is described."""


@dataclass(frozen=True)
class Survey:
    """Properties of a sample of a dataset, and the intensity range.

    Args:
        policy: As `Preprocess.range_policy`; ``auto`` on 8-bit images becomes ``full``.
        low: Source value that is mapped to 0; for ``image`` a percentile.
        high: Source value that is mapped to the maximum; for ``image`` a percentile.
        deep: Some image has more than 8 bits.
        channels: Most common number of channels that are read.
        grey: No image has colour.
        dtypes: Number of sampled images per dtype.
        median_size: (median h, median w), pixels.
        sampled: Number of sampled images that were readable.
        bad: (name, reason) of unreadable sampled images.
        notes: Sentences for the user.
        warnings: Sentences on assumptions that may be wrong, each with the option that changes it.
        alpha: As `Preprocess.alpha`.
        source: As `Preprocess.source`.
        channel_ranges: As `Preprocess.channel_ranges`.
    """

    policy: str
    low: float
    high: float
    deep: bool
    channels: int
    grey: bool
    dtypes: dict[str, int]
    median_size: tuple[int, int]
    sampled: int
    bad: list[tuple[str, str]]
    notes: list[str]
    warnings: list[str]
    alpha: str
    source: str
    channel_ranges: tuple[tuple[float, float], ...] = ()

    def describe(self) -> str:
        """Describe the sampled images in one line: dtypes, colour, size, range."""
        kinds = ", ".join(f"{count} {dtype}" for dtype, count in self.dtypes.items())
        height, width = self.median_size
        colour = "grey" if self.grey else "colour" if self.channels in GREY_OR_RGB else f"{self.channels} channels"
        mapped = range_text(self.policy, self.low, self.high)
        return f"sample of {self.sampled}: {kinds}, {colour}, median {width}x{height} px, range {mapped}"


def survey(
    images: ImageList,
    range_spec: str,
    reading: SourceReading = SourceReading(),
    *,
    sample: int = 256,
    seed: int = 0,
) -> Survey:
    """Read a fixed random sample of the images and determine the intensity range.

    Args:
        images: The dataset.
        range_spec: See `parse_range`.
        reading: Channels, page, nodata, z and region of interest; sizes and values are those inside the region.
        sample: Number of images to read; all if there are fewer.
        seed: Random seed of the sample.

    Raises:
        UsageError: Invalid range.
        DataError: No sampled image is readable, or the range is measured on images of several kinds (8-bit, deep
            integer, float).
    """
    parsed = parse_range(range_spec)
    samples, bad = sampled_images(images, reading, sample, seed)
    deep = any(image.dtype != np.uint8 for image in samples)
    kinds = Counter(depth_kind(image.dtype) for image in samples)
    is_measured = parsed.policy in MEASURED
    if is_measured and len(kinds) > 1:
        first = {depth_kind(image.dtype): image.name for image in reversed(samples)}
        mixed = " and ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        rarest = min(kinds, key=lambda kind: kinds[kind])
        # Integers and floats of one quantity share a scale, 8 and 16 bits share black and white.
        low, high = min(image.low for image in samples), max(image.high for image in samples)
        way = f"fixed:{low:g},{high:g}" if "float" in kinds else "full"
        raise DataError(
            f"{mixed} images are mixed ({first[rarest]} is {rarest}), no measured range fits all; use --range {way} or "
            "image:1,99, or leave some out with --exclude"
        )
    policy, low, high = chosen_range(parsed, samples, deep)
    channel_count = Counter(image.channels for image in samples).most_common(1)[0][0]
    channel_ranges = measured_channels(parsed, [image for image in samples if image.channels == channel_count], policy)
    heights, widths = np.array([image.size for image in samples]).T
    return Survey(
        policy=policy,
        low=low,
        high=high,
        deep=deep,
        channels=channel_count,
        grey=all(image.grey for image in samples),
        dtypes=dict(Counter(str(image.dtype) for image in samples)),
        median_size=(int(np.median(heights)), int(np.median(widths))),
        sampled=len(samples),
        bad=bad,
        notes=[
            *filter(None, [described_roi(reading.roi), described_channels(channel_count)]),
            *_notes(parsed, samples, deep, low, high),
            *_channel_notes(channel_ranges),
        ],
        warnings=[
            *nodata_notes(samples, policy),
            *absent_notes(samples),
            *float_notes(samples, policy),
            *blank_notes(samples),
            *narrow_notes(samples, policy, low, high),
            *outside_notes(samples, policy, low, high),
            *uneven_notes(samples, policy, low, high),
            *mask_notes(samples),
            *alpha_notes(samples, ignored=ignores_alpha(samples)),
            *channel_notes(samples),
            *page_notes(samples),
            *window_notes(samples, policy),
        ],
        alpha="ignore" if ignores_alpha(samples) else "white",
        source=next(iter(kinds)) if is_measured else "",
        channel_ranges=channel_ranges,
    )


def sampled_images(
    images: ImageList, reading: SourceReading, sample: int, seed: int
) -> tuple[list[ImageSample], list[tuple[str, str]]]:
    """Return the readable images of a random sample, and (name, reason) of the unreadable ones."""
    rows = np.random.default_rng(seed).choice(len(images), min(sample, len(images)), replace=False)

    def read(row: int) -> ImageSample | str:
        return sample_image(images.path(row), images.names[row], reading)

    results = list(in_order(read, rows, thread_count("auto")))
    samples = [result for result in results if isinstance(result, ImageSample)]
    bad = [(images.names[row], result) for row, result in zip(rows, results, strict=True) if isinstance(result, str)]
    if not samples:
        raise DataError(f"none of {len(rows)} sampled images can be read: {bad[0][0]}: {bad[0][1]}")
    return samples, bad


def _channel_notes(ranges: tuple[tuple[float, float], ...]) -> list[str]:
    """Describe the range of each channel."""
    shown = ", ".join(f"{channel}: {low:g} to {high:g}" for channel, (low, high) in enumerate(ranges[:_MAX_SHOWN]))
    return [f"range of each channel: {shown}{', ...' * (len(ranges) > _MAX_SHOWN)}"] if ranges else []


def _notes(parsed: Range, samples: list[ImageSample], deep: bool, low: float, high: float) -> list[str]:
    """Note nodata tags, the measured range of deep images, and a range that gives low contrast."""
    tagged = sum(image.nodata for image in samples)
    tags = [f"{tagged} of {len(samples)} files tag or mask nodata: it is black and does not count for the range"]
    tags = tags if tagged else []
    if not deep or parsed.policy in ("full", PER_IMAGE):
        return tags
    first, top = samples[0].dtype, max(image.high for image in samples)
    data = f"{first} data"
    if first == np.uint16 and top <= 65535:
        data = f"{bit_depth(top)}-bit data in 16-bit files"
    notes = [*tags, f"{data}: range {low:g} to {high:g}"]
    inner = np.percentile(np.concatenate([image.values for image in samples]), (0.1, 99.9))
    if parsed.policy in ("auto", "minmax") and np.ptp(inner) < 0.25 * (high - low):
        notes.append(
            f"99.8 % of the pixels lie between {inner[0]:g} and {inner[1]:g}, a small part of the range; "
            "--range percentile:0.1,99.9 gives more contrast and clips the rest"
        )
    return notes
