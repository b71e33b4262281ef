"""Kill a piece of work at every one of its file operations, and look at what is left each time.

The kernel's kill, not an exception: a `finally` must not tidy up. Python announces each file operation to audit hooks,
so a hook in a forked child can end it right before the operation. Works only where few modules are loaded, so it is run
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


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Do the work in a child that dies right before its operation of that number; say whether it died."""
    child = os.fork()
    if child == 0:
        left = [number]

        def hook(event: str, _: tuple[object, ...]) -> None:
            if event in OPERATIONS:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def state(folder: Path) -> State:
    """Return all files below a folder with their contents."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def write_set(folder: Path, word: str, *, tree: bool = False, bad: bool = False) -> None:
    """Write a result of several files, of which the last names the others."""
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


def seen(folder: Path) -> State:
    """Read the set as a command does."""
    target = folder / "feats.npy"
    return read_consistent(target, lambda _: {name: text for name, text in state(folder).items() if name[0] != "."})


def whole_sets(folder: Path, *, tree: bool) -> int:
    """Replace an old result by a new one, killed at each operation: a reader finds one of them, whole."""
    write_set(folder / "new", "new", tree=tree)
    write_set(folder / "old", "old", tree=tree, bad=True)
    old, new = state(folder / "old"), state(folder / "new")
    kills, went_over = 0, set()
    while killed_at(kills, lambda: write_set(folder / "old", "new", tree=tree)):
        found = seen(folder / "old")
        assert found in (old, new), (kills, found)
        went_over.add(found == new)
        write_set(folder / "old", "old", tree=tree, bad=True)
        assert state(folder / "old") == old, (kills, state(folder / "old"))  # also no left-overs
        kills += 1
    assert went_over == {False, True}
    return kills


def whole_files(folder: Path) -> int:
    """Replace one file, killed at each operation."""
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


WORKS: dict[str, Callable[[Path], int]] = {
    "files": lambda folder: whole_sets(folder, tree=False),
    "files-and-a-folder": lambda folder: whole_sets(folder, tree=True),
    "one-file": whole_files,
}


if __name__ == "__main__":
    sys.stdout.write(f"{WORKS[sys.argv[1]](Path(sys.argv[2]))}\n")
