"""Options and result of `search`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinocli.data.region_of_interest import Box
from dinocli.data.sources import check_null
from dinocli.errors import UsageError
from dinocli.report.search_sheet import Hit, Query
from dinocli.tasks.inputs import accept_paths


@dataclass(frozen=True)
class SearchOptions:
    """Options of `search`.

    Args:
        queries: Images, feature files, or row names; an existing file is never taken for the row name of another image.
        features: Feature file; empty for the newest one of the newest run.
        count: Results per query.
        sheet: PNG file with queries and results; empty for none.
        device: Device that embeds queries: auto, cpu, cuda or cuda:N.
        force: Replace an existing sheet.
        null: Names on stdin are separated by NUL.
        whiten: Whiten the rows of the file and the queries before comparing them.
        rows: Row names of the feature file.
        include: Patterns of image names, for queries that are folders or lists.
        exclude: Patterns of image names to leave out of them.
        box: Left, top, width, height in pixels of the upright image; only this part of each query image is searched
            for.
        together: Combine all queries into one.
        unlike: Images, rows or feature files; images similar to them rank lower. The queries are then combined.
        index: Search approximately, by an index beside the feature file, which is built when it is first needed.

    Raises:
        UsageError: A box without an image or without area, a sheet that is not a .png, or no query.
    """

    queries: tuple[str, ...] = ()
    features: str = ""
    count: int = 10
    sheet: str = ""
    device: str = "auto"
    force: bool = False
    null: bool = False
    whiten: bool = False
    rows: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    box: Box | None = None
    together: bool = False
    unlike: tuple[str, ...] = ()
    index: bool = False

    def __post_init__(self) -> None:
        accept_paths(self)
        if not self.queries and not self.rows:
            raise UsageError("give at least one query: an image, the name of a row, or a feature file")
        check_null((*self.queries, *self.unlike), null=self.null)
        if self.sheet and Path(self.sheet).suffix.lower() != ".png":
            raise UsageError(f"--sheet {self.sheet}: the sheet is a .png")
        if self.box and not self.queries:
            raise UsageError("--box is a part of an image: name the image")
        if self.box and (min(self.box[:2]) < 0 or min(self.box[2:]) < 1):
            raise UsageError(f"--box {','.join(map(str, self.box))}: give left,top,width,height in pixels")


@dataclass(frozen=True)
class SearchResult:
    """Result of `search`.

    Args:
        features: Feature file.
        root: Folder that row names are relative to; empty if unknown.
        answers: Each query with its results, highest cosine first.
    """

    features: Path
    root: str
    answers: list[tuple[Query, list[Hit]]]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        queries = [{"query": query.name, "results": [hit.to_dict() for hit in hits]} for query, hits in self.answers]
        return {"features": str(self.features), "root": self.root or None, "queries": queries}
