import logging
import os
import sys
from multiprocessing.connection import Connection

import torch

from tests.forks import FORKS, LATE


def _describe(pipe: Connection) -> None:
    pipe.send({
        "not loaded": {"pytest", "dinocli.engine.step", *LATE} - {*sys.modules},
        "variables of pytest": [name for name in os.environ if name.startswith("PYTEST_")],
        "cache": os.environ["XDG_CACHE_HOME"],
        "handlers of pytest": logging.root.handlers,
        "threads": torch.get_num_threads(),
        "few files are open": len(os.listdir("/dev/fd")) < 12,
        "stdout": sys.stdout is sys.__stdout__,
    })  # fmt: skip


def test_a_forked_process_has_the_modules_of_pytest_but_none_of_its_changes() -> None:
    ours, theirs = FORKS.Pipe()
    child = FORKS.Process(target=_describe, args=(theirs,))
    child.start()
    found = ours.recv()
    child.join()
    assert found == {
        "not loaded": set(),
        "variables of pytest": [],
        "cache": os.environ["XDG_CACHE_HOME"],
        "handlers of pytest": [],
        "threads": 1,
        "few files are open": True,
        "stdout": True,
    }
