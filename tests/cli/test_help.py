"""`--help` is fast, loads no torch, and shows an example."""

import json
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from dinocli import __version__
from dinocli.cli.app import app
from tests.cli.commands import dinocli, warm
from tests.forks import environment

HEAVY = ("torch", "timm", "kornia", "sklearn", "scipy", "numpy", "PIL")
TIMES = 3

LEAST_PROGRAM = """
import typer
app = typer.Typer()
@app.command()
def greet(name: str) -> None: ...
app()
"""

WITH_MODULES = """
import functools, gc, json, sys
import typer.main
from dinocli.cli.app import main
typer.main.get_command = functools.cache(typer.main.get_command)
loaded = {}
for words in json.loads(sys.argv[1]):
    sys.argv = ["dinocli", *words, "-h"]
    try:
        main()
    except SystemExit as end:
        assert not end.code
    loaded[" ".join(words)] = sorted({name.partition(".")[0] for name in sys.modules})
assert gc.get_freeze_count() > 0, "a collection at the end delays it"
print(json.dumps(loaded), file=sys.stderr)
"""


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield every command as its words, and whether it has commands of its own."""
    inner = getattr(command, "commands", {})
    yield path, bool(inner)
    for name, sub in inner.items():
        yield from walk(sub, (*path, name))


GROUP: Any = typer.main.get_command(app)
EVERY = dict(walk(GROUP))
LEAVES = [path for path, is_group in EVERY.items() if not is_group]


def test_the_walk_saw_the_commands() -> None:
    assert {("pretrain",), ("doctor",), ("recipe", "list"), ("recipe", "check")} <= set(LEAVES)
    assert EVERY[()]
    assert EVERY[("recipe",)]


@pytest.mark.parametrize("path", [(), ("finetune-ssl",)], ids=["dinocli", "finetune-ssl"])
def test_help_answers_at_once(path: tuple[str, ...]) -> None:
    # Beside the least that a Typer program takes, at the same time, because machines and their loads differ.
    ours: list[float] = []
    least: list[float] = []
    while len(ours) < 5 and (not ours or min(ours) >= TIMES * min(least)):
        least.append(processor_seconds(sys.executable, "-c", LEAST_PROGRAM, "--help"))
        ours.append(processor_seconds(sys.executable, "-m", "dinocli", *path, "--help"))
    assert min(ours) < TIMES * min(least)


def processor_seconds(*command: str) -> float:
    """Return the processor time, in seconds, that a command takes, which is to succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True, env=environment(), timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_loads_nothing_heavy() -> None:
    """One command after the other in one process: the first that loads something is to blame."""
    command = [sys.executable, "-c", WITH_MODULES, json.dumps([*EVERY])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stderr)
    assert len(loaded) == len(EVERY) > 10
    for path, names in loaded.items():
        assert {"dinocli", "typer"} <= set(names), "the list of modules is not one"
        assert not set(names) & set(HEAVY), path


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_help_has_an_example_and_explains_every_option(path: tuple[str, ...]) -> None:
    command = GROUP
    for name in path:
        command = command.commands[name]
    assert command.epilog is not None
    first, *lines = command.epilog.splitlines()
    assert first == "Examples:"
    assert lines[0].startswith(f"dinocli {' '.join(path)}")
    assert all(line == line.rstrip() and "dinocli" in line for line in lines)
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), parameter.name


def test_help_of_every_option_is_one_short_line() -> None:
    seen = 0
    commands = [GROUP]
    while commands:
        command = commands.pop()
        commands += getattr(command, "commands", {}).values()
        for parameter in command.params:
            text = getattr(parameter, "help", "") or ""
            assert text.endswith(".") or parameter.name in ("help", "show_completion"), parameter.name
            assert len(text) <= 80, f"{command.name} {parameter.name}"
            assert "\n" not in text
            seen += 1
    assert seen > 150


def test_help_names_values_by_short_words(tmp_path: Path) -> None:
    text = warm("classify", "--help", cwd=tmp_path).out
    assert re.search(r"--save +FILE ", text)
    assert re.search(r"--suggest +N ", text)
    assert re.search(r"--method +-m +auto, linear, knn, +", text)
    assert re.search(r"--force +Replace", text), "a flag has no value"
    assert not re.search(r"<(bool|str|int|list)|…", text)


def test_help_goes_to_stdout_without_colours(tmp_path: Path) -> None:
    done = dinocli("pretrain", "--help")
    assert done.err == ""
    short, long = (warm("pretrain", word, cwd=tmp_path) for word in ("-h", "--help"))
    assert short == long
    assert short.out.splitlines()[2:] == done.out.splitlines()[2:], "all but the name of the program"
    assert "\x1b" not in done.out
    for option in ("--recipe", "--set", "--weights", "--dry-run", "--resume", "--json", "--debug"):
        assert option in done.out


def test_help_states_every_exit_code(tmp_path: Path) -> None:
    text = warm("--help", cwd=tmp_path).out
    assert re.findall(r"\b\d+\b", text[text.index("Exit codes") :]) == ["0", "1", "2", "3", "4", "5", "6", "130", "143"]


def test_version_is_one_line_on_stdout() -> None:
    done = dinocli("--version")
    assert (done.code, done.out, done.err) == (0, f"dinocli {__version__}\n", "")


def test_no_command_shows_the_help(tmp_path: Path) -> None:
    done = warm(cwd=tmp_path)
    assert done.code == 2
    assert "pretrain" in done.out + done.err


def test_every_command_that_takes_images_takes_patterns_and_a_root() -> None:
    names = {name: {opt for one in command.params for opt in one.opts} for name, command in GROUP.commands.items()}
    takers = [name for name, options in names.items() if "--page" in options]
    assert sorted(takers) == ["classify", "cluster", "embed", "evaluate", "finetune-ssl", "pretrain", "segment"]
    for name in takers:
        assert {"--include", "--exclude", "--root"} <= names[name], name
