"""Work spread over threads, results in order.

Threads, not processes: PIL, zlib and numpy let go of the interpreter while they decode and shrink, and two threads
fill a cache 1.75 to 2.2 times as fast as one. Processes would import the user's own script anew, which breaks it where
it has no main guard, and could outlive the run. The price: of the 1 ms that a small PNG takes, 0.3 ms cannot overlap,
so that a handful of threads is the most that helps there; large images scale on.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, TypeVar

from dinocli.cores import usable_cores

T = TypeVar("T")
R = TypeVar("R")

_MOST = 16  # each holds a few whole images at a time, and those can be large


def thread_count(workers: int | Literal["auto"]) -> int:
    """Return the number of threads; ``auto`` is the cores this process may use, at most 16."""
    return min(usable_cores(), _MOST) if workers == "auto" else workers


def in_order(
    function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int | None = None
) -> Generator[R, None, None]:
    """Apply a function to each item, like `map`, in threads.

    Only a few results wait at a time, so that memory stays flat however long the list is. When the iterator ends, is
    closed or fails, running calls are waited for and the rest is dropped: no thread is left.

    Args:
        function: Must be safe to call from several threads.
        items: May be endless.
        threads: 0 calls the function here.
        ahead: Results that may wait, beyond the one that is taken next; by default four a thread.
    """
    if threads == 0:
        yield from map(function, items)
        return
    most = 4 * threads if ahead is None else ahead
    pool = ThreadPoolExecutor(threads, thread_name_prefix="dinocli-decode")
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
