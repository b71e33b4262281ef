"""The ten jobs of docs/jobs.md, run as a user types them, on real images."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from tests.workplace import SMALL, make_workplace, type_in

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "jobs.md"
if not PAGE.is_file():
    pytest.skip("the documents are in the repository alone", allow_module_level=True)
JOBS = dict(re.findall(r"^## \d+\. (.*?)\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL))


def commands(job: str) -> list[str]:
    return [line for block in re.findall(r"```sh\n(.*?)```", JOBS[job], re.DOTALL) for line in block.splitlines()]


def test_there_are_ten_jobs_of_at_most_three_commands() -> None:
    assert len(JOBS) == 10
    for job in JOBS:
        assert 1 <= len(commands(job)) <= 3
        assert "\nGives `" in JOBS[job]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images and weights that the page speaks of."""
    return make_workplace(tmp_path_factory.mktemp("jobs"))


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_a_job_gives_what_the_page_says(job: str, workplace: Path) -> None:
    """Later jobs use what earlier ones left, as on the page."""
    if "onnx" in JOBS[job]:
        pytest.importorskip("onnx", reason="needs the extra `onnx`")
    for line in commands(job):
        type_in(line.replace("--minutes 20", SMALL), workplace)
    promised = re.findall(r"`([\w./]+[./]\w*)`", JOBS[job].split("\nGives ")[1])
    assert promised
    for name in promised:
        path = workplace / name
        assert any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0, name


@pytest.mark.slow
def test_what_the_jobs_found_is_right(workplace: Path) -> None:
    """After all jobs: the search finds its class, the page shows every class, two runs are compared."""
    if not (workplace / "recipes.tsv").is_file():
        pytest.skip("runs after the jobs")
    found = [line.split("\t") for line in (workplace / "found.tsv").read_text().splitlines()]
    assert len(found) == 12 * 5
    right = sum(Path(query).stem.split("_")[0] == Path(path).stem.split("_")[0] for query, _, _, path in found)
    assert right > 0.8 * len(found)
    with (workplace / "predictions.csv").open() as file:
        predicted = [(row["path"], row["predicted"]) for row in csv.DictReader(file)]
    assert len(predicted) == 120
    assert sum(label in path for path, label in predicted) > 0.7 * len(predicted)
    assert len((workplace / "recipes.tsv").read_text().splitlines()) == 3
    page = (workplace / "labels.html").read_text()
    assert all(path.name in page for path in (workplace / "steel").iterdir())
    shutil.rmtree(workplace)
