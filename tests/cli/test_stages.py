"""Stages of a command: output on a terminal and in a log, rates and estimates."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from dinocli.cli.stages import HEARTBEAT_SECONDS, StageDisplay, clock, per_second


class Clock:
    """Time that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("dinocli.cli.stages.time.monotonic", clock)
    return clock


class Log:
    """A display that is not on a terminal, and its lines; the test beats in place of the thread."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.display = StageDisplay(Console(file=io.StringIO()), self.lines.append, str)


@pytest.fixture
def log(time: Clock) -> Iterator[Log]:
    log = Log()
    yield log
    log.display.close()


def test_a_line_at_the_end_of_each_stage_that_counts_or_lasts(log: Log, time: Clock) -> None:
    log.display.begin("loading libraries", 0)
    time.now += 5
    log.display.begin("listing images", 0)
    time.now += 0.2
    log.display.update("reading images", 3, 3, "")
    log.display.close()
    assert log.lines == ["loading libraries  5.0 s", "reading images 3/3 100%  0.0 s"]


def test_no_silence_longer_than_the_heartbeat(log: Log, time: Clock) -> None:
    log.display.begin("grouping", 0)
    spoke = []
    for _ in range(100):
        time.now += 1
        before = len(log.lines)
        log.display.beat()
        spoke += [time.now] * (len(log.lines) - before)
    assert spoke == [100 + HEARTBEAT_SECONDS * turn for turn in (1, 2, 3)]
    assert log.lines[0] == "grouping  30.0 s"


def test_rate_and_estimate_count_the_pauses(log: Log, time: Clock) -> None:
    """Ten steps of 1 s, a probe of 10 s, thirty more steps: the 60 that are left will have their probes too."""
    log.display.update("training", 0, 100, "")
    time.now += 10
    log.display.update("training", 10, 100, "loss 5.1")
    log.display.begin("probing", 30)
    time.now += 10
    log.display.advance(30)
    log.display.update("training", 10, 100, "")
    time.now += 30
    log.display.update("training", 40, 100, "")
    log.display.beat()
    assert log.lines == [
        "probing 30/30 100%  3/s  10.0 s",
        "training 40/100 40%  loss 5.1  0.8/s  40.0 s  about 75 s left",
    ]


def test_units_done_before_a_resume_do_not_count_in_the_rate(log: Log, time: Clock) -> None:
    log.display.update("embedding", 900, 1000, "")
    time.now += 40
    log.display.update("embedding", 910, 1000, "")
    log.display.beat()
    assert log.lines == ["embedding 910/1000 91%  0.25/s  40.0 s  about 6:00 min left"]


@pytest.mark.parametrize(
    ("rate", "digits", "text"),
    [
        (0.0, 3, ""),
        (0.25, 3, "0.25/s"),
        (12.34, 3, "12.3/s"),
        (1240.4, 3, "1,240/s"),
        (0.8333, 2, "0.83/s"),
        (9.96, 2, "10/s"),
        (148.6, 2, "149/s"),
    ],
)
def test_a_rate_has_no_exponent(rate: float, digits: int, text: str) -> None:
    assert per_second(rate, digits) == text


def test_a_command_that_fails_does_not_call_its_stage_ended(log: Log, time: Clock) -> None:
    log.display.update("reading images", 3, 3, "")
    time.now += 5
    log.display.close(whole=False)
    assert log.lines == []


def test_a_terminal_shows_all_stages_with_bar_rate_and_estimate(time: Clock) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    display = StageDisplay(console, lambda _: None, lambda text: text.replace("\x1b", "?"))
    display.update("reading images", 12, 12, "")
    display.update("training", 1, 40, "")
    time.now += 8
    display.update("training", 5, 40, "loss\x1b 5.2")
    console.print(display.table())
    done, present = (line.rstrip() for line in screen.getvalue().splitlines())
    assert done.split() == ["✓", "reading", "images", "12/12"]
    words = present.split()
    assert words[1] == "training"
    assert {"5/40", "8", "0.5/s", "70", "left", "loss?", "5.2"} <= {*words}
    assert "━" in present


def test_names_and_estimate_are_whole_at_80_columns(time: Clock) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    display = StageDisplay(console, lambda _: None, str)
    display.begin("surveying a sample of the images", 0)
    display.update("training", 0, 1000, "")
    time.now += 60
    display.update("training", 48, 1000, "loss 5.123  H/lnK 0.18  46 img/s")
    console.print(display.table())
    done, present = (line.rstrip() for line in screen.getvalue().splitlines())
    assert "surveying a sample of the images" in done
    assert all(word in present for word in ("training", "48/1,000", "60 s", "19:50 min left", "0.8/s"))
    assert len(present) <= 80
    time.now += 9
    display.update("training", 1000, 1000, "loss 5.123  H/lnK 0.18  46 img/s")
    display.begin("probing", 0)
    screen.truncate(0)
    console.print(display.table())
    parts = screen.getvalue().splitlines()[1].split("1,000/1,000")[1].split()
    assert parts == ["69", "s", "loss", "5.123"], "what does not fit is left out, not cut"


@pytest.mark.parametrize(("seconds", "text"), [(0, ""), (0.6, "1 s"), (99, "99 s"), (100, "1:40 min"), (7200, "2.0 h")])
def test_durations_are_short_words(seconds: float, text: str) -> None:
    assert clock(seconds) == text
