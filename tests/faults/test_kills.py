"""Commands killed at random moments: what is there is the old result or the new one, and the next start tidies up."""

import json
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dinocli.artifacts.feature_file import open_features
from dinocli.artifacts.link_folders import MARKER_FILE
from dinocli.file_set import recover
from dinocli.models.create import create_backbone
from tests.cli.commands import RANDOM, TINY, Shot, make_images, start_warm, warm
from tests.networks import FOUR_BLOCKS

SEED = 0
SEGMENT = (*RANDOM, "--size", "64", "-m", "kmeans", "--overlay")
NOT_THE_SAME_TWICE = {"seconds", "images_per_second", "argv", "started"}

State = dict[str, object]


@dataclass(frozen=True)
class Case:
    """A command that replaces its own result by another one.

    Args:
        command: Without the options that tell the two results apart.
        either: Those options.
        target: The file that says: complete.
        prepare: Commands before it.
    """

    command: tuple[str, ...]
    either: tuple[tuple[str, ...], tuple[str, ...]]
    target: str
    prepare: tuple[tuple[str, ...], ...] = ()


EMBED = ("embed", "images", *RANDOM, "--precision", "fp32", "--batch-size", "2", "--force", "--out")
FEATURES = ("embed", "images", *RANDOM, "--precision", "fp32", "--size", "32", "--out", "feats.npy")
SHARDS = tuple(
    ("embed", "images", *RANDOM, "--precision", "fp32", "--size", size, "--out", f"feats.{size}.npy", "--shard", shard)
    for size in ("32", "64")
    for shard in ("0/2", "1/2")
)
EXPORT = ("export", "--model", FOUR_BLOCKS, "--force", "--format")
WEIGHTS = (("feats.one.safetensors",), ("feats.other.safetensors",))
CASES = {
    "embed .npy": Case((*EMBED, "f.npy"), (("--size", "32"), ("--size", "64")), "f.npy"),
    "embed .csv": Case((*EMBED, "f.csv"), (("--size", "32"), ("--size", "64")), "f.csv"),
    "segment": Case(
        ("segment", "images", *SEGMENT, "--force", "--out", "m", "--coco", "m/coco.json"),
        (("-k", "2"), ("-k", "3")),
        "m/segment.json",
    ),
    "cluster --link-dir": Case(
        (
            "cluster",
            "feats.npy",
            "--force",
            "--out",
            "groups.csv",
            "--link-dir",
            "groups",
            "--copy",
            "--duplicates",
            "0.99",
            "--sheet",
            "s.png",
        ),
        (("-k", "2"), ("-k", "3")),
        "groups.csv",
        (FEATURES,),
    ),
    "cluster IMAGES": Case(
        ("cluster", "images", *RANDOM, "--duplicates", "0.99", "--force", "--out", "groups.csv", "--report", "none"),
        (("-k", "2"), ("-k", "3")),
        "groups.csv",
    ),
    "search --sheet": Case(
        ("search", "--in", "feats.npy", "--sheet", "s.png", "--force", "--row"),
        (("./00.png",), ("./01.png",)),
        "s.png",
        (FEATURES,),
    ),
    "embed --merge": Case(
        ("embed", "--merge", "--force", "--out", "f.npy"),
        (("feats.32.0of2.npy", "feats.32.1of2.npy"), ("feats.64.0of2.npy", "feats.64.1of2.npy")),
        "f.npy",
        SHARDS,
    ),
    "export to a file": Case((*EXPORT, "safetensors", "--out", "e.safetensors"), WEIGHTS, "e.safetensors"),
    "export to a folder": Case((*EXPORT, "timm", "--out", "e"), WEIGHTS, "e"),
}
KILLS = {
    "embed .npy": 45,
    "embed .csv": 30,
    "segment": 45,
    "cluster --link-dir": 30,
    "cluster IMAGES": 20,
    "search --sheet": 10,
    "embed --merge": 20,
    "export to a file": 15,
    "export to a folder": 15,
}
TRAINING_KILLS = 20


def state(folder: Path) -> State:
    """Return what others can see, without what differs from run to run."""
    found: State = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or any(part.startswith(".") for part in Path(name).parts):
            continue
        if name.split("/")[0] in ("images", "tmp") or name.startswith("feats."):
            continue
        data = json.loads(path.read_text()) if path.suffix == ".json" else path.read_bytes()
        found[name] = _timeless(data)
    return found


def _timeless(data: object) -> object:
    if isinstance(data, dict):
        return {key: _timeless(value) for key, value in data.items() if key not in NOT_THE_SAME_TWICE}
    return data


def left_overs(folder: Path) -> list[str]:
    hidden = [path for path in folder.rglob(".*") if ".streams" not in path.parts and path.name != MARKER_FILE]
    return [str(path.relative_to(folder)) for path in (*hidden, *(folder / "tmp").iterdir())]


