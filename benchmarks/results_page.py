"""Write docs/results.md and its chart from benchmarks/results/*.json.

    python benchmarks/results_page.py            # writes both
    python benchmarks/results_page.py --check    # exit code 1 if they are out of date

A file has `date`, `command`, `hardware` and `log` (the title of its entry in LOG.md). Other keys determine where it is
shown: `gain` (rows of the first table and the chart) with `limits`; `adaptation` (rows of the table of training, with
`title`, `part`, `order` and `about`); `section` (a title, the part of the page, an order
in it, and blocks: a paragraph, or a table as `header` and `rows`); `ways` (way -> set -> figures, named by `columns`),
with `title`, `part`, `order`, `about`, `shown`, and `names` of the sets. All other files are listed at the end.
"""

import argparse
import itertools
import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE, CHART = ROOT / "docs" / "results.md", ROOT / "docs" / "images" / "results.svg"
WIDTH = 120

Row = dict[str, Any]

SHOWN = ("knn", "few_shot_5")
"""Scores of the table."""

FEATURES = ("pooled", "pooled+rare")

STAGES = ("start", "statistics", "trained")
"""Weights of the table by part."""

PARTS = (
    "Training",
    "Features without training",
    "Vision transformers",
    "A few labels",
    "Masks",
    "Copies and odd images",
)
"""Parts of the page, in order; sections of other parts follow."""

HEAD = """\
# Results

<!-- Made by benchmarks/results_page.py from benchmarks/results/*.json: change the files, not this page. -->

What the two commands of the README gain, without labels: `dinocli finetune-ssl` (here {steps} steps), and `dinocli
embed` with its default feature, `pooled+rare`, or `pooled` for photographs. The plain network is the start weights with
the feature `pooled`. The sets are sorted by the share of k-NN errors that both together remove.
"""

BELOW = """\
Also on this page: [features without training](#features-without-training),
[vision transformers](#vision-transformers), [a few labels](#a-few-labels), [masks](#masks) and
[copies and odd images](#copies-and-odd-images).

* **trained**: the weights that the run selected, also where the verdict kept the start. One seed.
* **errors gone**: reduction of the k-NN error from the plain network to the default feature of the weights that were
  kept. On the photographs both are those of the plain network.
* **kept**: the verdict kept the trained weights. [How the guard decides](guard.md).

{source}
## What each part gives

Batch norms of a convnet first move a tenth of the way to the statistics of the images (*statistics*: no weight is
trained), then training starts. Each cell: start -> statistics -> trained, of the same runs as above.

{by_part}
## How it was measured

EfficientNet-Lite0 (5 million parameters) with ImageNet weights that were trained with labels, on two shared CPU cores,
unless a section says otherwise. No run saw a label; labels were read afterwards, for measurement only. Each section
ends with its file, date, command and entry in the [log](../LOG.md), which also has the failed experiments.

| word | meaning |
|---|---|
| start, adapted | the weights before a run, and those that it trained and selected |
| k-NN | accuracy of the 20 nearest images by cosine, leave-one-out |
| 5-shot, 10-shot, 20-shot | accuracy of the nearest class mean from that many labelled images a class |
| linear | mean recall of a logistic probe, five folds |
| macro F1 | F1 of k-NN, mean over classes: small classes count as much as large ones |
| NMI | agreement of k-means groups with the classes, 0 to 1 |
| image AUROC, pixel AUROC | how well scores separate defective from good images, and pixels; 0.5 is chance |
| AUPRO | overlap with each true region, averaged over thresholds with at most 30 % false positives |
| Dice | overlap of mask and true mask, 0 to 1 |
| pooled, pooled+rare | the feature of the network; the same joined with a mean of unusual patches and anomaly scores |
"""


def read(folder: Path = RESULTS) -> dict[str, Row]:
    """Read all files, by name."""
    return {path.name: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}


def page(files: dict[str, Row]) -> str:
    """Write the page.

    Args:
        files: Content of each, by name.
    """
    files = {name: data | {"section": of_ways(data)} if "shown" in data else data for name, data in files.items()}
    files = {
        name: data | {"section": of_adaptation(data)} if "adaptation" in data else data for name, data in files.items()
    }
    ((name, main),) = ((name, data) for name, data in files.items() if "gain" in data)
    source = f"*{name}, {main['date']}, {main['hardware']}: `{main['command']}`. Log: {main['log']}.*"
    parts = [HEAD.format(steps=main["steps"]), table(*gain_table(main["gain"]))]
    parts += ["![k-NN accuracy, plain network and both together](images/results.svg)\n"]
    parts += [
        BELOW.format(source=paragraph(source), by_part=table(*part_table(main["gain"]))),
        "## What is not shown here\n",
        "".join(item(limit) for limit in main["limits"]),
    ]
    parts += sections({name: data for name, data in files.items() if "section" in data})
    parts += others({name: data for name, data in files.items() if not {"section", "gain"} & set(data)})
    return "\n".join(parts)


