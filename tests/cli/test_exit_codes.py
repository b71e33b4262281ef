"""All exit codes; every error is one line on stderr."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from dinocli.cli.app import app
from dinocli.cli.exit_codes import error_message, exit_code
from dinocli.errors import (
    DataError,
    DinocliError,
    Interrupted,
    OutOfMemory,
    RecipeError,
    TrainingStopped,
    UsageError,
    WeightsError,
)
from dinocli.files import write_atomic
from tests.cli.commands import TINY, Result, in_process, make_images, warm


def refused(done: Result, code: int, *words: str) -> None:
    """Check an error: its code, nothing on stdout, and one last line that holds the words."""
    assert done.code == code, done.err
    assert done.out == ""
    line = done.err.splitlines()[-1]
    assert line.startswith("dinocli: ")
    assert done.err.count("dinocli: ") == 1
    assert "Traceback" not in done.err
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ZeroDivisionError(), 1),
        (DinocliError(), 1),
        (UsageError(), 2),
        (RecipeError(), 2),
        (DataError(), 3),
        (WeightsError(), 4),
        (TrainingStopped(), 5),
        (OSError(28, "No space left on device"), 6),
        (PermissionError(), 6),
        (MemoryError(), 6),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), 6),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), 6),
        (OutOfMemory("out of memory with 64 images at once: --batch-size 32 would fit"), 6),
        (Interrupted("", 2), 130),
        (Interrupted("", 15), 143),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_every_error_class_has_its_exit_code(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize("command", ["finetune-ssl", "embed", "segment", "cluster", "search"])
def test_out_of_memory_names_options_of_the_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["dinocli", command, "images"])
    advice = error_message(MemoryError())
    assert advice.startswith("out of memory; ")
    options = set(re.findall(r"--[a-z-]+", advice))
    assert bool(options) == (command != "search")
    tree: Any = typer.main.get_command(app)
    assert options <= {name for option in tree.commands[command].params for name in option.opts}


@pytest.mark.parametrize("bug", [ZeroDivisionError("0"), AssertionError("no"), AttributeError("x"), KeyError("k")])
def test_a_bug_is_1_in_one_line_and_a_traceback_with_debug(bug: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[str]:
        raise bug

    monkeypatch.setattr("dinocli.config.load.recipe_names", broken)
    done = CliRunner().invoke(app, ["recipe", "list"])
    refused(Result(done.exit_code, done.stdout, done.stderr), 1, "internal error", type(bug).__name__, "--debug")
    assert len(done.stderr.splitlines()) == 1
    debugged = CliRunner().invoke(app, ["recipe", "list", "--debug"])
    assert debugged.exit_code == 1
    assert "Traceback" in debugged.stderr
    assert "in broken" in debugged.stderr


def test_ctrl_c_outside_the_training_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("dinocli.config.load.recipe_names", interrupted)
    assert CliRunner().invoke(app, ["recipe", "list"]).exit_code == 130


@pytest.mark.parametrize(
    "arguments",
    [
        ("--nope",),
        ("pretrain",),
        ("pretrain", "images", "--nope"),
        ("pretrain", "images", "--steps", "0"),
        ("pretrain", "images", "--steps", "many"),
        ("pretrain", "images", "--channels", "0,,2"),
        ("unknown",),
        ("recipe", "unknown"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    done = warm(*arguments, cwd=tmp_path)
    assert done.code == 2
    assert done.out == ""
    assert "Traceback" not in done.err
    assert arguments[-1].lstrip("-") in done.err or "IMAGES" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--recipe", "natral"), ("did you mean natural?",)),
        (("--recipe", "nowhere.toml"), ("nowhere.toml not found", "recipe copy")),
        (("--set", "run.stps=3"), ("run.stps", "did you mean run.steps?")),
        (("--set", "rn.steps=3"), ("rn", "did you mean run?")),
        (("--set", "run.steps"), ("section.key=value",)),
        (("--set", "run.steps=-1"), ("run.steps", "-1")),
        (("--set", "optim.clip_mode=norm"), ("'parameter'", "norm")),
    ],
    ids=lambda value: value[-1] if value[0].startswith("--") else "",
)
def test_a_wrong_recipe_is_2_and_names_the_nearest(
    arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    done = in_process("pretrain", tmp_path, *arguments, cwd=tmp_path)
    refused(done, 2, *words)
    assert len(done.err.splitlines()) == 1


def test_a_gpu_that_is_not_there_is_2(images: Path, tmp_path: Path) -> None:
    refused(warm("pretrain", images, *TINY, "--device", "cuda:99", cwd=tmp_path), 2, "cuda:99", "--device cpu")
    refused(warm("pretrain", images, "--gpus", "4", cwd=tmp_path), 2, "--gpus 4: torch sees 0 GPUs")
    refused(warm("embed", images, "--gpus", "4", cwd=tmp_path), 2, "--gpus 4: torch sees 0 GPUs")


def test_no_image_is_3(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(in_process("pretrain", "empty", *TINY, cwd=tmp_path), 3, "no image in 'empty'")
    refused(in_process("pretrain", "emty", *TINY, cwd=tmp_path), 3, "no such file or folder", "did you mean 'empty'?")


def test_too_many_bad_images_are_3(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "images", 4)
    for name in ("00.png", "01.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:100])
    refused(warm("pretrain", folder, *TINY, "--max-bad", "1", cwd=tmp_path), 3, "2 of 4", "./00.png", "--max-bad 1")
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "only.png").write_text("no image")
    refused(warm("pretrain", folder, *TINY, cwd=tmp_path), 3, "./only.png")
    assert not (tmp_path / "runs").exists(), "a run that never began leaves nothing"


class Malice:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.mkdir, (str(self.target),)


def test_weights_that_cannot_be_used_are_4(images: Path, tmp_path: Path) -> None:
    def start(*weights: str | Path) -> Result:
        return warm("pretrain", images, "--device", "cpu", "--weights", *weights, cwd=tmp_path)

    refused(start("nowhere.pth"), 4, "nowhere.pth")
    refused(start("none"), 4, "--model")
    refused(start("none", "--model", "vit_smal_patch16_224"), 4, "vit_smal_patch16_224", "vit_small_patch16_224")
    refused(start("vit_tiny_patch16_224.augreg_in21k"), 4, "HF_HUB_OFFLINE", "--weights PATH", "--weights none")
    refused(start("organisation/never-heard-of"), 4, "organisation/never-heard-of", "--weights PATH")
    with (tmp_path / "evil.pth").open("wb") as file:
        pickle.dump(Malice(tmp_path / "owned"), file)
    refused(start("evil.pth", "--model", "test_convnext"), 4, "evil.pth")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param(
            ("optim.lr=1e30", "optim.head_lr=1e30"), ("not finite", "lower the learning rate"), marks=pytest.mark.slow
        ),
        (
            ("dino.warmup_teacher_temp=100", "dino.teacher_temp=100", "dino.student_temp=100"),
            ("uniform collapse", "dino.teacher_temp"),
        ),
    ],
    ids=["not finite", "collapse"],
)
def test_a_stopped_training_is_5_and_keeps_the_start(
    settings: tuple[str, ...], words: tuple[str, ...], images: Path, tmp_path: Path
) -> None:
    wanted = [word for setting in settings for word in ("--set", setting)]
    done = warm("pretrain", images, *TINY, *wanted, "--steps", "20", "--out", "run", cwd=tmp_path)
    refused(done, 5, *words, "original weights", "run/backbone")
    assert (tmp_path / "run" / "backbone" / "model.safetensors").is_file()
    assert "The guard stopped the run" in (tmp_path / "run" / "report.html").read_text()
    again = warm("pretrain", images, *TINY, *wanted, "--steps", "20", "--out", "run", "--resume", cwd=tmp_path)
    refused(again, 2, "stopped already")


def test_what_cannot_be_written_is_6(images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    below = warm("pretrain", images, *TINY, "--steps", "1", "--out", "file/run", cwd=tmp_path)
    refused(below, 6, "Not a directory", "file/run", "--out")


def test_a_device_or_a_pipe_is_no_output(tmp_path: Path) -> None:
    """As root, a file renamed to it would replace /dev/null of the machine."""
    os.mkfifo(tmp_path / "pipe")
    refused(
        in_process("recipe", "copy", "grey", "pipe", "--force", cwd=tmp_path), 2, "pipe is neither a file nor a folder"
    )
    assert (tmp_path / "pipe").is_fifo()
    with pytest.raises(UsageError, match="a device or a pipe"):
        write_atomic(tmp_path / "pipe", "text")


def test_debug_keeps_the_code_and_adds_the_traceback(tmp_path: Path) -> None:
    done = in_process("recipe", "show", "natral", "--debug", cwd=tmp_path)
    assert done.code == 2
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("dinocli: no recipe 'natral'")


WRONG: list[tuple[list[str], str]] = [
    (["segment", "x", "--method", "foo"], "'foo' is not one of 'auto', 'attention', 'tokencut', 'kmeans', 'pca'"),
    (["cluster", "x", "--map", "mds"], "'mds' is not one of 'pca', 'tsne', 'umap'"),
    (["embed", "x", "--no-such-option"], "No such option: --no-such-option"),
    (["embed", "x", "--device", "mps"], "choose auto, cpu, cuda or cuda:NUMBER, not 'mps'"),
    (["search", "x", "-n", "many"], "not 'many'; see `"),
    (["no-such-command"], "No such command 'no-such-command'"),
    (["--no-such-option"], "No such option: --no-such-option"),
    (["evaluate", "feats.npy", "--test", "a", "--test=b"], "--test takes one value and is given several times"),
    (["segment", "in", "--truth=a", "--truth", "b"], "--truth takes one value and is given several times"),
]
ONE_BY_ONE = """
import json, sys
from dinocli.cli.app import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["dinocli", *words]
    try:
        main()
    except SystemExit as end:
        assert end.code == 2 and "torch" not in sys.modules, words
"""


def test_a_wrong_command_line_is_one_line_and_loads_no_torch() -> None:
    command = [sys.executable, "-c", ONE_BY_ONE, json.dumps([words for words, _ in WRONG])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    for line, (_, message) in zip(done.stderr.splitlines(), WRONG, strict=True):
        assert message in line


def test_an_error_of_torch_and_torchvision_that_do_not_fit_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**_: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    told = "torchvision 0.26.0 does not fit torch 2.14.1"
    monkeypatch.setattr("dinocli.config.installed_packages.torch_mismatch", lambda: told)
    monkeypatch.setattr("dinocli.tasks.doctor.examine", fails)
    done = CliRunner().invoke(app, ["doctor"])
    refused(Result(done.exit_code, done.stdout, done.stderr), 4, told)


def test_a_rank_that_is_no_number_is_refused(tmp_path: Path) -> None:
    make_images(tmp_path / "images", 2)
    environment = {"WORLD_SIZE": "2", "RANK": "abc", "LOCAL_RANK": "0"}
    done = warm("pretrain", "images", "--weights", "none", "--model", "test_vit", cwd=tmp_path, env=environment)
    refused(done, 2, "RANK='abc'")
