"""`embed`: images and weights -> a feature file."""

import json
import platform
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

from dinocli import __version__
from dinocli.engine.progress import ProgressReporter
from dinocli.engine.rare_features import RareFeatures
from dinocli.errors import Interrupted, UsageError
from dinocli.models.tokens import FITTED
from dinocli.tasks.artifacts import check_same, claimed
from dinocli.tasks.embed.embed_options import STDOUT, EmbedOptions, EmbedResult
from dinocli.tasks.embed.embed_setup import EmbedContext, prepare
from dinocli.tasks.embed.feature_formats import check_free, feature_outputs, row_names, write_features
from dinocli.tasks.embed.forward_pass import stream
from dinocli.tasks.embed.image_batches import ImageBatches
from dinocli.tasks.embed.like import following
from dinocli.tasks.embed.partial_features import PartialFeatures
from dinocli.tasks.embed.patch_folder import PatchFolder
from dinocli.tasks.embed.rare_fit import fit_rare, state_file
from dinocli.tasks.embed.row_count import look_at
from dinocli.tasks.embed.stdout_writer import StdoutWriter
from dinocli.tasks.feature_file import KEY, sidecar
from dinocli.tasks.run_folder import SCHEMA, add_output


def embed(
    job: EmbedOptions,
    reporter: ProgressReporter | None = None,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> EmbedResult:
    """Compute one row of features an image, in one pass, and leave a feature file behind.

    Memory does not grow with the number of images, and an interrupted command goes on with `resume` where it stopped.

    Args:
        job: What to do.
        reporter: Hears how far it is.
        stdin: Where `-` reads names from.
        stdout: Where `--out -` writes to.

    Raises:
        DinocliError: Of every kind; there is then no feature file, and no half of one.
        Interrupted: After a signal; `resume` goes on.
    """
    job = following(job)
    reporter, path = reporter or ProgressReporter(), job.path()
    if path is None:
        return _embed(job, reporter, stdin, stdout, None)
    with claimed(*feature_outputs(path)):
        check_free(path, force=job.force, resume=job.resume)
        return _embed(job, reporter, stdin, stdout, path)


def _embed(
    job: EmbedOptions,
    reporter: ProgressReporter,
    stdin: BinaryIO | None,
    stdout: BinaryIO | None,
    path: Path | None,
) -> EmbedResult:
    begin = time.monotonic()
    setting = prepare(job, reporter, stdin)
    if path and path.exists() and not job.force:
        return _already(path, setting.request(job), reporter, begin)
    pictures = look_at(setting, job, reporter)
    if path is None:
        assert stdout is not None
        return _send(setting, pictures, job, reporter, stdout, begin)
    request = setting.request(job)
    part: PartialFeatures | PatchFolder
    if job.to_folder:
        part = PatchFolder(path, setting.images.names, request, job.dtype, resume=job.resume)
    else:
        part = PartialFeatures(path, request, setting.shape, job.dtype, resume=job.resume)
    try:
        setting = _fitted(setting, pictures, part, job, reporter)
        return _fill(setting, pictures, part, request, job, reporter, begin)
    finally:
        part.close()


def _fitted(
    setting: EmbedContext,
    pictures: ImageBatches,
    part: PartialFeatures | PatchFolder,
    job: EmbedOptions,
    reporter: ProgressReporter,
) -> EmbedContext:
    """Fit the features to the images where they need it, unless an interrupted command had done so."""
    if job.tokens not in FITTED or isinstance(setting.tokens, RareFeatures):
        return setting
    path = state_file(part.target)
    if part.pieces and path.is_file():
        return replace(setting, tokens=RareFeatures.load(path).to(setting.device))
    features, known = fit_rare(setting, pictures, job, reporter)
    features.save(path)
    pictures.known = known
    return replace(setting, tokens=features)


def _fill(
    setting: EmbedContext,
    pictures: ImageBatches,
    part: PartialFeatures | PatchFolder,
    request: dict[str, Any],
    job: EmbedOptions,
    reporter: ProgressReporter,
    begin: float,
) -> EmbedResult:
    if part.pieces:
        reporter.line(f"going on after {part.pieces} of {len(pictures)}")
    before, started = part.pieces, time.monotonic()
    try:
        stream(setting, pictures, part, job, reporter)
    except Interrupted as interrupted:
        ways = "run the same command with --resume to go on" if job.note else "nothing is kept, so start it anew"
        words = f"{interrupted}; {ways}"
        raise Interrupted(words, interrupted.signal) from None
    speed = (len(pictures) - before) / (time.monotonic() - started)
    bad = [*setting.images.bad, *part.bad]
    left_out = () if job.keeps_positions else [name for name, _ in part.bad]
    names = row_names(setting.images.names, pictures.starts_N1, left_out)
    seconds, root = time.monotonic() - begin, str(setting.images.root)
    shape = setting.row_shape(job)
    outcome = EmbedResult(part.target, part.rows, shape, len(setting.images), len(bad), seconds, speed, root)
    fitted = setting.tokens if isinstance(setting.tokens, RareFeatures) else None
    meta = _meta(setting, job, request, outcome)
    write_features(part, names, meta, bad, tiled=pictures.tiling is not None, fitted=fitted)
    state_file(part.target).unlink(missing_ok=True)
    if bad:
        reporter.warn(f"{len(bad)} images cannot be read; they are named in {sidecar(part.target, '.bad.csv')}")
    if setting.run and job.note and not (job.shard or job.to_folder):
        add_output(setting.run, KEY, part.target, reporter)
    return outcome


def _send(
    setting: EmbedContext,
    pictures: ImageBatches,
    job: EmbedOptions,
    reporter: ProgressReporter,
    stdout: BinaryIO,
    begin: float,
) -> EmbedResult:
    pipe, started = StdoutWriter(stdout, len(pictures), setting.shape, job.dtype), time.monotonic()
    stream(setting, pictures, pipe, job, reporter)
    pipe.commit()
    speed = len(pictures) / (time.monotonic() - started)
    for name, reason in pipe.bad:
        reporter.warn(f"{name}: {reason}; its row is NaN")
    bad = len(pipe.bad) + len(setting.images.bad)
    return EmbedResult(None, pipe.rows, setting.shape, len(setting.images), bad, time.monotonic() - begin, speed)


def _already(path: Path, request: dict[str, Any], reporter: ProgressReporter, begin: float) -> EmbedResult:
    """Answer `resume` where nothing is left to do."""
    try:
        meta = json.loads(sidecar(path, ".json").read_text(encoding="utf-8"))
        check_same(meta["request"], request, str(path))
    except (OSError, ValueError, KeyError):
        raise UsageError(f"{path} is there already, not by this command; add --force or change --out") from None
    reporter.line(f"{path} is complete already")
    shape = tuple(meta["shape"][1:])
    seconds, root = time.monotonic() - begin, meta["root"]
    return EmbedResult(path, meta["n"], shape, meta["images"], meta["bad"], seconds, 0.0, root)


def _meta(setting: EmbedContext, job: EmbedOptions, request: dict[str, Any], outcome: EmbedResult) -> dict[str, Any]:
    """Gather what `feats.json` keeps: enough to know what the numbers are, and to make them again."""
    return {
        "schema": SCHEMA,
        "kind": KEY,
        "n": outcome.rows,
        "dim": outcome.shape[-1],
        "shape": [outcome.rows, *outcome.shape],
        "images": outcome.images,
        "bad": outcome.bad,
        "tokens": job.tokens,
        "layers": job.layers,
        "normalize": job.normalize,
        "normalized": job.normalize or job.tokens in FITTED,
        "whitened": job.tokens in FITTED,
        "like": job.like,
        "dtype": job.dtype,
        "precision": setting.precision,
        "device": str(setting.device),
        "tile": job.tile,
        "keep_aspect": job.keep_aspect,
        "shard": job.shard,
        "weights": setting.info.to_dict(),
        "preprocess": setting.preprocess.to_dict(),
        "root": str(setting.images.root),
        "inputs": [name if name == STDOUT else str(Path(name).absolute()) for name in job.inputs],
        "run": str(setting.run.path.resolve()) if setting.run else "",
        "request": request,
        "versions": {
            "dinocli": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "timm", "numpy", "pillow")},
        },
        "seconds": round(outcome.seconds, 2),
        "images_per_second": round(outcome.images_per_second, 1),
    }
