"""Record the terminal output of each command at 80 columns, and write docs/terminal.md.

    python demo/prepare.py --out demo-data
    python benchmarks/recordings.py --data demo-data --work runs/recordings

Commands run on a pseudo-terminal whose screen an emulator (pyte) records; time without a change of the screen is a
silence. With `piped`, the command runs once more with stderr in a pipe, to measure the longest time between two lines.
Recordings are saved below the work folder, so an interrupted session can be continued; delete one to record it again.
"""

import argparse
import fcntl
import json
import os
import platform
import pty
import select
import shlex
import struct
import subprocess
import sys
import termios
import textwrap
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyte

from dinocli import __version__

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "terminal.md"
RECORDINGS = "recordings"
"""Folder of the recordings: beside the results, `start.json` would replace what `embed` says about `start.npy`."""

COLUMNS, LINES, KEPT_LINES = 80, 50, 400
READ_BYTES = 65536

HEAD = """\
# What a terminal shows

<!-- Made by benchmarks/recordings.py: run it again after a change, and look at the screens. -->

Each command as a terminal of 80 columns shows it, on the 400 solar cells of `make demo`: dinocli {version}, two cores,
{load}. *Silence* is the longest time in which nothing on the screen changes; *without a terminal*, the longest time
between two lines on stderr, with stderr in a pipe.

"""


@dataclass(frozen=True)
class Command:
    """A command to record.

    Args:
        name: Name of its recording.
        about: Heading of its section: the purpose of the command.
        line: The command line.
        during: Fractions of its duration at which the screen is shown, in addition to its end.
        piped: Text of the command line and its replacement for a second run without a terminal; None for no such run.
    """

    name: str
    about: str
    line: str
    during: tuple[float, ...] = ()
    piped: tuple[str, str] | None = None


@dataclass
class Recording:
    """Output of a command over time.

    Args:
        seconds: Duration of the command.
        code: Exit code.
        silence: Longest time without a change of the screen, seconds.
        screens: (seconds, text) at each change of the screen.
        piped_silence: Longest time between two lines without a terminal, seconds; None if it was not measured.
        piped: Output without a terminal.
    """

    seconds: float = 0.0
    code: int = 0
    silence: float = 0.0
    screens: list[tuple[float, str]] = field(default_factory=list)
    piped_silence: float | None = None
    piped: str = ""


TRAIN = "dinocli finetune-ssl ./images --weights ./weights --recipe grey --steps 12 --batch-size 8"
COMMANDS = (
    Command("doctor", "Is the machine ready?", "dinocli doctor"),
    Command("recipes", "Which recipes are there?", "dinocli recipe list"),
    Command("plan", "What would happen?", f"{TRAIN} --dry-run"),
    Command(
        "train",
        "Adapt",
        f"{TRAIN} --labels folder --out runs/mine",
        during=(0.1, 0.45, 0.8),
    ),
    Command(
        "embed",
        "Features",
        "dinocli embed ./images --weights runs/mine --out mine.npy",
        during=(0.7,),
        piped=("mine.npy", "piped.npy"),
    ),
    Command("start", "Features of the start", "dinocli embed ./images --weights ./weights --out start.npy"),
    Command(
        "cluster",
        "Groups, duplicates, odd images",
        "dinocli cluster mine.npy --out clusters.csv",
        during=(0.7,),
    ),
    Command("search", "The most similar images", "dinocli search ./new/defect --in mine.npy -n 3 --sheet found.png"),
    Command(
        "classify",
        "Labels for all from a few",
        "dinocli classify mine.npy --labels few.csv --suggest 20 --out predictions.csv",
    ),
    Command(
        "evaluate",
        "Better by labels?",
        "dinocli evaluate mine.npy --baseline start.npy --labels folder --report labels.html",
        during=(0.7,),
    ),
    Command(
        "segment",
        "Find defects",
        "dinocli segment ./new --weights runs/mine --method anomaly --reference ./images/good --overlay --out defects",
        during=(0.5,),
    ),
    Command(
        "other",
        "Another run",
        f"{TRAIN} --set optim.lr=5e-4 --out runs/other",
    ),
    Command("rerun", "The same run once more", "dinocli rerun runs/mine --out runs/again"),
    Command(
        "scratch",
        "From random weights",
        "dinocli pretrain ./images --weights none --model vit_tiny_patch16_224 --steps 4 --batch-size 8 --out runs/new",
    ),
    Command("compare", "Two runs side by side", "dinocli compare runs/mine runs/other --report compare.html"),
    Command("runs", "All runs", "dinocli runs"),
    Command("export", "For other programs", "dinocli export runs/mine --format onnx --out mine.onnx"),
    Command("no_folder", "A folder that is not there", "dinocli embed ./imagse --weights ./weights"),
    Command("no_setting", "A setting that is not there", "dinocli finetune-ssl ./images --set optim.learning_rate=1"),
    Command("no_overwriting", "A result that already exists", "dinocli embed ./images --out mine.npy"),
)


