"""Progress reports: every layer calls a `ProgressReporter`; the command line subclasses it to print them."""

import logging

_LOG = logging.getLogger("dinocli")


class ProgressReporter:
    """Discards every report; a subclass shows them."""

    def line(self, text: str) -> None:
        """Report a finding or a decision, one sentence."""

    def warn(self, text: str) -> None:
        """Report something that the user may want to change."""

    def stage(self, work: str, total: int = 0) -> None:
        """Report the start or restart of a stage, which lasts until the next one starts.

        Args:
            work: Name of the stage, constant over calls.
            total: Total units; 0 if unknown.
        """

    def advance(self, units: int = 1) -> None:
        """Report finished units of the current stage."""

    def progress(self, work: str, done: int, total: int, detail: str = "") -> None:
        """Report the progress of a stage, which becomes the current one.

        Args:
            work: Name of the stage, constant over calls.
            done: Units done so far.
            total: Total units.
            detail: Metrics as text; empty keeps the previous ones.
        """


class LogReporter(ProgressReporter):
    """Logs lines and warnings as the logger `dinocli`: the default of library calls. Stages are discarded."""

    def line(self, text: str) -> None:
        _LOG.info("%s", text)

    def warn(self, text: str) -> None:
        _LOG.warning("%s", text)
