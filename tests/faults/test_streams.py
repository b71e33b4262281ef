"""Streams that are closed, full, or ASCII; commands that need no torch, so that a fresh interpreter is quick."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.forks import environment

BASE = f"{sys.executable} -m dinocli"


def shell(line: str, **env: str) -> tuple[int, str, str]:
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment(env), timeout=300)
    return done.returncode, done.stdout, done.stderr


def test_a_closed_stdout_is_said_before_any_work() -> None:
    words = "dinocli: standard output is closed; send it somewhere, for example > /dev/null\n"
    assert shell(f"{BASE} recipe list >&-") == (6, "", words)


def test_a_command_without_streams_ends_with_its_code() -> None:
    assert shell(f"{BASE} recipe list <&- >&- 2>&-") == (6, "", "")


@pytest.mark.parametrize(
    "streams", ["2>/dev/full", "<&- 2>&-", *(pytest.param(one, marks=pytest.mark.slow) for one in ("<&-", "2>&-"))]
)
def test_closed_stdin_and_lost_stderr_do_not_matter(streams: str) -> None:
    code, out, err = shell(f"{BASE} recipe list {streams}")
    assert (code, err) == (0, "")
    assert "gentle" in out


def test_an_error_that_nobody_can_read_keeps_its_code() -> None:
    assert shell(f"{BASE} recipe show nothing-of-this-name 2>/dev/full") == (2, "", "")


def test_a_closed_descriptor_is_not_given_to_a_file(tmp_path: Path) -> None:
    line = "import os; from dinocli.cli.streams import prepare_streams; prepare_streams(); print(os.open('a', 65))"
    code, out, err = shell(f'cd {tmp_path} && {sys.executable} -c "{line}" <&- 2>&-')
    assert (code, err) == (0, "")
    assert int(out) > 2


@pytest.mark.parametrize("name", ["größe", "日本"])
def test_an_ascii_stdout_carries_names_in_utf8(name: str) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    line = "import sys; from dinocli.cli.streams import prepare_streams; prepare_streams(); print(sys.argv[1])"
    assert shell(f"{sys.executable} -c \"{line}\" '{name}'", **ascii_only) == (0, f"{name}\n", "")


@pytest.mark.parametrize(
    "command", ["embed images", *(pytest.param(one, marks=pytest.mark.slow) for one in ("pretrain images", "doctor"))]
)
def test_too_little_address_space_is_one_line_and_no_abort(command: str) -> None:
    words = "dinocli: the address space is limited to 2.9 GiB and torch needs 4; raise the limit (ulimit -v)\n"
    assert shell(f"ulimit -v 3000000; {BASE} {command}") == (6, "", words)


def test_what_needs_no_torch_needs_little_address_space() -> None:
    assert shell(f"ulimit -v 3000000; {BASE} embed --help")[0] == 0
