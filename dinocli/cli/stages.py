"""The stages of a command and how far each is: a live table on a terminal, plain lines elsewhere.

A thread of its own draws and beats, so that neither a long import nor a long sum leaves the user in doubt. A rate is
units over the time since the stage began, pauses included, and the estimate of what is left is made of the same two
numbers: what a run spends on probes between two steps is part of both.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

HEARTBEAT_SECONDS = 30.0
"""Longest silence where no terminal is."""

REFRESHES = 4
"""Of the live table, per second."""

WORTH_A_LINE = 1.0
"""Seconds of a stage without units below which it has no line of its own where no terminal is."""

WIDE, WIDEST_NAME = 100, 34
"""Of a terminal, from which there is room for a long bar; of the names of stages. Cells."""

WAIT_FOR_RATE = 1.0
"""Seconds of a stage before its rate is shown: the first units wait for caches and compilers."""


@dataclass
class Stage:
    """One stage.

    Args:
        work: Its name.
        total: Units in all; 0 if unknown.
        done: Units done.
        detail: Numbers worth watching.
        seconds: Spent in it, without its present turn.
        since: When its present turn began, monotonic seconds.
        first: Units that were done when its rate began to count, and when that was.
        ended: Nothing more is to come.
    """

    work: str
    total: int
    done: int
    detail: str
    seconds: float
    since: float
    first: tuple[int, float]
    ended: bool = False

    def spent(self, now: float, *, present: bool) -> float:
        """Return the seconds spent in it."""
        return self.seconds + (now - self.since if present else 0.0)

    def rate(self, now: float) -> float:
        """Return units per second; 0 where it is too early to tell."""
        units, seconds = self.done - self.first[0], now - self.first[1]
        return units / seconds if units > 0 and seconds >= WAIT_FOR_RATE else 0.0

    def left(self, now: float) -> float:
        """Return the estimated seconds until it ends; 0 if unknown."""
        rate = self.rate(now)
        return (self.total - self.done) / rate if rate and self.total else 0.0


class StageDisplay:
    """Shows the stages of one command.

    Args:
        console: Of stderr.
        say: Prints a plain line.
        safe: Escapes control characters where a terminal would obey them.
    """

    def __init__(self, console: Console, say: Callable[[str], None], safe: Callable[[str], str]) -> None:
        self._console, self._say, self._safe = console, say, safe
        self._stages: dict[str, Stage] = {}
        self._present: Stage | None = None
        self._opened = self._spoke = time.monotonic()
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._live: Live | None = None
        self._beats: threading.Thread | None = None

    def open(self) -> None:
        """Begin to show."""
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self.table,
                console=self._console,
                refresh_per_second=REFRESHES,
                redirect_stdout=False,  # a result on a piped stdout is not to land on the terminal
                redirect_stderr=False,
            )
            self._live.start()
        else:
            self._beats = threading.Thread(target=self._beat_on, daemon=True)
            self._beats.start()

    def close(self, *, whole: bool = True) -> None:
        """Stop showing.

        Args:
            whole: The command has come to its end, and with it the present stage.
        """
        with self._lock:
            if self._closed.is_set():
                return
            self._leave(whole=whole)
            self._closed.set()
        if self._live:
            self._live.transient = not whole and time.monotonic() - self._opened < WORTH_A_LINE
            self._live.stop()
        if self._beats:
            self._beats.join()

    def begin(self, work: str, total: int) -> None:
        """Begin a stage, or begin it anew."""
        with self._lock:
            stage, now = self._enter(work), time.monotonic()
            stage.done, stage.total, stage.detail, stage.first, stage.ended = 0, total, "", (0, now), False

    def advance(self, units: int) -> None:
        """Count more units of the present stage."""
        with self._lock:
            if self._present:
                self._present.done += units

    def update(self, work: str, done: int, total: int, detail: str) -> None:
        """Set how far a stage is."""
        with self._lock:
            known = work in self._stages
            stage, now = self._enter(work), time.monotonic()
            if not known or done < stage.done:
                stage.first = (done, now)
            stage.done, stage.total, stage.detail = done, total, detail or stage.detail

    def _enter(self, work: str) -> Stage:
        if self._present and self._present.work == work:
            return self._present
        self._leave(whole=True)
        now = time.monotonic()
        stage = self._stages.setdefault(work, Stage(work, 0, 0, "", 0.0, now, (0, now)))
        stage.since, self._present = now, stage
        return stage

    def _leave(self, *, whole: bool) -> None:
        """End the turn of the present stage; one that is not at its end will have another turn."""
        stage, now = self._present, time.monotonic()
        if stage is None:
            return
        stage.seconds, self._present = stage.spent(now, present=True), None
        stage.ended = whole and (stage.done >= stage.total)
        if stage.ended and not self._live and (stage.total or stage.seconds >= WORTH_A_LINE):
            self._spoke = now
            self._say(self._line(stage, now))

    def _beat_on(self) -> None:
        while not self._closed.wait(0.2):
            self.beat()

    def beat(self) -> None:
        """Print a line if none was printed for this long."""
        with self._lock:
            now = time.monotonic()
            if self._present and not self._live and now - self._spoke >= HEARTBEAT_SECONDS:
                self._spoke = now
                self._say(self._line(self._present, now))

    def _line(self, stage: Stage, now: float) -> str:
        parts = [f"{stage.work} {stage.done}/{stage.total} {stage.done / stage.total:.0%}"] if stage.total else []
        rate = f"{stage.rate(now):.3g}/s" if stage.rate(now) else ""
        left = "" if stage.ended else clock(stage.left(now), "about {} left")
        spent = f"{stage.spent(now, present=stage is self._present):.1f} s"
        return "  ".join(part for part in [*(parts or [stage.work]), stage.detail, rate, spent, left] if part)

    def table(self) -> Table:
        """Draw all stages as they are now."""
        with self._lock:
            now = time.monotonic()
            table = Table.grid(padding=(0, 1))
            table.add_column()
            # Names and numbers stay whole at 80 columns: what is watched beside them gives way.
            widest = max((cell_len(self._safe(stage.work)) for stage in self._stages.values()), default=0)
            table.add_column(min_width=min(widest, WIDEST_NAME))
            for stage in self._stages.values():
                table.add_row(*self._row(stage, now))
            return table

    def _row(self, stage: Stage, now: float) -> list[Text | Spinner | ProgressBar]:
        present = stage is self._present
        mark: Text | Spinner = Text("✓" if stage.ended else " ", style="green")
        if present:
            mark = SPINNER
        spent = Text(clock(stage.spent(now, present=present)), style="dim" if stage.ended else "")
        name = Text(self._safe(stage.work), style="dim" if stage.ended else "", no_wrap=True, overflow="ellipsis")
        count = f"{stage.done:,}/{stage.total:,}" if stage.total else ""
        if stage.ended:
            return [mark, name, Text(""), Text(count, style="dim"), spent, Text(self._safe(stage.detail), style="dim")]
        narrow = self._console.width < WIDE
        bar = ProgressBar(stage.total or None, stage.done, width=6 if narrow else 14, pulse=not stage.total)
        rate = f"{stage.rate(now):.{2 if narrow else 3}g}/s" if stage.rate(now) else ""
        left = clock(stage.left(now), "{} left")
        words = "  ".join(part for part in (left, rate, self._safe(stage.detail)) if part)
        return [mark, name, bar, Text(count), spent, Text(words, no_wrap=True, overflow="ellipsis")]


SPINNER = Spinner("dots")


def clock(seconds: float, words: str = "{}") -> str:
    """Write a duration for people; empty for 0."""
    if seconds <= 0:
        return ""
    whole = round(seconds)
    text = f"{whole} s" if whole < 100 else f"{whole // 60}:{whole % 60:02} min" if whole < 6000 else ""
    return words.format(text or f"{whole / 3600:.1f} h")
