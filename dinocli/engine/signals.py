"""Ctrl-C and SIGTERM, deferred until the loop can stop cleanly."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Signals:
    """Remembers the first Ctrl-C or SIGTERM for the loop to see; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.number = 0

    def _remember(self, number: int, _: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number

    @contextlib.contextmanager
    def caught(self) -> Iterator["Signals"]:
        """Catch both signals inside the block. Outside the main thread Python allows no handlers: nothing is caught."""
        try:
            before = {number: signal.signal(number, self._remember) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:
            before = {}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
