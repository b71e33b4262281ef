"""HTML page of `dinocli compare`."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dinocli.artifacts.run_comparison import ComparedRun, RunComparison, RunScore
from dinocli.report.chart import Curve
from dinocli.report.page import Cell, Part, Report, Table, write_report
from dinocli.report.page_parts import Charts, NoteList, command_line

_MAX_SERIES = 4
"""Series per chart; more cannot be distinguished."""

KEPT = {"statistics": "start, batch-norm statistics adapted"}
"""Words for the weights that a run kept, where the word of run.json does not explain itself."""

HOW_TO_READ = (
    "start: score of the weights before training; adapted: score of the trained weights. A run keeps the start weights "
    "if training did not help.",
    "The first score without labels decides the verdict. If there is a score by your labels, trust that one.",
    "A difference between two runs of one seed each can be chance: repeat the better run with another seed.",
)


def write_comparison_page(path: Path, comparison: RunComparison) -> None:
    """Write the page.

    Args:
        path: Output file, replaced atomically.
        comparison: The compared runs.

    Raises:
        OSError: The file cannot be written.
    """
    names = run_names(comparison.runs)
    parts: list[Part] = [
        _runs_table(comparison.runs, names),
        *_score_tables(comparison.runs, names),
        *_settings_table(comparison, names),
        Charts([*_curves(comparison.runs, names)]),
        *(command_line(run.argv, name) for name, run in zip(names, comparison.runs, strict=True)),
        NoteList(HOW_TO_READ, "How to read this page"),
    ]
    better = sum(run.outcome == "better" for run in comparison.runs)
    count = len(comparison.runs)
    page = Report(
        title=f"Comparison of {count} runs",
        verdict_outcome=f"{better} of {count} better",
        verdict_sentence=lead(comparison),
        verdict_details=" ".join(f"{note}." for note in comparison.notes),
        parts=parts,
    )
    write_report(path, page)


def run_names(runs: Sequence[ComparedRun]) -> list[str]:
    """Return the folder names of the runs, or their paths if two names are equal."""
    names = [run.path.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]


def lead(comparison: RunComparison) -> str:
    """Return a sentence about the best run: by labels if all runs have the same labels, else by the verdict's score.

    Runs on different images, or on different samples of them, are not ranked.
    """
    ended = [run for run in comparison.runs if run.scores]
    if len(ended) < 2:
        return "There are no two runs with scores to compare."
    if len({(run.inputs_hash, run.seed) for run in ended}) > 1:
        return "These runs were not measured on the same images, so that no run comes first."
    columns = ["labelled"] if all(run.labelled for run in ended) else []
    for kind in [*columns, "scores"]:
        if kind == "scores" and len({run.measured_by for run in ended}) > 1:
            return "These runs were not measured alike, so that no run comes first."
        shared = set.intersection(*(set(getattr(run, kind)) for run in ended))
        of_first = [ended[0].selection_score] if kind == "scores" else ended[0].labelled  # other scores choose nothing
        key = next((key for key in of_first if key in shared), "")
        scored = [(run, getattr(run, kind)[key]) for run in ended if key in shared]
        known = [(score.adapted, run, score) for run, score in scored if score.adapted is not None]
        if len(known) == len(ended):
            value, _, score = max(known, key=lambda one: one[0])
            first = [one.path.resolve().name for other, one, _ in known if other == value]
            if len(first) > 1:
                return f"{' and '.join(first)} have the same {score.name}: {value:.3f}."
            return f"{first[0]} has the highest {score.name}: {value:.3f}."
    return "These runs have no score in common."


def _runs_table(runs: Sequence[ComparedRun], names: Sequence[str]) -> Table:
    rows: list[list[Cell]] = [
        [
            name,
            run.outcome or run.status,
            KEPT.get(run.keep, run.keep) or "–",
            run.images,
            run.start[0],
            run.steps,
            f"{run.seconds / 60:.1f}",
        ]
        for name, run in zip(names, runs, strict=True)
    ]
    header = ["run", "verdict", "weights kept", "images", "start", "steps", "minutes"]
    return Table("Runs", header, rows, "The verdict is of the adapted weights against the start of the same run.")


def _settings_table(comparison: RunComparison, names: Sequence[str]) -> list[Table]:
    rows: list[list[Cell]] = [[key, *map(_value, values)] for key, values in comparison.settings.items()]
    return [Table("Settings that differ", ["setting", *names], rows)] if rows else []


def _score_tables(runs: Sequence[ComparedRun], names: Sequence[str]) -> list[Table]:
    tables = []
    for title, kind in (("Scores by your labels", "labelled"), ("Scores without labels", "scores")):
        keys = {key: score.name for run in runs for key, score in getattr(run, kind).items()}
        header = ["score", *(f"{name}, {side}" for name in names for side in ("start", "adapted"))]
        rows: list[list[Cell]] = []
        for key, name in keys.items():
            scores = [getattr(run, kind).get(key, RunScore(name, None, None)) for run in runs]
            rows.append([name, *(_number(value) for score in scores for value in (score.start, score.adapted))])
        if rows:
            tables.append(Table(title, header, rows))
    return tables


def _curves(runs: Sequence[ComparedRun], names: Sequence[str]) -> list[Curve]:
    drawn = [(name, dict(run.curve)) for name, run in zip(names, runs, strict=True) if run.curve]
    curves = []
    for first in range(0, len(drawn), _MAX_SERIES):
        together = drawn[first : first + _MAX_SERIES]
        steps = sorted({step for _, curve in together for step in curve})
        series = {name: _interpolated(curve, steps) for name, curve in together}
        curves.append(Curve("Selection score of the guard", "step", "", steps, series))
    return curves


def _interpolated(curve: dict[float, float], steps: Sequence[float]) -> list[float]:
    """Interpolate linearly between the probes; NaN before the first and after the last one."""
    import numpy as np  # which a comparison without a page does not need

    probed = sorted(curve)
    values: list[float] = np.interp(steps, probed, [curve[step] for step in probed], math.nan, math.nan).tolist()
    return values


def _number(value: float | None) -> Cell:
    return "–" if value is None else float(value)


def _value(value: Any) -> str:
    return "–" if value is None else str(value)
