"""Progress reports. The engine and the tasks call a `ProgressReporter`; the command line shows what it gets."""


class ProgressReporter:
    """Discards every report: the default of library calls."""

    def line(self, text: str) -> None:
        """Report what was found or decided, one sentence."""

    def warn(self, text: str) -> None:
        """Report something that the user may want to change."""

    def progress(self, work: str, done: int, total: int, detail: str = "") -> None:
        """Report how far some work is.

        Args:
            work: Its name; the same words each time.
            done: Units done so far.
            total: Units in all.
            detail: Numbers worth watching, already words.
        """
