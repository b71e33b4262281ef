"""`dinocli.search`: find the images of a feature file that are most similar to a query.

Shapes: Q queries, D width.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dinocli.artifacts.default_features import default_features
from dinocli.artifacts.feature_differences import check_comparable
from dinocli.artifacts.feature_file import FeatureFile, open_features
from dinocli.artifacts.protected_files import check_free
from dinocli.artifacts.row_names import find_row, is_same_image, missing_row
from dinocli.data.sources import find_images
from dinocli.data.stored_reading import check_stored
from dinocli.errors import DataError, UsageError, WeightsError
from dinocli.file_set import claimed
from dinocli.progress import LogReporter, ProgressReporter
from dinocli.quality.nearest_rows import nearest_rows
from dinocli.quality.normalized_features import NormalizedFeatures, block_threads, single_threaded
from dinocli.quality.rocchio import combined_query
from dinocli.quality.whitening import fit_whitening
from dinocli.report.search_sheet import Hit, Query, write_sheet
from dinocli.tasks.feature_inputs import is_features, open_stored
from dinocli.tasks.search.search_options import SearchOptions, SearchResult

_NOT_EMBEDDED = np.empty(0, np.float32)


def search(
    options: SearchOptions, reporter: ProgressReporter | None = None, stdin: BinaryIO | None = None
) -> SearchResult:
    """Find the images of a feature file that are most similar to each query, by cosine.

    A query image is embedded with the weights and preprocessing of the feature file. A row of the file is not embedded
    again, and is excluded from its own results.

    Example:
        >>> found = dinocli.search(dinocli.SearchOptions(("images/a/0.png",), "feats.npy", count=3))
        >>> query, hits = found.answers[0]
        >>> [hit.name for hit in hits][0]
        './a/0.png'

    Args:
        options: Queries and feature file.
        reporter: Receives notes on what was chosen.
        stdin: Standard input, for `-`.

    Raises:
        WeightsError: The feature file or its weights cannot be used, or query features have other weights or
            preprocessing.
        DataError: A query cannot be read.
        UsageError: The sheet exists, a query is a file and also the row name of another image, or an index is asked for
            with whitened rows.
    """
    sheets = [Path(options.sheet)] if options.sheet else []
    inputs = (*options.queries, *options.unlike, options.features)
    check_free(sheets, force=options.force, options="--sheet", inputs=inputs)
    with claimed(*sheets):
        return _search(options, reporter or LogReporter(), stdin)


def _search(options: SearchOptions, reporter: ProgressReporter, stdin: BinaryIO | None) -> SearchResult:
    advice = "name a feature file with --in, or make one with `dinocli embed`"
    path = Path(options.features) if options.features else default_features(reporter, advice=advice)
    file = open_stored(path, reporter)
    reporter.stage("embedding the queries")
    queries = _all_queries(options, file, stdin, reporter)
    features_QD = np.stack([query.feature_D for query in queries])
    own_row_Q = np.array([query.row for query in queries])
    whiten = file.needs_whitening(options.whiten, reporter.line)
    reporter.stage(f"searching {len(file.names):,} rows")
    count = options.count + max(len(query.parts) for query in queries)  # parts of a combined query are excluded below
    if options.index and whiten:
        raise UsageError("--index searches the rows as they are: leave --whiten out")
    with single_threaded():
        if options.index:
            from dinocli.artifacts.search_index import open_index  # loads scikit-learn
            from dinocli.quality.inverted_lists import nearest_in_lists

            index = open_index(file, reporter.line)
            nearest = nearest_in_lists(features_QD, file.flat(), index, count, leave_out=own_row_Q)
        else:
            whitening = fit_whitening(NormalizedFeatures(file.flat())) if whiten else None
            nearest = nearest_rows(
                features_QD, file.flat(), count, leave_out=own_row_Q, projection=whitening, threads=block_threads()
            )
    answers = []
    for query, rows, cosines in zip(queries, nearest.rows_QK.tolist(), nearest.cosine_QK.tolist(), strict=True):
        pairs = [
            pair for pair in zip(rows, cosines, strict=True) if pair[0] not in query.parts and np.isfinite(pair[1])
        ]
        hits = [
            Hit(row, file.names[row], file.image(row), file.boxes[row] if file.boxes else None, cosine)
            for row, cosine in pairs[: options.count]
        ]
        answers.append((query, hits))
    if options.sheet:
        reporter.stage("drawing the sheet")
        write_sheet(Path(options.sheet), file, answers, reporter)
    return SearchResult(file.path, file.meta.get("root", ""), answers)


def _all_queries(
    options: SearchOptions, file: FeatureFile, stdin: BinaryIO | None, reporter: ProgressReporter
) -> list[Query]:
    """Return the queries; with `--together` or `--unlike`, one combined query."""
    others = replace(options, queries=options.unlike, rows=(), box=None) if options.unlike else None
    like = _resolved(options, file, stdin, reporter)
    unlike = _resolved(others, file, stdin, reporter) if others else []
    given = [f"--{name}" for name in ("include", "exclude") if getattr(options, name)]
    if given and all(query.feature_D is not _NOT_EMBEDDED for query in [*like, *unlike]):
        raise UsageError(f"{', '.join(given)}: no query is an image, and results are not filtered; leave it out")
    like, unlike = _embedded(like, file, options), _embedded(unlike, file, others or options)
    for query in [*like, *unlike]:
        if not np.isfinite(query.feature_D).all():
            raise DataError(f"the feature of {query.name} is not finite; choose another query")
        if len(query.feature_D) != file.flat().shape[1]:
            words = f"{len(query.feature_D)} values, the rows of {file.path} {file.flat().shape[1]}"
            raise WeightsError(f"the query {query.name} has {words}")
    return [_combined(like, unlike)] if options.together or unlike else like


def _combined(like: list[Query], unlike: list[Query]) -> Query:
    direction_D = combined_query([query.feature_D for query in like], [query.feature_D for query in unlike])
    name = " + ".join(query.name for query in like) + "".join(f" - {query.name}" for query in unlike)
    rows = frozenset(query.row for query in [*like, *unlike] if query.row >= 0)
    return Query(name, like[0].path, -1, direction_D, like[0].box, rows)


def _resolved(
    options: SearchOptions, file: FeatureFile, stdin: BinaryIO | None, reporter: ProgressReporter
) -> list[Query]:
    """Resolve each argument: a feature file, images (not embedded yet), or a row name if no such file exists.

    With a box all arguments are images: the box of an image has no row.
    """
    queries: list[Query] = []
    for given in options.queries:
        row = None if options.box else find_row(file, given)
        if row is not None and is_same_image(given, row, file):
            queries.append(_row_query(given, row, file, reporter))
        elif is_features(given):
            if options.box:
                raise UsageError(f"--box cuts a region out of an image, and {given} is a feature file: name the image")
            other = open_features(Path(given))
            check_comparable(other, file)
            queries += [Query(name, other.image(row), -1, other.flat()[row]) for row, name in enumerate(other.names)]
        else:
            queries += _images(given, options, file, stdin, reporter)
    for name in options.rows:
        row = find_row(file, name)
        if row is None:
            raise UsageError(missing_row(file, name))
        queries.append(_row_query(name, row, file, reporter))
    return queries


def _row_query(given: str, row: int, file: FeatureFile, reporter: ProgressReporter) -> Query:
    tiles = file.names.count(file.names[row]) if file.boxes else 1
    if tiles > 1:
        reporter.line(f"{given} has {tiles} tiles in {file.path}; the query is the first one")
    return Query(given, file.image(row), row, file.flat()[row])


def _images(
    given: str, options: SearchOptions, file: FeatureFile, stdin: BinaryIO | None, reporter: ProgressReporter
) -> list[Query]:
    """List images as queries that are not embedded yet."""
    if file.boxes is not None and not options.box:
        raise UsageError(f"{file.path} holds tiles, so a whole image is not a query: give --box, a row, or features")
    null = options.null and given == "-"
    images = find_images([given], stdin=stdin, null=null, include=options.include, exclude=options.exclude)
    for note in images.notes:
        reporter.line(note)
    if preprocess := file.preprocess():
        for warning in check_stored(images, preprocess, str(file.path)):
            reporter.warn(warning)
    paths = list(map(Path, images.paths()))
    alone = len(paths) == 1 and str(paths[0]) == os.path.abspath(given)
    names = [given] if alone else [os.path.relpath(path) for path in paths]
    return [Query(name, path, -1, _NOT_EMBEDDED, options.box) for name, path in zip(names, paths, strict=True)]


def _embedded(queries: list[Query], file: FeatureFile, options: SearchOptions) -> list[Query]:
    """Embed the image queries as `embed` computed the rows of the file."""
    paths = [query.path for query in queries if query.path and query.feature_D is _NOT_EMBEDDED]
    if not paths:
        return queries
    from dinocli.artifacts.feature_model import feature_model_of  # loads torch, which rows do not need

    # Names relative to the root of the file: a fitted transform recognises images of its own folder by name.
    root = Path(file.meta.get("root", "")).absolute()
    names = [f"./{os.path.relpath(path, root)}" for path in paths]
    try:
        rows = iter(feature_model_of(file, options.device).embed(paths, names=names, box=options.box))
    except DataError as error:
        raise DataError(f"the query {error}") from error
    return [replace(query, feature_D=next(rows)) if query.feature_D is _NOT_EMBEDDED else query for query in queries]
