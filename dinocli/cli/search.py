"""`dinocli search`: parse, one library call, present."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import dinocli
from dinocli.cli import options as opt
from dinocli.cli import paths
from dinocli.cli.help_page import examples
from dinocli.cli.option_groups import grouped, options_of, terminal_options

if TYPE_CHECKING:
    from dinocli.cli.render import Terminal
    from dinocli.tasks.search.search_options import SearchResult

EPILOG = examples(
    "dinocli search defect.png --in feats.npy -n 20 --sheet found.png | cut -f4",
    "dinocli search a.png b.png --unlike c.png --in feats.npy",
)
search_option = partial(opt.option, "Search")


@grouped(terminal=terminal_options)
def search(
    queries: Annotated[
        list[str] | None,
        typer.Argument(
            help="Images (files, folders, globs, @list.txt, -), a feature file, or names of rows.",
            show_default=False,
            metavar="QUERY...",
        ),
    ] = None,
    rows: Annotated[list[str] | None, search_option("--row", "Row of the file, by name; repeatable.", "NAME")] = None,
    null: opt.Null = False,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    features: Annotated[
        str,
        search_option(
            "--in, -i",
            "Feature file to search in.",
            "FEATS",
            paths.features,
            show_default="the newest of the newest run",
        ),
    ] = "",
    count: Annotated[int, search_option("-n", "Results per query.", min=1)] = 10,
    sheet: Annotated[str, search_option("--sheet", "PNG with queries and results side by side.", "FILE")] = "",
    box: Annotated[str, search_option("--box", "Search with this part of the query image, pixels.", "X,Y,W,H")] = "",
    together: Annotated[bool, search_option("--together", "Search with the mean of all queries.")] = False,
    unlike: Annotated[
        list[str] | None, search_option("--unlike", "Image that results should not resemble; repeatable.", "QUERY")
    ] = None,
    index: Annotated[
        bool, search_option("--index", "Approximate: read a part of the rows, by a stored index.")
    ] = False,
    whiten: opt.Whiten = False,
    device: opt.Device = "auto",
    force: opt.Force = False,
    terminal: Any = None,
) -> None:
    """Find the images of a feature file that are most similar to each query, by exact cosine.

    Prints query, rank, cosine and path: a table on a terminal, tab-separated in a pipe. A query is embedded as the
    file was, or refused.
    """
    with terminal:
        options = options_of(dinocli.SearchOptions, locals(), box=_box(box) if box else None)
        result = dinocli.search(options, terminal, sys.stdin.buffer)
    if sheet:
        terminal.ending([sheet], [])
    show_found(terminal, result)


def show_found(terminal: "Terminal", result: "SearchResult") -> None:
    """Show a table on a terminal, with paths from the working folder; in a pipe whole paths, tab-separated."""
    from dinocli.cli.render import print_json, print_rows, print_table

    if terminal.as_json:
        print_json(result.to_dict())
        return
    lines = list(_lines(result))
    if sys.stdout.isatty() and lines:
        here = f"{Path.cwd()}/"  # short paths stay whole
        shown = [[cell.removeprefix(here) for cell in line] for line in lines]
        print_table(["query", "rank", "cosine", "path", "tile"][: len(lines[0])], shown, numbers=0)
    else:
        print_rows(lines)


def _lines(result: "SearchResult") -> Iterator[list[str]]:
    for query, hits in result.answers:
        for rank, hit in enumerate(hits, 1):
            row = [query.name, f"{rank}", f"{hit.cosine:.6f}", str(hit.path or hit.name)]
            yield [*row, ",".join(map(str, hit.box))] if hit.box else row


def _box(text: str) -> tuple[int, int, int, int]:
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise typer.BadParameter(f"{text!r}: give left,top,width,height in pixels", param_hint="--box")
    left, top, width, height = map(int, parts)
    return left, top, width, height
