"""Who looks on while a command works. The engine and the tasks tell a `ProgressReporter`; the command line shows it."""


class ProgressReporter:
    """Hears everything and says nothing: the default of every library call."""

    def line(self, text: str) -> None:
        """Hear a plain sentence about what was found or decided."""

    def warn(self, text: str) -> None:
        """Hear about something that a user may want to change."""

    def progress(self, work: str, done: int, total: int, detail: str = "") -> None:
        """Hear how far some work is.

        Args:
            work: Its name; the same words each time.
            done: Units done so far.
            total: Units in all.
            detail: Numbers worth watching, already words.
        """
