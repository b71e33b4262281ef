"""`--dry-run`: how many images, how they would be grouped, and about how long and how large that is."""

import io
from dataclasses import asdict, dataclass, replace
from typing import Any, BinaryIO

from dinocli.data.sources import find_images
from dinocli.engine.progress import ProgressReporter
from dinocli.errors import UsageError
from dinocli.quality.density import HDBSCAN_ROWS
from dinocli.quality.spherical_kmeans import SAMPLE_ROWS
from dinocli.tasks.cluster.cluster import check_outputs
from dinocli.tasks.cluster.cluster_inputs import features_named, open_members
from dinocli.tasks.cluster.cluster_options import AUTO, ClusterOptions
from dinocli.tasks.embed.embed_options import DEFAULT_BATCH
from dinocli.tasks.run_folder import latest_run

TRIAL_IMAGES = 32

_BASE_BYTES, _NETWORK_BYTES = 300 << 20, 700 << 20
_COPIES_OF_SAMPLE = 4
# Of `benchmarks/cluster.py growth` on two cores: one row, value and group; what does not grow; the search for k.
_SECONDS_EACH, _SECONDS_FIXED, _SECONDS_AUTO, _USUAL_K = 2e-9, 5.0, 10.0, 10
_SECONDS_PAIRS = 12.0 / HDBSCAN_ROWS**2  # of methods that look at pairs of images


@dataclass(frozen=True)
class Forecast:
    """What `cluster` would do.

    Args:
        images: Rows that would be grouped; unreadable images are not known yet.
        width: Values of a row.
        method: That would be used.
        k: Number of groups; 0 where it would be looked for.
        seconds_embedding: By a trial on a few images; 0 where the features are there.
        seconds_grouping: By the number of rows, values and groups, on two cores; without page and sheet.
        memory_bytes: Features that are mapped from a file count in full.
        files: That would be written.
    """

    images: int
    width: int
    method: str
    k: int
    seconds_embedding: float
    seconds_grouping: float
    memory_bytes: int
    files: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        return asdict(self)


def foresee(
    options: ClusterOptions, reporter: ProgressReporter | None = None, stdin: BinaryIO | None = None
) -> Forecast:
    """Say what `cluster` would do; nothing is written, but for a trial in a temporary folder where images are given.

    Raises:
        DinocliError: What would stop the command at once.
    """
    reporter = reporter or ProgressReporter()
    check_outputs(options)
    if features_named(options):
        members = open_members(options, reporter, stdin)
        images, width, embedding, network = len(members), members.features_ND.shape[1], 0.0, 0
    else:
        images, width, speed = _trial(options, reporter, stdin)
        embedding, network = images / speed, _NETWORK_BYTES
    if options.k > images:
        raise UsageError(f"-k {options.k} asks for more groups than the {images} images that there are")
    return Forecast(
        images=images,
        width=width,
        method=options.method,
        k=options.k,
        seconds_embedding=embedding,
        seconds_grouping=_seconds(options, images, width),
        memory_bytes=_BASE_BYTES + network + _bytes(options, images, width),
        files=[str(path) for path in options.outputs()],
    )


def _trial(options: ClusterOptions, reporter: ProgressReporter, stdin: BinaryIO | None) -> tuple[int, int, float]:
    """Embed a few images from all over the list; return the number of all, the width, and images a second."""
    from dinocli.tasks.embed.features_of import features_of

    manifest = None if options.inputs else latest_run().read()
    inputs = options.inputs if manifest is None else tuple(manifest["inputs"])
    images = find_images(inputs, stdin=stdin, null=options.read.null, **options.read.naming(manifest))
    few = range(0, len(images), max(1, len(images) // TRIAL_IMAGES))[:TRIAL_IMAGES]
    names = b"\0".join(images.path(number).encode() for number in few)
    given: dict[str, Any] = {"weights": options.weights, "model": options.model, "device": options.device}
    read = replace(options.read, null=True, include=(), exclude=(), root=str(images.root))
    given |= {"read": read, "batch_size": options.batch_size or DEFAULT_BATCH}
    found = features_of(["-"], reporter=reporter, stdin=io.BytesIO(names), **given)
    return len(images), found.flat().shape[1], max(float(found.meta["images_per_second"]), 0.1)


def _seconds(options: ClusterOptions, images: int, width: int) -> float:
    width = min(width, options.width or width)
    if options.method == "hdbscan":
        return _SECONDS_FIXED + _SECONDS_PAIRS * min(images, HDBSCAN_ROWS) ** 2
    search = _SECONDS_AUTO if options.k == AUTO else 0.0
    if options.method == "agglomerative":
        return _SECONDS_FIXED + search + _SECONDS_PAIRS * images**2
    return _SECONDS_FIXED + search + _SECONDS_EACH * images * width * (options.k or _USUAL_K)


def _bytes(options: ClusterOptions, images: int, width: int) -> int:
    pairs = 4 * images**2 if options.method == "agglomerative" else 0
    return 4 * width * (images + _COPIES_OF_SAMPLE * min(images, SAMPLE_ROWS)) + pairs
