"""`cluster --dry-run`: number of images, method, estimated time and memory."""

from dataclasses import replace
from typing import Any, BinaryIO

from dinocli.errors import UsageError
from dinocli.progress import ProgressReporter
from dinocli.quality.hdbscan import HDBSCAN_ROWS
from dinocli.quality.kmeans import SAMPLE_ROWS
from dinocli.tasks.cluster.cluster_inputs import open_members
from dinocli.tasks.cluster.cluster_options import AUTO, ClusterOptions
from dinocli.tasks.feature_inputs import embed_options, takes_features

_BASE_BYTES, _NETWORK_BYTES = 300 << 20, 700 << 20
_COPIES_OF_SAMPLE = 4
# Measured by `benchmarks/cluster.py growth` on two cores: per row, value and group; constant part; search for k.
_SECONDS_EACH, _SECONDS_FIXED, _SECONDS_AUTO, _USUAL_K = 2e-9, 5.0, 10.0, 10
_SECONDS_PAIRS = 12.0 / HDBSCAN_ROWS**2  # per pair of images, of methods that compare pairs


def dry_run(
    options: ClusterOptions, reporter: ProgressReporter | None = None, stdin: BinaryIO | None = None
) -> dict[str, Any]:
    """Return what `cluster` would do as JSON-like data; nothing is written.

    The time of embedding is measured on a few images; 0 if the features exist. The time of grouping is estimated from
    the number of rows, values and groups on two cores, without page and sheet. The memory counts memory-mapped features
    in full.

    Raises:
        DinocliError: An error that would stop the command at once.
    """
    reporter = reporter or ProgressReporter()
    replace(options, force=True).check_outputs()  # a plan may name an output that exists
    if takes_features(options):
        members = open_members(options, reporter, stdin)
        images, width, embedding, network = len(members), members.flat().shape[1], 0.0, 0
    else:
        from dinocli.tasks.embed.embed_dry_run import dry_run as embed_dry_run

        found = embed_dry_run(embed_options(options), reporter, stdin)
        images, width, embedding, network = found["rows"], found["shape"][-1], found["seconds"], _NETWORK_BYTES
    if options.k > images:
        raise UsageError(f"-k {options.k} asks for more groups than there are images ({images})")
    return {
        "images": images,
        "width": width,
        "method": options.method,
        "k": options.k or (None if options.method == "hdbscan" else "auto"),
        "seconds_embedding": embedding,
        "seconds_grouping": round(_seconds(options, images, width), 3),
        "memory_bytes": _BASE_BYTES + network + _bytes(options, images, width),
        "files": [*map(str, options.outputs()), *([options.link_dir] if options.link_dir else [])],
    }


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
