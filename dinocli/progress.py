"""Progress reports: every layer calls a `ProgressReporter`, and the command line shows what it gets."""


class ProgressReporter:
    """Discards every report: the default of library calls."""

    def line(self, text: str) -> None:
        """Report what was found or decided, one sentence."""

    def warn(self, text: str) -> None:
        """Report something that the user may want to change."""

    def stage(self, work: str, total: int = 0) -> None:
        """Report that a stage of the command begins, or begins anew; it lasts until another one is reported.

        Args:
            work: Its name; the same words each time.
            total: Units in all; 0 if unknown.
        """

    def advance(self, units: int = 1) -> None:
        """Report that more units of the present stage are done."""

    def progress(self, work: str, done: int, total: int, detail: str = "") -> None:
        """Report how far some work is; it becomes the present stage.

        Args:
            work: Its name; the same words each time.
            done: Units done so far.
            total: Units in all.
            detail: Numbers worth watching, already words; empty for those of before.
        """