def sections(files: dict[str, Row]) -> Iterator[str]:
    """Write the sections by part of the page, then by their order."""

    def place(name: str) -> tuple[int, str, float, str]:
        part = files[name]["section"].get("part", "Other")
        known = (PARTS.index(part), "") if part in PARTS else (len(PARTS), part)
        return (*known, files[name]["section"]["order"], name)

    for _, group in itertools.groupby(sorted(files, key=place), key=lambda name: place(name)[:2]):
        names = list(group)
        yield f"## {files[names[0]]['section'].get('part', 'Other')}\n"
        for name in names:
            yield from section(name, files[name])


def gain_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the first table: k-NN and 5-shot accuracy of both features of both weights."""
    header = ["images", "kept"]
    header += [f"{score}, {feature}: start -> trained" for score in ("k-NN", "5-shot") for feature in FEATURES]
    lines = []
    for row in ordered([ends(row) for row in rows]):
        pairs = [
            f"{row[feature]['start'][score]:.3f} -> {row[feature]['trained'][score]:.3f}"
            for score in SHOWN
            for feature in FEATURES
        ]
        gone = (row["adapted"]["knn"] - row["start"]["knn"]) / (1 - row["start"]["knn"])
        lines.append(
            [f"{row['set']} ({row['images']:,})", "yes" if row["kept"] else "no", *pairs, f"{100 * gone:.0f} %"]
        )
    return [*header, "errors gone"], lines


def part_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the table of both parts of a run: batch-norm statistics and training."""
    scores = {"knn": "k-NN", "macro_f1": "macro F1", "few_shot_5": "5-shot"}
    lines = []
    for row in ordered([ends(row) for row in rows]):
        for feature in FEATURES:
            cells = [" -> ".join(f"{row[feature][stage][score]:.3f}" for stage in STAGES) for score in scores]
            lines.append([row["set"], feature, *cells])
    return ["images", "feature", *scores.values()], lines


def ends(row: Row) -> Row:
    """Return a row with `start`, the plain network, and `adapted`, the default feature of the kept weights."""
    kept, default = "trained" if row["kept"] else "start", row.get("default", "pooled+rare")
    return row | {"start": row["pooled"]["start"], "adapted": row[default][kept]}


def of_adaptation(data: Row) -> Row:
    """Return the section of a file that compares start and adapted weights."""
    header, rows = adaptation_table(data["adaptation"])
    blocks = [data["about"], {"header": header, "rows": rows}, exceptions(data["adaptation"])]
    return {"part": data["part"], "order": data["order"], "title": data["title"], "blocks": blocks}


