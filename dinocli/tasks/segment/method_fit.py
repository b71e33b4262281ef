"""What is settled before the first image is segmented: the method, fitted on a sample of the folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np

from dinocli.data.parallel import thread_count
from dinocli.data.sources import ImageList, find_images
from dinocli.engine.progress import ProgressReporter
from dinocli.errors import DataError
from dinocli.tasks.embed.embed_setup import EmbedContext
from dinocli.tasks.segment.feature_extraction import FeatureExtraction, SegmentImage, check_tiling
from dinocli.tasks.segment.method import FeatureGrid, FeatureKind, FittedMethod, Method
from dinocli.tasks.segment.method_choice import pick_method
from dinocli.tasks.segment.methods import make_method
from dinocli.tasks.segment.output_names import natural_order
from dinocli.tasks.segment.propagate import Propagation, first_labels
from dinocli.tasks.segment.segment_options import SIZE, SegmentOptions
from dinocli.tasks.segment.tiles import parse_tiling

SAMPLE_BYTES = 1 << 30
"""Of the grids that a method is fitted on; large images give fewer of them."""


@dataclass(frozen=True)
class Chosen:
    """A method, its name, and why it was chosen; an empty reason where the user chose."""

    name: str
    method: Method
    why: str = ""


@dataclass(frozen=True)
class SegmentPlan:
    """A method that has seen the folder, and who looks at images for it."""

    looker: FeatureExtraction
    chosen: Chosen
    fitted: FittedMethod


class Sample:
    """Looks at some images of the folder, or of the reference, as often as somebody asks for another look.

    Args:
        setting: Weights and how to read.
        job: What was asked for.
        reporter: Hears how far it is.
    """

    def __init__(self, setting: EmbedContext, job: SegmentOptions, reporter: ProgressReporter) -> None:
        self._setting, self._job, self._watcher = setting, job, reporter
        self._images: ImageList = find_images([job.reference]) if job.reference else setting.images
        random = np.random.default_rng(job.seed)
        count = min(job.sample, len(self._images))
        self._rows: list[int] = sorted(random.choice(len(self._images), count, replace=False).tolist())

    def grids(self, look: FeatureKind) -> Sequence[FeatureGrid]:
        """Return the grids of the sample, as many as `SAMPLE_BYTES` hold, one at least.

        Nothing is read before somebody asks for the first of them: some methods never do. Reading raises a `DataError`
        if none of the images is readable.
        """
        return _Later(self._looked_at(look))

    def _looked_at(self, look: FeatureKind) -> Iterator[FeatureGrid]:
        looker, seen, room = looker_of(self._setting, self._job, look), 0, SAMPLE_BYTES
        for number, picture in enumerate(looker.pictures(self._images, self._rows, _threads(self._setting)), start=1):
            self._watcher.progress("looking at a sample", number, len(self._rows))
            if isinstance(picture, SegmentImage):
                grid = looker.grid(picture)
                yield replace(grid, image=-1 - grid.image) if self._job.reference else grid
                seen, room = seen + 1, room - grid.values_hwD.nbytes
            if room < 0:
                break
        if not seen:
            raise DataError(f"none of {len(self._rows)} sampled images in {self._images.root} can be read")


class _Later(Sequence[FeatureGrid]):
    """A list that is made as far as somebody looks into it."""

    def __init__(self, items: Iterator[FeatureGrid]) -> None:
        self._items = items
        self._made: list[FeatureGrid] = []

    def __len__(self) -> int:
        self._made.extend(self._items)
        return len(self._made)

    @overload
    def __getitem__(self, place: int) -> FeatureGrid: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[FeatureGrid]: ...
    def __getitem__(self, place: int | slice) -> FeatureGrid | Sequence[FeatureGrid]:
        stop = place.stop if isinstance(place, slice) else place + 1
        if stop is None or stop <= 0:
            return self._made[place] if len(self) else self._made
        self._made.extend(islice(self._items, max(0, stop - len(self._made))))
        return self._made[place]


def choose(setting: EmbedContext, job: SegmentOptions, sample: Sample) -> Chosen:
    """Return the method that the user named, or the one that fits what the sample looks like.

    Raises:
        UsageError: A method, option or backbone that does not go together.
    """
    if job.propagate:
        images = setting.images
        first = images.path(natural_order(images.names)[0])
        return Chosen("propagate", Propagation(first_labels(Path(job.propagate), Path(first))))
    name, why = job.method, ""
    if name == "auto" and (job.reference or job.tile):
        name = "anomaly"
        why = "there are good images to compare with" if job.reference else "tiles show surfaces, not whole objects"
    elif name == "auto":
        name, why = pick_method(setting.backbone, sample.grids)
    made = make_method(name, job.options, setting.backbone, reference=bool(job.reference), seed=job.seed)
    return Chosen(name, made, why)


def looker_of(setting: EmbedContext, job: SegmentOptions, look: FeatureKind) -> FeatureExtraction:
    """Return who looks at images as the job asks."""
    tiling = parse_tiling(job.tile) if job.tile else None
    size = job.size or (0 if tiling else SIZE)
    query = job.query_point() if look == FeatureKind.ATTENTION else None
    return FeatureExtraction(
        setting.backbone, setting.preprocess, look, setting.device, size, tiling, query, autocast=setting.autocast
    )


def fitted_plan(
    setting: EmbedContext, job: SegmentOptions, chosen: Chosen, sample: Sample, reporter: ProgressReporter
) -> SegmentPlan:
    """Let the method see the sample.

    Raises:
        UsageError: The method does not go with tiles, or with these weights.
    """
    method = chosen.method
    looker = looker_of(setting, job, method.look)
    check_tiling(chosen.name, looker.tiling, whole=method.whole)
    if chosen.why:
        reporter.line(f"method {chosen.name}: {chosen.why}")
    fitted = method.fit(sample.grids(method.look))
    for fact, value in fitted.facts.items():
        reporter.line(f"{fact}: {value if isinstance(value, str) else format(value, '.4g')}")
    return SegmentPlan(looker, chosen, fitted)


def _threads(setting: EmbedContext) -> int:
    return thread_count(setting.data.workers)
