"""`dinocli search`: parse, one library call, present."""

import sys
from typing import Annotated, Any

import typer

from dinocli.cli import options as opt

EPILOG = "Example: dinocli search defect.png --in feats.npy -n 20 --sheet found.png | cut -f4"

Queries = Annotated[
    list[str],
    typer.Argument(
        help="Images (files, folders, globs, @list.txt, -), names of rows of the file, or a feature file.",
        metavar="QUERY...",
    ),
]


@opt.grouped(terminal=opt.terminal_options)
def search(
    queries: Queries,
    null: opt.Null = False,
    features: Annotated[
        str,
        typer.Option(
            "--in", "-i", help="Feature file to search in.", show_default="the newest one", rich_help_panel="Search"
        ),
    ] = "",
    count: Annotated[int, typer.Option("-n", min=1, help="Results a query.", rich_help_panel="Search")] = 10,
    sheet: Annotated[
        str, typer.Option("--sheet", help="PNG with queries and results side by side.", rich_help_panel="Search")
    ] = "",
    whiten: opt.Whiten = False,
    device: opt.Device = "auto",
    force: opt.Force = False,
    terminal: Any = None,
) -> None:
    """Find the images of a feature file that look most like each query, by exact cosine.

    Prints query, rank, cosine and path, tab-separated. A query is embedded as the file was, or refused.
    """
    from dinocli.cli.render import print_json
    from dinocli.report.text import visible
    from dinocli.tasks.search.search import SearchOptions
    from dinocli.tasks.search.search import search as run

    job = SearchOptions(tuple(queries), features, count, sheet, device, force, null, whiten)
    with terminal:
        answers = run(job, terminal, sys.stdin.buffer)
    if terminal.as_json:
        found = [{"query": query.name, "results": [hit.to_dict() for hit in hits]} for query, hits in answers]
        print_json({"queries": found})
        return
    show = visible if sys.stdout.isatty() else str
    for query, hits in answers:
        for rank, hit in enumerate(hits, 1):
            box = f"\t{','.join(map(str, hit.box))}" if hit.box else ""
            sys.stdout.write(f"{show(query.name)}\t{rank}\t{hit.cosine:.6f}\t{show(str(hit.path or hit.name))}{box}\n")