def on_terminal(line: str, folder: Path, environment: dict[str, str]) -> Recording:
    """Run a command in a pseudo-terminal and record the screen."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    began = time.monotonic()
    process = subprocess.Popen(
        shlex.split(line), cwd=folder, env=environment, stdin=slave, stdout=slave, stderr=slave, close_fds=True
    )
    os.close(slave)
    chunks = []
    while data := read_output(master):  # nothing else here: a slow reader on a busy machine would add silences
        chunks.append((time.monotonic() - began, data))
    os.close(master)
    code = process.wait()
    return replayed(chunks, time.monotonic() - began, code)


def replayed(chunks: list[tuple[float, bytes]], seconds: float, code: int) -> Recording:
    """Replay the output of a command on the emulated screen.

    Args:
        chunks: Time in seconds since the start, and bytes.
        seconds: Until the end of the command.
        code: Its exit code.
    """
    screen = pyte.Screen(COLUMNS, KEPT_LINES)
    stream = pyte.ByteStream(screen)
    recording, last, changed = Recording(round(seconds, 1), code), "", 0.0
    for now, data in chunks:
        stream.feed(data)
        text = "\n".join(row.rstrip() for row in screen.display).rstrip()
        if text != last:
            recording.screens.append((round(now, 2), text))
            recording.silence, changed, last = max(recording.silence, now - changed), now, text
    recording.silence = round(max(recording.silence, seconds - changed), 2)
    return recording


def read_output(handle: int) -> bytes:
    """Read the available output; empty at the end of the process."""
    select.select([handle], [], [])
    try:
        return os.read(handle, READ_BYTES)
    except OSError:  # Linux raises this once the last writer has closed the pseudo-terminal
        return b""


def in_pipe(line: str, folder: Path, environment: dict[str, str]) -> tuple[float, str]:
    """Run a command without a terminal; return the longest time between two lines of stderr, and all lines."""
    last, longest, lines = time.monotonic(), 0.0, []
    process = subprocess.Popen(
        shlex.split(line), cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for text in process.stderr:
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        lines.append(text)
    if code := process.wait():
        sys.exit(f"{line} ended with exit code {code} without a terminal:\n{''.join(lines)}")
    return round(max(longest, time.monotonic() - last), 1), "".join(lines)


def prepare(work: Path, data: Path) -> dict[str, str]:
    """Prepare the working folder of the commands; return their environment."""
    tools = work / "bin"
    tools.mkdir(parents=True, exist_ok=True)
    (work / RECORDINGS).mkdir(exist_ok=True)
    (tools / "dinocli").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dinocli "$@"\n')
    (tools / "dinocli").chmod(0o755)
    for name, there in (("images", "images"), ("new", "new"), ("weights", "tf_efficientnet_lite0")):
        if not (work / name).exists():
            (work / name).symlink_to((data / there).resolve())
    named = sorted((work / "images").glob("*/*.png"))[::20]
    few = [f"./{path.relative_to(work / 'images')},{path.parent.name}\n" for path in named]
    (work / "few.csv").write_text("path,label\n" + "".join(few))
    kept = ("HOME", "LANG", "OMP_NUM_THREADS", "PYTHONPATH", "TMPDIR")
    inherited = {key: os.environ[key] for key in kept if key in os.environ}
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return {**inherited, "PATH": path, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "HF_HUB_OFFLINE": "1"}


def recorded(command: Command, work: Path, environment: dict[str, str]) -> Recording:
    """Return the recording of a command, made now if there is none."""
    path = work / RECORDINGS / f"{command.name}.json"
    if path.is_file():
        recording = Recording(**json.loads(path.read_text("utf-8")))
    else:
        print(f"$ {command.line}", flush=True)
        recording = on_terminal(command.line, work, environment)
        print(f"  {recording.seconds} s, exit code {recording.code}, silence {recording.silence} s", flush=True)
        path.write_text(json.dumps(asdict(recording)), encoding="utf-8")
    if command.piped and recording.piped_silence is None:
        line = command.line.replace(*command.piped)
        recording.piped_silence, recording.piped = in_pipe(f"{line} --force", work, environment)
        print(f"  without a terminal: silence {recording.piped_silence} s", flush=True)
        path.write_text(json.dumps(asdict(recording)), encoding="utf-8")
    return recording


def part(command: Command, recording: Recording) -> str:
    """Return the section of the page on a command."""
    shown = [f"```text\n$ {command.line}\n```\n"] if command.during else []
    for share in command.during:
        at = share * recording.seconds
        seconds, text = max((screen for screen in recording.screens if screen[0] <= at), default=recording.screens[0])
        shown.append(f"After {seconds:.0f} s:\n\n```text\n{text}\n```\n")
    line = "" if command.during else f"$ {command.line}\n"
    end = recording.screens[-1][1] if recording.screens else ""
    code = f", exit code {recording.code}" if recording.code else ""
    words = (
        f"At the end, after {recording.seconds:.0f} s{code}:" if command.during else f"{recording.seconds:.1f} s{code}:"
    )
    shown.append(f"{words}\n\n```text\n{line}{end}\n```\n")
    if recording.piped:
        shown.append(f"Without a terminal:\n\n```text\n{recording.piped.rstrip()}\n```\n")
    return f"## {command.about}\n\n" + "\n".join(shown)


def page(recordings: dict[str, Recording], load: str) -> str:
    """Return the page: a table of silences, then the screens.

    Args:
        recordings: Recordings by name of the command.
        load: Other load of the machine.
    """
    rows = ["| command | seconds | silence | without a terminal |", "|---|---|---|---|"]
    recorded_commands = [command for command in COMMANDS if command.name in recordings]
    for command in recorded_commands:
        recording = recordings[command.name]
        piped = "" if recording.piped_silence is None else f"{recording.piped_silence:.1f} s"
        label = f"`{' '.join(command.line.split()[:2])}` ({command.about.rstrip('?')})"
        rows.append(f"| {label} | {recording.seconds:.1f} | {recording.silence:.1f} s | {piped} |")
    parts = [part(command, recordings[command.name]) for command in recorded_commands]
    head = [textwrap.fill(text, 120) for text in HEAD.format(version=__version__, load=load).split("\n\n")]
    return "\n\n".join(head) + "\n".join(rows) + "\n\n" + "\n".join(parts)


def main() -> None:
    """Record the missing commands and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="output folder of demo/prepare.py")
    parser.add_argument("--work", type=Path, required=True, help="working folder of the commands")
    parser.add_argument("--load", default="nothing else running", help="other load of the machine, for the page")
    parser.add_argument("--out", type=Path, default=PAGE)
    parser.add_argument("--only", nargs="*", help="record only these, by name; the page shows all recordings")
    options: Any = parser.parse_args()
    work = options.work.resolve()
    environment = prepare(work, options.data)
    chosen = [command for command in COMMANDS if options.only is None or command.name in options.only]
    recordings = {command.name: recorded(command, work, environment) for command in chosen}
    recordings |= {
        command.name: recorded(command, work, environment)
        for command in COMMANDS
        if command.name not in recordings and (work / RECORDINGS / f"{command.name}.json").is_file()
    }
    text = page(recordings, options.load)
    for path, shown in (
        (work, "."),
        (options.data.resolve(), "demo-data"),
        (Path.home(), "~"),
        (platform.platform(), "Linux"),
    ):
        text = text.replace(str(path), shown)
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
