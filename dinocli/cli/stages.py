"""Progress of a command's stages: a live table on a terminal, plain lines elsewhere.

A separate thread draws and prints, so that output goes on during long imports and computations. The rate is units over
the time since the stage began, pauses included; the time left follows from it. Both thus include the probes that a run
measures between two steps.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

HEARTBEAT_SECONDS = 30.0
"""Longest time between two plain lines."""

REFRESHES_PER_SECOND = 4

MIN_LOGGED_SECONDS = 1.0
"""Shorter stages without units get no plain line."""

LONG_BAR_MIN_WIDTH = 100
"""Width of the terminal from which the progress bar is long, cells."""

MAX_NAME_WIDTH = 34
"""Width of stage names, cells."""

PART_GAP = "  "
"""Between the parts of a line."""

MIN_RATE_SECONDS = 1.0
"""Age of a stage before its rate is shown: the first units wait for caches and compilers."""


@dataclass
class Stage:
    """Progress of a stage. A stage may be left and entered again; each time is one turn.

    Args:
        work: Name of the stage.
        total: Number of all units; 0 if unknown.
        done: Completed units.
        detail: Values to watch, as text.
        seconds: Duration of all completed turns.
        since: Start of the current turn, monotonic seconds.
        rate_start: Completed units, and the time, from which the rate is computed.
        ended: The stage is complete.
    """

    work: str
    total: int
    done: int
    detail: str
    seconds: float
    since: float
    rate_start: tuple[int, float]
    ended: bool = False

    def elapsed(self, now: float, *, current: bool) -> float:
        """Return the duration of all turns, seconds."""
        return self.seconds + (now - self.since if current else 0.0)

    def rate(self, now: float) -> float:
        """Return units per second; 0 during the first `MIN_RATE_SECONDS`."""
        units, seconds = self.done - self.rate_start[0], now - self.rate_start[1]
        return units / seconds if units > 0 and seconds >= MIN_RATE_SECONDS else 0.0

    def remaining(self, now: float) -> float:
        """Return the estimated seconds until the end; 0 if unknown."""
        rate = self.rate(now)
        return (self.total - self.done) / rate if rate and self.total else 0.0


class FittingParts:
    """As many of the parts, most important first, as fit into the width of the column: none is cut."""

    def __init__(self, parts: Iterable[str], style: str = "") -> None:
        self._parts, self._style = [part for part in parts if part], style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        texts = [PART_GAP.join(self._parts[:number]) for number in range(len(self._parts) + 1)]
        yield Text([text for text in texts if cell_len(text) <= options.max_width][-1], self._style, no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, max(1, cell_len(PART_GAP.join(self._parts))))


class StageDisplay:
    """Display of the stages of one command.

    Args:
        console: Console of stderr.
        say: Prints a plain line.
        safe: Escapes control characters if stderr is a terminal.
    """

    def __init__(self, console: Console, say: Callable[[str], None], safe: Callable[[str], str]) -> None:
        self._console, self._say, self._safe = console, say, safe
        self._stages: dict[str, Stage] = {}
        self._current: Stage | None = None
        self._opened = self._last_line = time.monotonic()
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._live: Live | None = None
        self._heartbeat: threading.Thread | None = None

    def open(self) -> None:
        """Start the display."""
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self.table,
                console=self._console,
                refresh_per_second=REFRESHES_PER_SECOND,
                redirect_stdout=False,  # results on a piped stdout must not go to the terminal
                redirect_stderr=False,
            )
            self._live.start()
        else:
            self._heartbeat = threading.Thread(target=self._run_heartbeat, daemon=True)
            self._heartbeat.start()

    def close(self, *, whole: bool = True) -> None:
        """Stop the display.

        Args:
            whole: The command succeeded, so that its current stage is complete.
        """
        with self._lock:
            if self._closed.is_set():
                return
            self._leave(whole=whole)
            self._closed.set()
        if self._live:
            self._live.transient = not whole and time.monotonic() - self._opened < MIN_LOGGED_SECONDS
            self._live.stop()
        if self._heartbeat:
            self._heartbeat.join()

    def begin(self, work: str, total: int) -> None:
        """Start or restart a stage."""
        with self._lock:
            stage, now = self._enter(work), time.monotonic()
            stage.done, stage.total, stage.detail, stage.rate_start, stage.ended = 0, total, "", (0, now), False

    def advance(self, units: int) -> None:
        """Add completed units to the current stage."""
        with self._lock:
            if self._current:
                self._current.done += units

    def update(self, work: str, done: int, total: int, detail: str) -> None:
        """Enter a stage and set its progress."""
        with self._lock:
            known = work in self._stages
            stage, now = self._enter(work), time.monotonic()
            if not known or done < stage.done:
                stage.rate_start = (done, now)
            stage.done, stage.total, stage.detail = done, total, detail or stage.detail

    def _enter(self, work: str) -> Stage:
        if self._current and self._current.work == work:
            return self._current
        self._leave(whole=True)
        now = time.monotonic()
        stage = self._stages.setdefault(work, Stage(work, 0, 0, "", 0.0, now, (0, now)))
        stage.since, self._current = now, stage
        return stage

    def _leave(self, *, whole: bool) -> None:
        """End the turn of the current stage; it is complete if all its units are done."""
        stage, now = self._current, time.monotonic()
        if stage is None:
            return
        stage.seconds, self._current = stage.elapsed(now, current=True), None
        stage.ended = whole and (stage.done >= stage.total)
        if stage.ended and not self._live and (stage.total or stage.seconds >= MIN_LOGGED_SECONDS):
            self._last_line = now
            self._say(self._line(stage, now))

    def _run_heartbeat(self) -> None:
        while not self._closed.wait(0.2):
            self.beat()

    def beat(self) -> None:
        """Print a plain line if none was printed for `HEARTBEAT_SECONDS`."""
        with self._lock:
            now = time.monotonic()
            if self._current and not self._live and now - self._last_line >= HEARTBEAT_SECONDS:
                self._last_line = now
                self._say(self._line(self._current, now))

    def _line(self, stage: Stage, now: float) -> str:
        parts = [f"{stage.work} {stage.done}/{stage.total} {stage.done / stage.total:.0%}"] if stage.total else []
        rate = per_second(stage.rate(now))
        remaining = "" if stage.ended else clock(stage.remaining(now), "about {} left")
        elapsed = f"{stage.elapsed(now, current=stage is self._current):.1f} s"
        return PART_GAP.join(
            part for part in [*(parts or [stage.work]), stage.detail, rate, elapsed, remaining] if part
        )

    def table(self) -> Table:
        """Draw the current state of all stages."""
        with self._lock:
            now = time.monotonic()
            table = Table.grid(padding=(0, 1))
            # At 80 columns names and numbers stay whole; details that do not fit are left out.
            name_width = max((cell_len(self._safe(stage.work)) for stage in self._stages.values()), default=0)
            for width in (None, min(name_width, MAX_NAME_WIDTH), None, None, None):  # mark, name, bar, count, elapsed
                table.add_column(width=width, no_wrap=True)
            for stage in self._stages.values():
                table.add_row(*self._row(stage, now))
            return table

    def _row(self, stage: Stage, now: float) -> list[RenderableType]:
        current = stage is self._current
        mark: Text | Spinner = Text("✓" if stage.ended else " ", style="green")
        if current:
            mark = SPINNER
        elapsed = Text(clock(stage.elapsed(now, current=current)), style="dim" if stage.ended else "")
        name = Text(self._safe(stage.work), style="dim" if stage.ended else "", no_wrap=True, overflow="ellipsis")
        count = f"{stage.done:,}/{stage.total:,}" if stage.total else ""
        if stage.ended:
            detail = FittingParts(self._safe(stage.detail).split(PART_GAP), "dim")
            return [mark, name, Text(""), Text(count, style="dim"), elapsed, detail]
        narrow = self._console.width < LONG_BAR_MIN_WIDTH
        bar = ProgressBar(stage.total or None, stage.done, width=6 if narrow else 14, pulse=not stage.total)
        rate = per_second(stage.rate(now), 2 if narrow else 3)
        remaining = clock(stage.remaining(now), "{} left")
        status = FittingParts((remaining, rate, *self._safe(stage.detail).split(PART_GAP)))
        return [mark, name, bar, Text(count), elapsed, status]


SPINNER = Spinner("dots")


def clock(seconds: float, template: str = "{}") -> str:
    """Format a duration as `42 s`, `5:07 min` or `1.7 h`; empty for 0."""
    if seconds <= 0:
        return ""
    whole = round(seconds)
    text = f"{whole} s" if whole < 100 else f"{whole // 60}:{whole % 60:02} min" if whole < 6000 else ""
    return template.format(text or f"{whole / 3600:.1f} h")


def per_second(rate: float, digits: int = 3) -> str:
    """Format a rate as `0.25/s` or `1,240/s`, with whole numbers from that many digits on; empty for 0."""
    text = f"{rate:,.0f}" if rate >= 10 ** (digits - 1) else f"{rate:.{digits}g}"
    return f"{text}/s" if rate else ""
