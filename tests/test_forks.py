import re
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from tests.conftest import FORKING
from tests.forks import FORKS, LOADED, start

TESTS = Path(__file__).parent
FORKS_SOMETHING = re.compile(r"\b(?:start_warm|warm|processes|FORKS\.Process)\(")


def _missing(pipe: Connection, before: tuple[str, ...]) -> None:
    pipe.send([name for name in before if name not in sys.modules])


def test_a_fork_has_everything_loaded() -> None:
    """A wrong name in the list would pass in silence, and cost seconds in each test."""
    ours, theirs = FORKS.Pipe()
    child = FORKS.Process(target=_missing, args=(theirs, LOADED))
    start(child)
    assert ours.recv() == []
    child.join()


def test_files_that_fork_share_one_server() -> None:
    """A second server would load torch once more, for ten seconds."""
    forking = [path for path in TESTS.rglob("test_*.py") if FORKS_SOMETHING.search(path.read_text())]
    names = [path.relative_to(TESTS).as_posix() for path in forking]
    assert len(names) > 20
    assert [name for name in names if not name.startswith(FORKING)] == []
