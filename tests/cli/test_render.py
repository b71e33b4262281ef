"""Tables on a terminal: long names do not push numbers out of sight."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from dinocli.cli.evaluate import _show_table
from dinocli.cli.facts import print_facts
from dinocli.cli.render import Terminal, print_json, text_table
from dinocli.cli.search import show_found
from dinocli.cli.training import show_trained
from dinocli.quality.bootstrap import Difference
from dinocli.quality.evaluation import EvaluateResult
from dinocli.quality.score_table import UNCLEAR, ScoreRow
from dinocli.quality.verdict import Verdict
from dinocli.report.score_lines import ScoreLine
from dinocli.report.search_sheet import Hit, Query
from dinocli.report.text import wrap_words
from dinocli.tasks.search.search_options import SearchResult
from dinocli.tasks.train.run_report import TrainResult

LONG = "./line3/" + "x" * 190 + "_0815.png"


def printed(rows: list[list[str]], width: int) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, markup=False)
    console.print(text_table("Groups", ["cluster", "images", "medoid"], rows, console.width))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("name", [LONG, "温" * 120, "a.png"])
def test_a_name_of_200_characters_takes_one_line(width: int, name: str) -> None:
    lines = printed([["0", "1,234", name], ["1", "5", "./b.png"]], width)
    assert len(lines) == 4, "title, header and two rows"
    assert all(cell_len(line) <= width for line in lines)
    assert "1,234" in lines[2]
    assert "./b.png" in lines[3]
    if name == LONG and width < 200:
        assert "…" in lines[2]
        assert lines[2].rstrip().endswith("_0815.png")


@pytest.mark.parametrize("width", [66, 80])
def test_the_words_of_a_long_name_stay_whole(width: int) -> None:
    name = "nearest neighbours shared with the teacher (1 is all)"
    header = ["", "start", "statistics", "step 1200, alpha 0.5", "change"]
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(text_table("", header, [[name, "0.123", "0.234", "0.345", "+0.222 to 0.3"]], width))
    shown = capture.get()
    assert "…" not in shown
    assert set(name.split()) <= set(shown.split())
    assert set(header[3].split()) <= set(shown.split())
    assert "+0.222 to 0.3" in shown, "an interval takes one line"
    assert all(len(line) <= width for line in shown.splitlines())


@pytest.mark.parametrize("width", [80, 100, 160])
def test_a_score_takes_one_line(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    change = Difference(-0.0139, -0.03, -0.002)
    verdicts = ("better", UNCLEAR)
    table = [
        ScoreRow("part", "few_shot_10", "10 labelled images a class, accuracy", 0.9, 0.91, change, word)
        for word in verdicts
    ]
    table.append(
        ScoreRow("", "crop_quadrant_retrieval", "crop/quadrant retrieval (0 is best)", -10.5, -11.5, change, UNCLEAR)
    )
    _show_table(EvaluateResult("a.npy", "b.npy", 9, table, None, [], [], 1.0))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert len(lines) == 2 * 2 + 3, "two titles, two headers, three scores"
    assert all(len(line) <= width for line in lines)
    assert ("few_shot_10" in lines[2]) == (width < 130)
    assert all("-0.030 to -0.002" in line for line in (lines[2], lines[3], lines[6]))
    assert lines[3].rstrip().endswith("unclear" if width < 130 else UNCLEAR)


def test_control_characters_are_escaped() -> None:
    assert "\\x1b[31m" in printed([["0", "1", "\x1b[31mred"]], 80)[2]


@pytest.mark.parametrize("width", [40, 80])
def test_facts_are_words_on_a_terminal_and_tabs_in_a_pipe(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {"peak_memory_bytes": 2_518_305_701, "grey": True, "dtypes": {"uint8": 64}, "gpus": [], "why": "a b " * 40}
    print_facts({"tile": "", "k": None})
    assert capsys.readouterr().out == "tile\tnone\nk\tnone\n"
    print_facts(facts)
    piped = capsys.readouterr().out.splitlines()
    assert piped[:4] == ["peak_memory_bytes\t2518305701", "grey\tTrue", "dtypes\tuint8: 64", "gpus\tnone"]
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_facts(facts)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [line.split("  ")[-1].strip() for line in lines[:4]] == ["2.52 GB", "yes", "uint8: 64", "none"]
    assert all(len(line) <= width for line in lines)
    assert len(lines) > 5
    assert {line[:13].strip() for line in lines[5:]} == {""}, "what follows stands below its beginning"


def test_paths_of_found_images_stay_whole_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "photographs/line/pitted_surface_103.jpg"
    query, hit = Query("lines/query_103.jpg", None, -1, np.zeros(1)), Hit(1, path.name, path, None, 0.5)
    result = SearchResult(tmp_path / "f.npy", "", [(query, [hit])])
    show_found(Terminal(), result)
    assert capsys.readouterr().out.split("\t")[-1] == f"{path}\n", "whole for other programs"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show_found(Terminal(), result)
    assert f" {path.relative_to(tmp_path)}\n" in capsys.readouterr().out


def test_json_has_null_where_there_is_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"features": "", "rows": [{"label": "", "score": float("nan")}], "recipe": {"model": {"name": ""}}})
    assert json.loads(capsys.readouterr().out) == {
        "schema": 1,
        "features": None,
        "rows": [{"label": None, "score": None}],
        "recipe": {"model": {"name": ""}},
    }


def test_lines_of_a_terminal_break_between_words_and_never_in_a_path() -> None:
    path = "runs/" + "a" * 90
    lines = wrap_words(f"keep the adapted weights of this run: {path} and look at its report\nsecond", 40).split("\n")
    assert lines[0] == "keep the adapted weights of this run:"
    assert lines[1] == path
    assert lines[2:] == ["and look at its report", "second"]
    assert wrap_words("  indented, short", 40) == "  indented, short"


@pytest.mark.parametrize(("best_step", "column"), [(0, "statistics"), (30, "step 30")])
def test_the_table_of_a_run_names_the_weights_that_it_selected(
    best_step: int, column: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Statistics that were adapted before the first step are not called step 0."""
    lines, verdict = [ScoreLine("rankme", "RankMe", 2.0, 3.0)], Verdict("no different", "start", "As before.")
    known = {"tried": [], "advice": [], "steps": 30, "seconds": 1.0, "images": 9, "bad": 0}
    show_trained(Terminal(), TrainResult(Path("run"), verdict, lines, [], best_step, 1.0, **known))  # type: ignore[arg-type]
    assert ["start", column, "change"] == re.split(r"\s{2,}", capsys.readouterr().err.splitlines()[1].strip())