def killed(command: tuple[str, ...], folder: Path, seconds: float) -> bool:
    """Kill a command after so many seconds; False if it was faster."""
    running = start_warm(*command, cwd=folder, env={"TMPDIR": str(folder / "tmp")})
    running.process.join(seconds)
    running.process.kill()
    running.process.join()
    return running.process.exitcode == -signal.SIGKILL


def kill_often(case: Case, folder: Path, kills: int) -> int:
    """Let each of two results replace the other until so many replacements were killed; return the replacements."""
    (folder / "tmp").mkdir()
    make_images(folder / "images", 8)
    moment, begin, duration = random.Random(SEED), 0.0, 0.0
    for number, (name,) in enumerate(WEIGHTS):
        torch.manual_seed(number)
        save_file(create_backbone(FOUR_BLOCKS).model.state_dict(), folder / name)
    for command in case.prepare:
        assert warm(*command, cwd=folder).code == 0
    whole: list[State] = []
    for options in (*case.either, case.either[0]):
        begin = time.monotonic()
        done = warm(*case.command, *options, cwd=folder, env={"TMPDIR": str(folder / "tmp")})
        duration = time.monotonic() - begin
        assert done.code == 0, done.err
        whole.append(state(folder))
    assert whole[0] == whole[2] != whole[1]
    old, hit = 0, 0
    while hit < kills:
        hit += killed((*case.command, *case.either[1 - old]), folder, moment.uniform(0, duration))
        recover(folder / case.target, OWN_OF.get(case.target, ()))
        found = state(folder)
        assert found in whole[:2], f"after {hit} kills: {sorted(found)}"
        if case.target.startswith("f."):
            assert len(open_features(folder / case.target)) == 8
        old = whole.index(found)
    done = warm(*case.command, *case.either[0], cwd=folder, env={"TMPDIR": str(folder / "tmp")})
    assert done.code == 0, done.err
    assert state(folder) == whole[0]
    assert left_overs(folder) == []
    return hit


def _own_of_masks() -> tuple[str, ...]:
    from dinocli.artifacts.mask_folder import JOURNAL_FILE, PARTIAL_FOLDER, RESULT_FILES

    return (*RESULT_FILES, JOURNAL_FILE, PARTIAL_FOLDER)


OWN_OF = {"m/segment.json": _own_of_masks()}


@pytest.mark.parametrize("name", ["embed .npy", "segment"])
def test_a_killed_command_leaves_the_old_or_new_result(name: str, quick_path: Path) -> None:
    kill_often(CASES[name], quick_path, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_many_killed_commands_leave_the_old_or_new_result(
    name: str, quick_path: Path, tally: Callable[[str, int], None]
) -> None:
    tally(f"kills of {name}", kill_often(CASES[name], quick_path, KILLS[name]))


def losses(run: Path) -> list[str]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [repr((row["step"], row["loss"])) for row in rows if "loss" in row]


@pytest.mark.slow
def test_many_kills_of_training(quick_path: Path, tally: Callable[[str, int], None]) -> None:
    make_images(quick_path / "images", 12)
    command = ("pretrain", "images", *TINY, "--steps", "12", "-s", "run.save_every=2", "--out")
    begin = time.monotonic()
    assert warm(*command, "whole", cwd=quick_path).code == 0
    duration, moment, kills, finished = time.monotonic() - begin, random.Random(SEED), 0, 0
    (quick_path / "tmp").mkdir()
    while kills < TRAINING_KILLS or not finished:
        manifest = quick_path / "run" / "run.json"
        started = manifest.is_file() and json.loads(manifest.read_text())["status"] != "finished"
        if killed((*command, "run", "--resume" if started else "--force"), quick_path, moment.uniform(0, duration)):
            kills += 1
        elif json.loads(manifest.read_text())["status"] == "finished":
            assert losses(quick_path / "run") == losses(quick_path / "whole")
            finished += 1
        duration *= 1.02  # so that it ends on a machine that gets slower
    assert warm(*command, "run", "--force", cwd=quick_path).code == 0
    assert left_overs(quick_path) == []
    tally("kills of pretrain, resumed bit for bit", kills)


def test_a_signal_gives_advice_that_the_command_can_follow(quick_path: Path) -> None:
    (quick_path / "tmp").mkdir()
    make_images(quick_path / "images", 60)
    command = ("cluster", "images", *RANDOM, "--batch-size", "1")
    shot = Shot(signal.SIGTERM, "tmp/dinocli-*/.feats.npy.journal")
    done = warm(*command, cwd=quick_path, env={"TMPDIR": str(quick_path / "tmp")}, shot=shot)
    assert done.code == 143, done.err
    last = done.err.splitlines()[-1]
    assert "stopped by a signal" in last
    assert "--resume" not in last
    assert left_overs(quick_path) == []
