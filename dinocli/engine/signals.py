"""Deferred handling of Ctrl-C and SIGTERM."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Signals:
    """Stores the first Ctrl-C or SIGTERM for the loop to check; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.number = 0

    def _remember(self, number: int, _: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number

    @contextlib.contextmanager
    def caught(self) -> Iterator["Signals"]:
        """Catch both signals within the context; no effect outside the main thread, where Python allows no handlers."""
        try:
            before = {number: signal.signal(number, self._remember) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:
            before = {}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
