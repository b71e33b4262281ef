"""One process that has torch and the package loaded, from which tests fork theirs: an import takes seconds, a fork not.

There is one such server for each process of pytest; a second list of modules would replace the first.
"""

import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

LOADED = (
    "dinocli.artifacts.run_list",
    "dinocli.cli.app",
    "dinocli.cli.render",
    "dinocli.cli.show_classify",
    "dinocli.cli.show_cluster",
    "dinocli.cli.show_compare",
    "dinocli.cli.show_embed",
    "dinocli.cli.show_evaluate",
    "dinocli.cli.show_segment",
    "dinocli.tasks.classify.classify",
    "dinocli.tasks.classify.classify_dry_run",
    "dinocli.tasks.cluster.cluster",
    "dinocli.tasks.cluster.cluster_dry_run",
    "dinocli.tasks.compare_runs",
    "dinocli.tasks.embed.distributed_embed",
    "dinocli.tasks.embed.embed",
    "dinocli.tasks.embed.embed_dry_run",
    "dinocli.tasks.embed.merge_shards",
    "dinocli.tasks.evaluate.evaluate",
    "dinocli.tasks.export.export",
    "dinocli.tasks.search.search",
    "dinocli.tasks.segment.answers",
    "dinocli.tasks.segment.segment",
    "dinocli.tasks.train.dry_run",
    "dinocli.tasks.train.train",
    "sklearn.manifold",
    "torch.distributed",
    "torch.utils.serialization",
    "typer._adapters",
    "typer._click.decorators",
    "tests.networks",
    "tests.warmed",
)

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([*LOADED])


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a plain environment: one thread, no network wanted, 80 columns, the package of this checkout."""
    inherited = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME") if key in os.environ}
    ours = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "80", "PYTHONPATH": str(ROOT)}
    return {**inherited, **ours, **(more or {})}


def start(process: BaseProcess) -> None:
    """Start a process of `FORKS`; the first one starts the server, where torch reads its number of threads."""
    before = dict(os.environ)
    os.environ.update(environment())
    try:
        process.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