def adaptation_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the table of training: start, adapted and difference, the largest gain first."""
    header = ["images", "recipe", "k-NN, start", "adapted", "difference", "errors gone", "5-shot, start", "adapted"]
    lines = []
    for row in ordered(rows):
        start, adapted = row["start"], row["adapted"]
        change, few = adapted["knn"] - start["knn"], adapted["few_shot_5"] - start["few_shot_5"]
        gone = change / (1 - start["knn"])
        cells = [row["set"], f"{row['recipe']}, {row['steps']} steps", f"{start['knn']:.3f}", f"{adapted['knn']:.3f}"]
        cells += [
            f"{change:+.3f}",
            f"{100 * gone:.0f} %",
            f"{start['few_shot_5']:.3f}",
            f"{adapted['few_shot_5']:.3f} ({few:+.3f})",
        ]
        lines.append([*cells, "yes" if row["kept"] else "no"])
    return [*header, "kept"], lines


def ordered(rows: Sequence[Row]) -> list[Row]:
    """Sort by the relative reduction of the error, the largest first."""
    return sorted(rows, key=lambda row: (row["start"]["knn"] - row["adapted"]["knn"]) / (1 - row["start"]["knn"]))


def exceptions(rows: Sequence[Row]) -> str:
    """Return sentences: sets on which the verdict kept the start, and sets on which it was wrong by either score."""
    left = [short(row["set"]) for row in rows if not row["kept"]]
    fell = [
        short(row["set"]) for row in rows if row["kept"] and any(row["adapted"][k] < row["start"][k] for k in SHOWN)
    ]
    found = [f"The start was kept on {', '.join(left)}."] if left else []
    found += [f"The verdict was wrong on {', '.join(fell)}: kept, though one of the two scores fell."] if fell else []
    return f"{len(rows)} sets. {' '.join(found)}"


def section(name: str, data: Row) -> Iterator[str]:
    """Write one section, with its provenance."""
    yield f"### {data['section']['title']}\n"
    for block in data["section"]["blocks"]:
        yield paragraph(block) if isinstance(block, str) else table(block["header"], block["rows"])
    yield paragraph(f"*{name}, {data['date']}, {data['hardware']}: `{data['command']}`. Log: {data['log']}.*")


def of_ways(data: Row) -> Row:
    """Return the section of a file that compares ways on several sets: a row per set, a column per way."""
    sets = list(data["ways"][data["shown"][0]])
    names = data.get("names", {})
    rows = []
    for name in sets:
        cells = [" / ".join(f"{value:.3f}" for value in data["ways"][way][name]) for way in data["shown"]]
        rows.append([names.get(name, name), *cells])
    words = f"{data['about']} {' / '.join(data['columns'])}; {data['network']}."
    blocks = [words, {"header": ["set", *data["shown"]], "rows": rows}]
    return {"part": data["part"], "order": data["order"], "title": data["title"], "blocks": blocks}


def others(files: dict[str, Row]) -> Iterator[str]:
    """List the files without a table on this page."""
    if files:
        yield "## Further files\n"
        yield "".join(item(f"`benchmarks/results/{name}`{what(data)}") for name, data in files.items())


def what(data: Row) -> str:
    """Return the list entry of a file without a section."""
    known = [str(data[key]) for key in ("title", "date", "network", "weights", "command") if data.get(key)]
    return f": {', '.join(known)}" if known else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in lines)


def paragraph(text: str) -> str:
    """Wrap a paragraph."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def item(text: str) -> str:
    """Wrap one entry of a list."""
    return (
        textwrap.fill(
            text, WIDTH, initial_indent="* ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        + "\n"
    )


STYLE = """\
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;fill:#1d2125}
.muted{fill:#626a72}.grid{stroke:#e3e4e1}.line{stroke:#9aa1a8;stroke-width:2}.start{fill:#fcfcfa;stroke:#626a72;stroke-width:2}
.adapted{fill:#0a6a8f}.worse{fill:#b3261e}.paper{fill:#fcfcfa}
@media(prefers-color-scheme:dark){text{fill:#e4e6e8}.muted{fill:#979fa7}.grid{stroke:#2d3237}.start{fill:#15181b;stroke:#979fa7}
.adapted{fill:#5fb8dc}.worse{fill:#ff8f85}.paper{fill:#15181b}}
"""

LEFT, RIGHT, TOP, PITCH, ACROSS = 330, 24, 58, 26, 780
LOW = 0.5
"""Lower end of the axis, below the accuracy of all sets."""


def chart(rows: Sequence[Row]) -> str:
    """Draw the k-NN accuracy of the plain network (ring) and of `pooled+rare` of the kept weights (dot) of each set."""
    rows = ordered([ends(row) for row in rows])
    height = TOP + PITCH * len(rows) + 24
    inside = [f'<rect class="paper" width="{ACROSS}" height="{height}"/>']
    inside.append('<text x="16" y="24" font-weight="600">k-NN accuracy without a label in training</text>')
    inside.append(
        '<circle class="start" cx="346" cy="20" r="5"/><text class="muted" x="358" y="24">plain network</text>'
    )
    inside.append(
        '<circle class="adapted" cx="466" cy="20" r="5"/><text class="muted" x="478" y="24">both commands</text>'
    )
    for tick in range(int(10 * LOW), 11):
        x = place(tick / 10)
        inside.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP - 14}" y2="{height - 20}"/>')
        inside.append(f'<text class="muted" x="{x}" y="{height - 5}" text-anchor="middle">{tick / 10:.1f}</text>')
    for number, row in enumerate(rows):
        y, start, adapted = TOP + PITCH * number, row["start"]["knn"], row["adapted"]["knn"]
        kind = "adapted" if adapted >= start else "worse"
        inside.append(f'<text x="{LEFT - 14}" y="{y + 4}" text-anchor="end">{escape(short(row["set"]))}</text>')
        inside.append(f'<line class="line" x1="{place(start)}" x2="{place(adapted)}" y1="{y}" y2="{y}"/>')
        inside.append(f'<circle class="start" cx="{place(start)}" cy="{y}" r="5"/>')
        inside.append(f'<circle class="{kind}" cx="{place(adapted)}" cy="{y}" r="5"/>')
    spoken = "; ".join(f"{row['set']}: {row['start']['knn']:.3f} to {row['adapted']['knn']:.3f}" for row in rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {ACROSS} {height}" role="img">\n'
        f"<title>k-NN accuracy, plain network and both commands</title>\n"
        f"<desc>{escape(spoken)}</desc>\n<style>{STYLE}</style>\n" + "\n".join(inside) + "\n</svg>\n"
    )


def place(value: float) -> float:
    """Return the x position of an accuracy, pixels."""
    return round(LEFT + (ACROSS - LEFT - RIGHT) * (value - LOW) / (1 - LOW), 1)


def short(name: str) -> str:
    """Return a name without the part in brackets or after a comma."""
    return name.split(" (")[0].split(",")[0]


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file differs")
    check = parser.parse_args().check
    files = read()
    (main_file,) = (data for data in files.values() if "gain" in data)
    for path, text in ((PAGE, page(files)), (CHART, chart(main_file["gain"]))):
        if check and path.read_text("utf-8") != text:
            sys.exit(f"{path.relative_to(ROOT)} is not what benchmarks/results/*.json gives: run this without --check")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
