"""Compare training runs (`dinocli compare`) by their recorded files; no image is read."""

from collections.abc import Sequence
from pathlib import Path

from dinocli.artifacts.protected_files import check_free
from dinocli.artifacts.run_comparison import RunComparison, cautions, differing_settings, read_run
from dinocli.errors import UsageError
from dinocli.file_set import claimed
from dinocli.report.comparison_page import write_comparison_page


def compare_runs(folders: Sequence[str], report: str = "", *, force: bool = False) -> RunComparison:
    """Read runs and compare their settings and scores.

    Args:
        folders: Run folders.
        report: HTML page; empty for none.
        force: Replace an existing page.

    Raises:
        UsageError: No run is given, or the page exists.
        WeightsError: A folder is not a run, or damaged.
        OSError: The page cannot be written.
    """
    if not folders:
        raise UsageError("name the folders of runs, such as runs/*/")
    runs = [read_run(Path(name)) for name in folders]
    comparison = RunComparison(runs, differing_settings(runs), cautions(runs), report)
    if report:
        check_free([Path(report)], force=force, options="--report", inputs=folders)
        with claimed(Path(report)):
            write_comparison_page(Path(report), comparison)
    return comparison
