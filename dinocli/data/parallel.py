"""Ordered parallel map in threads.

Threads, not processes: PIL, zlib and NumPy release the GIL while they decode and resize, and two threads fill a cache
1.75 to 2.2 times as fast as one. Processes would import the user's script again, which breaks scripts without a main
guard, and could outlive the run. Cost: of the 1 ms that a small PNG takes, 0.3 ms hold the GIL, so more than a few
threads do not help there; large images scale further.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, TypeVar

from dinocli.cores import usable_cores

T = TypeVar("T")
R = TypeVar("R")

_MAX_THREADS = 16  # each holds a few images at full resolution


def thread_count(workers: int | Literal["auto"]) -> int:
    """Return the number of threads; ``auto`` is the number of usable cores, at most 16."""
    return min(usable_cores(), _MAX_THREADS) if workers == "auto" else workers


def in_order(
    function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int | None = None
) -> Generator[R, None, None]:
    """Apply a function to each item in threads; yield the results in the order of the items.

    The number of pending results is limited, so memory use does not grow with the number of items. When the iterator
    ends, is closed or fails, running calls finish and pending ones are cancelled; no thread remains.

    Args:
        function: Thread-safe function.
        items: Items; may be infinite.
        threads: Number of threads; 0 calls the function in this thread.
        ahead: Maximum number of results computed ahead; by default 4 per thread.
    """
    if threads == 0:
        yield from map(function, items)
        return
    max_pending = 4 * threads if ahead is None else ahead
    pool = ThreadPoolExecutor(threads, thread_name_prefix="dinocli-decode")
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > max_pending:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
