"""`dinocli.embed`: compute the features of images, and write a feature file."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from dinocli.artifacts.feature_arrays import FEATURES_KEY
from dinocli.artifacts.feature_file import read_meta, sidecar
from dinocli.artifacts.feature_formats import check_free, feature_outputs, row_names, write_features
from dinocli.artifacts.feature_model import inside_of
from dinocli.artifacts.partial_features import PartialFeatures
from dinocli.artifacts.patch_folder import PatchFolder
from dinocli.artifacts.run_folder import SCHEMA, add_output
from dinocli.artifacts.stdout_writer import StdoutWriter
from dinocli.config.installed_packages import versions_used
from dinocli.engine.image_batches import ImageBatches
from dinocli.engine.rare_features import RareFeatures
from dinocli.errors import Interrupted, UsageError, counted
from dinocli.file_set import claimed
from dinocli.journal import check_same
from dinocli.models.token_kinds import FITTED
from dinocli.progress import LogReporter, ProgressReporter
from dinocli.tasks.embed.embed_options import EmbedOptions, EmbedResult
from dinocli.tasks.embed.embed_setup import EmbedContext, prepare
from dinocli.tasks.embed.forward_pass import count_rows, write_rows
from dinocli.tasks.embed.rare_fit import fit_rare, state_file
from dinocli.tasks.inputs import absolute_input


def embed(
    options: EmbedOptions,
    reporter: ProgressReporter | None = None,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> EmbedResult:
    """Compute one row of features per image, in one pass, and write a feature file.

    Features with rare patches are fitted to at most 512 of the images first; these are not computed again. Memory use
    does not grow with the number of images. `resume` continues an interrupted command.

    Example:
        >>> options = dinocli.EmbedOptions(("images",), out="feats.npy", weights="runs/mine")
        >>> dinocli.embed(options).rows
        8

    Args:
        options: Images, weights and output.
        reporter: Receives the progress.
        stdin: Standard input, for `-`.
        stdout: Standard output, for `--out -`.

    Raises:
        DinocliError: Any error; no feature file is then written.
        Interrupted: A signal stopped the command; `resume` continues it.
    """
    reporter, path = reporter or LogReporter(), options.path()
    with claimed(*(feature_outputs(path) if path else ())):
        if path:
            check_free(path, force=options.force, resume=options.resume)
        return _embed(options, reporter, stdin, stdout, path)


def _embed(
    options: EmbedOptions,
    reporter: ProgressReporter,
    stdin: BinaryIO | None,
    stdout: BinaryIO | None,
    path: Path | None,
) -> EmbedResult:
    begin = time.monotonic()
    if path is None and stdout is None:
        raise UsageError("--out - is a stream: give embed a binary `stdout`, or name a file")
    context = prepare(options, reporter, stdin)
    options = context.options
    _report_resize(context)
    if path and path.exists() and not options.force:
        return _already_complete(path, context.request(), reporter, begin)
    image_batches = count_rows(context)
    if path is None:
        assert stdout is not None
        return _write_stdout(context, image_batches, stdout, begin)
    request = context.request()
    part: PartialFeatures | PatchFolder
    if options.to_folder:
        part = PatchFolder(path, context.images.names, request, options.dtype, resume=options.resume)
    else:
        part = PartialFeatures(path, request, context.shape, options.dtype, resume=options.resume)
    try:
        context = _fitted(context, image_batches, part)
        return _fill(context, image_batches, part, request, begin)
    except Interrupted as interrupted:
        advice = "run the same command with --resume to continue" if options.note else "nothing was saved: start again"
        raise Interrupted(f"{interrupted}; {advice}", interrupted.signal) from None
    finally:
        part.close()


def _report_resize(context: EmbedContext) -> None:
    """Report that a ViT gets images of another size than its position embedding, unless --size was given."""
    native, size = context.backbone.native_size, context.preprocess.size
    if context.backbone.resamples and size != native and not context.options.size:
        context.reporter.line(
            f"images are resized to {size} px, the position embedding is of {native} px: --size changes it"
        )


def _fitted(context: EmbedContext, image_batches: ImageBatches, part: PartialFeatures | PatchFolder) -> EmbedContext:
    """Fit the features to the images if their kind needs it, or load the fit of an interrupted command."""
    if context.options.tokens not in FITTED or isinstance(context.tokens, RareFeatures):
        return context
    path = state_file(part.target)
    if part.pieces and path.is_file():
        inside_HW = None if context.options.tile else inside_of(context.preprocess)
        return replace(context, tokens=replace(RareFeatures.load(path).to(context.device), inside_HW=inside_HW))
    features, known = fit_rare(context, image_batches)
    if features.share < 1:
        context.reporter.line(
            f"fitted to {len(features.images)} images: rare patches have {features.share:.0%} of the weight"
        )
    features.save(path)
    image_batches.known = known
    return replace(context, tokens=features)


def _fill(
    context: EmbedContext,
    image_batches: ImageBatches,
    part: PartialFeatures | PatchFolder,
    request: dict[str, Any],
    begin: float,
) -> EmbedResult:
    options, reporter = context.options, context.reporter
    if part.pieces:
        reporter.line(f"continuing after {part.pieces} of {len(image_batches)}")
    before, started = part.pieces, time.monotonic()
    write_rows(context, image_batches, part)
    speed = (len(image_batches) - before) / (time.monotonic() - started)
    bad = [*context.images.bad, *part.bad]
    left_out = () if options.keeps_positions else [name for name, _ in part.bad]
    names = row_names(context.images.names, image_batches.starts_N1, left_out)
    seconds, root = time.monotonic() - begin, str(context.images.root)
    fitted = context.tokens if isinstance(context.tokens, RareFeatures) else None
    if fitted and not options.like:  # the fit has already computed some rows
        speed = (len(image_batches) - before) / seconds
    outcome = EmbedResult(
        part.target, part.rows, context.row_shape, len(context.images), len(bad), seconds, speed, root
    )
    tiled = image_batches.tiling is not None
    write_features(part, names, _meta(context, request, outcome), bad, tiled=tiled, fitted=fitted)
    state_file(part.target).unlink(missing_ok=True)
    if bad:
        where = sidecar(part.target, ".bad.csv")  # deleted with the temporary features of another command
        named = f"they are named in {where}" if options.note else f"the first is {': '.join(bad[0])}"
        reporter.warn(f"{counted(len(bad), 'image')} cannot be read; {named}")
    if context.run and options.note and not (options.shard or options.to_folder):
        add_output(context.run, FEATURES_KEY, part.target, reporter)
    return outcome


def _write_stdout(context: EmbedContext, image_batches: ImageBatches, stdout: BinaryIO, begin: float) -> EmbedResult:
    if context.images.reordered:
        context.reporter.warn(
            "rows are in the sorted order of the distinct image names, not in that of the list; --out FILE.npy names "
            "each row in FILE.paths.txt"
        )
    pipe = StdoutWriter(stdout, len(image_batches), context.shape, context.options.dtype)
    started = time.monotonic()
    write_rows(context, image_batches, pipe)
    pipe.commit()
    speed = len(image_batches) / (time.monotonic() - started)
    for name, reason in pipe.bad:
        context.reporter.warn(f"{name}: {reason}; its row is NaN")
    bad = len(pipe.bad) + len(context.images.bad)
    return EmbedResult(None, pipe.rows, context.shape, len(context.images), bad, time.monotonic() - begin, speed)


def _already_complete(path: Path, request: dict[str, Any], reporter: ProgressReporter, begin: float) -> EmbedResult:
    """Return the result of `resume` on a complete file."""
    meta = read_meta(path)
    if not meta:
        raise UsageError(f"{path} already exists, not by this command; add --force or change --out")
    check_same(meta["request"], request, str(path))
    reporter.line(f"{path} is complete already")
    return EmbedResult.of_meta(path, meta, time.monotonic() - begin)


def _meta(context: EmbedContext, request: dict[str, Any], outcome: EmbedResult) -> dict[str, Any]:
    """Return the metadata of `feats.json`: everything that is needed to compute the features again."""
    options = context.options
    return {
        "schema": SCHEMA,
        "kind": FEATURES_KEY,
        "n": outcome.rows,
        "dim": outcome.shape[-1],
        "shape": [outcome.rows, *outcome.shape],
        "images": outcome.images,
        "bad": outcome.bad,
        "tokens": options.tokens,
        "layers": options.layers,
        "normalize": options.normalize,
        "normalized": options.normalize or options.tokens in FITTED,
        "whitened": options.tokens in FITTED,
        "fitted": context.tokens.digest() if isinstance(context.tokens, RareFeatures) else "",
        "rare_share": context.tokens.share if isinstance(context.tokens, RareFeatures) else 0.0,
        "like": options.like,
        "dtype": options.dtype,
        "precision": context.precision,
        "device": str(context.device),
        "tile": options.tile,
        "keep_aspect": options.keep_aspect,
        "shard": options.shard,
        "max_bad": context.data.max_bad,
        "weights": context.info.to_dict(),
        "preprocess": context.preprocess.to_dict(),
        "root": str(context.images.root),
        "inputs": [absolute_input(name) for name in options.inputs],
        "run": str(context.run.path.resolve()) if context.run else "",
        "request": request,
        "versions": versions_used(),
        "seconds": round(outcome.seconds, 2),
        "images_per_second": round(outcome.images_per_second, 1),
    }
