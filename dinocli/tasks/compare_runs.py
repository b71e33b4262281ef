"""Put runs side by side: the one library call behind `dinocli compare`. Reads what the runs left, and no image."""

from dataclasses import dataclass
from pathlib import Path

from dinocli.artifacts.compared_run import read_run
from dinocli.artifacts.run_comparison import RunComparison, cautions, differing_settings
from dinocli.errors import UsageError
from dinocli.file_set import check_free, claimed
from dinocli.report.comparison_page import write_comparison_page


@dataclass(frozen=True)
class CompareOptions:
    """What a user asked for.

    Args:
        runs: Folders of runs.
        report: Page to write; empty for none.
        force: A page that is there may be replaced.
    """

    runs: tuple[str, ...]
    report: str = ""
    force: bool = False


def compare_runs(options: CompareOptions) -> RunComparison:
    """Read runs, and say what differs and what can be compared.

    Args:
        options: What to do.

    Raises:
        UsageError: No run is named, or the page is there.
        WeightsError: A folder is no run, or damaged.
        OSError: The page cannot be written.
    """
    if not options.runs:
        raise UsageError("name the folders of runs, such as runs/*/")
    runs = [read_run(Path(name)) for name in options.runs]
    found = RunComparison(runs, differing_settings(runs), cautions(runs), options.report)
    if options.report:
        page = Path(options.report)
        check_free([page], force=options.force, options="--report")
        with claimed(page):
            write_comparison_page(page, found)
    return found
