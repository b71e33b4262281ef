import sys
from multiprocessing.connection import Connection

from tests.forks import FORKS, LOADED, start


def _missing(pipe: Connection, before: tuple[str, ...]) -> None:
    pipe.send([name for name in before if name not in sys.modules])


def test_a_fork_has_everything_loaded() -> None:
    """A wrong name in the list would pass in silence, and cost seconds in each test."""
    ours, theirs = FORKS.Pipe()
    child = FORKS.Process(target=_missing, args=(theirs, LOADED))
    start(child)
    assert ours.recv() == []
    child.join()
