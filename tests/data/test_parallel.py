"""Parallel map: order, bounded memory, clean-up of threads."""

import threading
import time
from collections.abc import Iterator

import pytest

from dinocli.data.parallel import in_order, thread_count


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_results_keep_the_order_of_the_items(threads: int) -> None:
    def slow(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(in_order(slow, range(40), threads)) == [item * item for item in range(40)]


def test_items_are_consumed_lazily() -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        item = 0
        while True:
            taken.append(item)
            yield item
            item += 1

    results = in_order(str, endless(), 2)
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    results.close()
    assert len(taken) < 20


def test_error_is_raised_in_order_and_ends_the_threads() -> None:
    def work(item: int) -> int:
        return 6 // (3 - item)

    before = threading.enumerate()  # other tests may have left some
    results = in_order(work, range(10), 2)
    assert [next(results) for _ in range(3)] == [2, 3, 6]
    assert set(threading.enumerate()) - set(before)
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not set(threading.enumerate()) - set(before)


def test_auto_thread_count_is_the_usable_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(3)))
    assert (thread_count("auto"), thread_count(0), thread_count(7)) == (3, 0, 7)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(128)))
    assert thread_count("auto") == 16
