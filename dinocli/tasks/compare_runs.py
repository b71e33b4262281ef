"""Compare training runs (`dinocli compare`) by their recorded files; no image is read."""

from dataclasses import dataclass
from pathlib import Path

from dinocli.artifacts.run_comparison import RunComparison, cautions, differing_settings, read_run
from dinocli.errors import UsageError
from dinocli.file_set import check_free, claimed
from dinocli.report.comparison_page import write_comparison_page


@dataclass(frozen=True)
class CompareOptions:
    """Options of `compare`.

    Args:
        runs: Run folders.
        report: HTML page; empty for none.
        force: Replace an existing page.
    """

    runs: tuple[str, ...]
    report: str = ""
    force: bool = False


def compare_runs(options: CompareOptions) -> RunComparison:
    """Read runs and compare their settings and scores.

    Args:
        options: Runs and page.

    Raises:
        UsageError: No run is given, or the page exists.
        WeightsError: A folder is not a run, or damaged.
        OSError: The page cannot be written.
    """
    if not options.runs:
        raise UsageError("name the folders of runs, such as runs/*/")
    runs = [read_run(Path(name)) for name in options.runs]
    comparison = RunComparison(runs, differing_settings(runs), cautions(runs), options.report)
    if options.report:
        page = Path(options.report)
        check_free([page], force=options.force, options="--report")
        with claimed(page):
            write_comparison_page(page, comparison)
    return comparison
