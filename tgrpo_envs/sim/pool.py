"""A fixed set of threads that drain a shared queue of rows, each thread with its own state (model copy, OpenGL)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future


class WorkerPool:
    """Threads numbered 0 to `size` - 1 that live until `close`.

    Args:
        size: Number of threads.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._inboxes: list[queue.SimpleQueue[tuple[Callable[[], None], Future[None]] | None]] = [
            queue.SimpleQueue() for _ in range(size)
        ]
        self._threads = [
            threading.Thread(target=_serve, args=(inbox,), name=f"tgrpo-worker-{i}", daemon=True)
            for i, inbox in enumerate(self._inboxes)
        ]
        for thread in self._threads:
            thread.start()

    def map(self, function: Callable[[int, int], None], items: Iterable[int]) -> None:
        """Call ``function(worker, item)`` for every item, whichever worker is free taking the next.

        Raises:
            Exception: The first error of a call; the worker that met it stops, the others finish the queue.
        """
        rows = list(items)
        shared = iter(rows)  # `next` on a list iterator is atomic, so it is the queue
        workers = range(min(self.size, len(rows)))
        self._run([(worker, _drain(function, worker, shared)) for worker in workers])

    def each(self, function: Callable[[int], None]) -> None:
        """Call ``function(worker)`` once on every worker's own thread."""
        self._run([(worker, lambda worker=worker: function(worker)) for worker in range(self.size)])  # type: ignore[misc]

    def close(self) -> None:
        """End the threads; closing twice is harmless."""
        for inbox in self._inboxes:
            inbox.put(None)
        for thread in self._threads:
            thread.join()
        self._inboxes, self._threads = [], []

    def _run(self, jobs: list[tuple[int, Callable[[], None]]]) -> None:
        futures: list[Future[None]] = []
        for worker, job in jobs:
            future: Future[None] = Future()
            self._inboxes[worker].put((job, future))
            futures.append(future)
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]


def _drain(function: Callable[[int, int], None], worker: int, shared: Iterator[int]) -> Callable[[], None]:
    def job() -> None:
        for item in shared:
            function(worker, item)

    return job


def _serve(inbox: queue.SimpleQueue[tuple[Callable[[], None], Future[None]] | None]) -> None:
    while (entry := inbox.get()) is not None:
        job, future = entry
        try:
            job()
        except Exception as error:  # noqa: BLE001 - handed to the caller of `map`, which raises it
            future.set_exception(error)
        else:
            future.set_result(None)
