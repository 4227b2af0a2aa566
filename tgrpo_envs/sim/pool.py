"""A fixed set of threads that drain a shared queue of rows, each thread with its own state (model copy, OpenGL)."""

from __future__ import annotations

import atexit
import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial

_Job = Callable[[], None]
_Inbox = queue.SimpleQueue[tuple[_Job, "Future[None]"] | None]
_pools: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


class WorkerPool:
    """Threads numbered 0 to `size` - 1 that live until `close`, or until nobody holds the pool.

    Args:
        size: Number of threads.
    """

    def __init__(self, size: int) -> None:
        self._inboxes: list[_Inbox] = [queue.SimpleQueue() for _ in range(size)]
        self._last_jobs: list[list[_Job]] = [[] for _ in range(size)]
        self._threads = [
            threading.Thread(target=_serve, args=(inbox, last), name=f"tgrpo-worker-{i}", daemon=True)
            for i, (inbox, last) in enumerate(zip(self._inboxes, self._last_jobs, strict=True))
        ]
        for thread in self._threads:
            thread.start()
        self._end = weakref.finalize(self, _send_end, self._inboxes)
        _pools.add(self)

    def map(self, function: Callable[[int, int], None], items: Iterable[int], *, own_thread: bool = False) -> None:
        """Call ``function(worker, item)`` for every item, whichever worker is free taking the next.

        Args:
            function: What to do.
            items: For what.
            own_thread: Whether it must be the worker's own thread, as OpenGL demands. Else the caller does the work
                of worker 0 where there is nothing to share: to wake a thread on a busy machine takes milliseconds.

        Raises:
            Exception: The first error of a call; the worker that met it stops, the others finish the queue.
        """
        rows = list(items)
        if not own_thread and min(len(rows), len(self._inboxes)) == 1:
            for row in rows:
                function(0, row)
            return
        shared = iter(rows)  # `next` on a list iterator is atomic, so it is the queue
        count = min(len(self._inboxes), len(rows))
        self._run([partial(_drain, function, worker, shared) for worker in range(count)])

    def at_end(self, worker: int, job: Callable[[], None]) -> None:
        """Call `job` on the worker's own thread as the last thing it does.

        That is in `close`, or when nobody holds the pool any more, or at the end of the process, before the exit
        handlers that are registered by now.
        """
        self._last_jobs[worker].append(job)
        atexit.unregister(_close_all)
        atexit.register(_close_all)  # handlers run last in, first out

    def close(self) -> None:
        """End the threads; closing twice is harmless."""
        self._end()
        for thread in self._threads:
            thread.join()
        self._inboxes, self._threads = [], []

    def _run(self, jobs: list[_Job]) -> None:
        """One job for each of the first workers; waits for all of them."""
        futures: list[Future[None]] = [Future() for _ in jobs]
        for inbox, job, future in zip(self._inboxes, jobs, futures, strict=False):
            inbox.put((job, future))
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]


def _drain(function: Callable[[int, int], None], worker: int, shared: Iterator[int]) -> None:
    for item in shared:
        function(worker, item)


def _serve(inbox: _Inbox, last_jobs: list[_Job]) -> None:
    while (entry := inbox.get()) is not None:
        job, future = entry
        try:
            job()
        except Exception as error:  # noqa: BLE001 - handed to the caller of `map`, which raises it
            future.set_exception(error)
        else:
            future.set_result(None)
        del entry, job, future  # a waiting thread must not keep the last job's simulator alive
    while last_jobs:
        last_jobs.pop()()


def _send_end(inboxes: list[_Inbox]) -> None:
    for inbox in inboxes:
        inbox.put(None)


def _close_all() -> None:
    for pool in list(_pools):
        pool.close()
