"""Output of `dinocli classify`."""

from typing import TYPE_CHECKING

from dinocli.cli.render import Terminal, print_result

if TYPE_CHECKING:
    from dinocli.tasks.classify.classify_options import ClassifyResult

MAX_ROWS = 40


def show_classification(terminal: Terminal, outcome: "ClassifyResult") -> None:
    """Show a table of the classes on stderr, and the path of the table of all images on stdout."""
    rows = [
        [one.name, f"{one.labelled:,}", f"{one.predicted:,}", f"{one.unsure:,}", _share(one.recall)]
        for one in outcome.classes[:MAX_ROWS]
    ]
    terminal.table("Classes", ["", "labelled", "predicted", "unsure", "recall"], rows)
    if len(outcome.classes) > MAX_ROWS:
        terminal.line(f"and {len(outcome.classes) - MAX_ROWS} more classes; --json has all")
    if outcome.accuracy is not None:
        terminal.line(
            f"{outcome.method}: accuracy {outcome.accuracy:.3f}, mean recall {_share(outcome.balanced_accuracy)} by "
            "cross-validation on the labelled images"
        )
    if outcome.threshold:
        terminal.line(
            f"{outcome.accepted:.0%} of the images without a label are accepted, from confidence "
            f"{outcome.threshold:.3f}, for a precision of {outcome.precision:g}"
        )
    terminal.ending(outcome.files, outcome.next_commands())
    print_result(terminal, outcome.to_dict(), outcome.out)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
