"""Kill a task before each of its file operations, and check what is left.

SIGKILL, not an exception, so that no `finally` block runs. Python reports each file operation to audit hooks; a hook in
a forked child kills the child before a given operation. Forking needs a process with few modules loaded, so this runs
as a program: `python -m tests.faults.crash NAME FOLDER`.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from dinocli.file_set import FileSet, claimed, read_consistent
from dinocli.files import hidden_sibling, write_atomic

OPERATIONS = {"open", "os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.symlink"}

State = dict[str, str]


def killed_at(number: int, task: Callable[[], object]) -> bool:
    """Run a task in a child that is killed before its file operation `number`, from 0; return whether it was killed."""
    child = os.fork()
    if child == 0:
        remaining = [number]

        def hook(event: str, _: tuple[object, ...]) -> None:
            if event in OPERATIONS:
                remaining[0] -= 1
                if remaining[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        task()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def state(folder: Path) -> State:
    """Return the content of each file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def write_set(folder: Path, word: str, *, tree: bool = False, bad: bool = False) -> None:
    """Write a result of several files by `FileSet`, `feats.npy` last."""
    target = folder / "feats.npy"
    with claimed(target), FileSet(target) as files:
        files.drop(folder / "feats.bad.csv")
        for name in ("feats.json", *(["feats.bad.csv"] if bad else [])):
            write_atomic(files.new(folder / name), word)
        if tree:
            part = files.new(folder / "groups")
            (part / "0").mkdir(parents=True)
            (part / "0" / "a.txt").write_text(word)
        write_atomic(files.new(target), word)
        files.commit()


def read_set(folder: Path) -> State:
    """Read the result as a command does."""
    target = folder / "feats.npy"
    return read_consistent(target, lambda _: {name: text for name, text in state(folder).items() if name[0] != "."})


def check_sets(folder: Path, *, tree: bool) -> int:
    """Replace an old result, killed before each operation: readers get all old or all new files. Return the kills."""
    write_set(folder / "new", "new", tree=tree)
    write_set(folder / "old", "old", tree=tree, bad=True)
    old, new = state(folder / "old"), state(folder / "new")
    kills, is_new = 0, set()
    while killed_at(kills, lambda: write_set(folder / "old", "new", tree=tree)):
        result = read_set(folder / "old")
        assert result in (old, new), (kills, result)
        is_new.add(result == new)
        write_set(folder / "old", "old", tree=tree, bad=True)
        assert state(folder / "old") == old, (kills, state(folder / "old"))  # also no temporary files
        kills += 1
    assert is_new == {False, True}
    return kills


def check_files(folder: Path) -> int:
    """Replace one file, killed before each operation; return the kills."""
    path, kills = folder / "a.txt", 0
    write_atomic(path, "old")
    while killed_at(kills, lambda: write_atomic(path, "new")):
        assert path.read_text() in ("old", "new")
        with claimed(folder / "another"):
            pass
        assert os.listdir(folder) == ["a.txt"], os.listdir(folder)
        write_atomic(path, "old")
        kills += 1
    assert not hidden_sibling(path, "lock").exists()
    return kills


TASKS: dict[str, Callable[[Path], int]] = {
    "files": lambda folder: check_sets(folder, tree=False),
    "files-and-a-folder": lambda folder: check_sets(folder, tree=True),
    "one-file": check_files,
}


if __name__ == "__main__":
    sys.stdout.write(f"{TASKS[sys.argv[1]](Path(sys.argv[2]))}\n")
