"""A fixed set of threads that drain a shared queue of rows, each thread with its own state (model copy, OpenGL).

Whoever calls may be interrupted at any moment, by Ctrl-C or by another signal whose handler raises, and may be forked.
So the caller and its threads share nothing but queues and flags that are written in one go, and control returns only
when no thread works any more.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence

_POLL_S = 0.001  # between two looks at threads that an interrupted caller waits for

_Function = Callable[[int, int], None]
_pools: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


class WorkerPool:
    """Threads numbered 0 to `size` - 1, started when first needed, ended by `close` or when nobody holds the pool.

    A forked child has none of its parent's threads: the pool starts new ones there.

    Args:
        size: Number of threads.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._workers: list[_Worker] = []
        self._is_busy = False  # or may be: an interrupted call was not seen to end
        weakref.finalize(self, _dismiss, self._workers)
        _pools.add(self)

    def map(
        self, function: _Function, items: Iterable[int], *, own_thread: bool = False, at_most: int | None = None
    ) -> None:
        """Call ``function(worker, item)`` for every item, whichever worker is free taking the next.

        Args:
            function: What to do.
            items: For what.
            own_thread: Whether it must be the worker's own thread, as OpenGL demands. Else the caller does the work
                of worker 0: to wake a thread on a busy machine takes milliseconds, in which the caller may have done
                it all.
            at_most: Workers to use, the first ones; None takes all.

        Raises:
            Exception: The first error of a call; the other items are done all the same.
            BaseException: What interrupts the caller, such as KeyboardInterrupt, when every thread has finished the
                item that it was at. The caller's own item is cut short, and the rest of the queue is not done.
        """
        self.settle()
        rows = list(items)
        order = _Order(function, rows)
        first, last = (0 if own_thread else 1), min(len(rows), at_most or self._size)
        threads = self._crew()[first:last] if last > first else []
        self._is_busy = bool(threads)
        try:
            for thread in threads:
                thread.inbox.put(order)
            if not own_thread:
                order.carry_out(0)
            for _ in rows:
                order.reports.get()
        except BaseException:
            order.is_cancelled = True
            self.settle()
            raise
        self._is_busy = False
        if order.errors:
            raise order.errors[0]

    def settle(self) -> None:
        """Make sure that no worker does anything, after a call that was interrupted; else it costs nothing.

        A second interrupt waits too, and is raised then: a worker that went on would write into its caller's arrays.
        """

        def wait() -> None:
            # Inboxes are read in order, so whoever reports this has nothing older to do. How many of the interrupted
            # call's orders were sent, and which of its reports were read, cannot be known.
            orders = [_Order(_do_nothing, (0,)) for _ in self._workers]
            for worker, order in zip(self._workers, orders, strict=True):
                worker.inbox.put(order)
            while any(order.reports.empty() for order in orders):
                time.sleep(_POLL_S)
            self._is_busy = False

        if self._is_busy:
            _see_through(wait)

    def at_end(self, worker: int, job: Callable[[], None]) -> None:
        """Call `job` on the worker's own thread as the last thing it does.

        That is in `close`, or when nobody holds the pool any more, or at the end of the process, before the exit
        handlers that are registered by now.
        """
        self._crew()[worker].last_jobs.append(job)
        atexit.unregister(_close_all)
        atexit.register(_close_all)  # handlers run last in, first out

    def close(self) -> None:
        """End the threads; closing twice is harmless, and the next call starts new ones."""

        def wait() -> None:
            _dismiss(self._workers)
            while not all(worker.has_ended for worker in self._workers):
                time.sleep(_POLL_S)
            self._workers.clear()
            self._is_busy = False

        _see_through(wait)

    def forget(self) -> None:
        """In a forked child: the threads are the parent's, and so are the objects that only they may destroy."""
        for worker in self._workers:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(worker))  # never destroyed, not even when the process ends
        self._workers.clear()
        self._is_busy = False

    def _crew(self) -> list[_Worker]:
        while len(self._workers) < self._size:
            self._workers.append(_Worker(len(self._workers)))
        return self._workers


class _Order:
    """What the workers do together in one call.

    Attributes:
        is_cancelled: Whether the items that nobody has begun are left out.
        reports: The items that are done, one report each.
        errors: What was raised.
    """

    def __init__(self, function: _Function, rows: Sequence[int]) -> None:
        self.is_cancelled = False
        self.reports: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.errors: list[Exception] = []
        self._function = function
        self._rows = iter(rows)  # `next` on it is atomic, so it is the queue

    def carry_out(self, worker: int) -> None:
        for row in self._rows:
            if self.is_cancelled:
                break
            try:
                self._function(worker, row)
            except Exception as error:  # noqa: BLE001 - handed to the caller of `map`, which raises it
                self.errors.append(error)
            self.reports.put(row)


class _Worker:
    """One thread with its inbox. It does not know its pool, which may be dropped."""

    def __init__(self, number: int) -> None:
        self.inbox: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self.last_jobs: list[Callable[[], None]] = []
        self.has_ended = False
        self._number = number
        threading.Thread(target=self._serve, name=f"tgrpo-worker-{number}", daemon=True).start()

    def _serve(self) -> None:
        try:
            while (order := self.inbox.get()) is not None:
                order.carry_out(self._number)
                del order  # a waiting thread must not keep the last order's simulator alive
            while self.last_jobs:
                self.last_jobs.pop()()
        finally:
            self.has_ended = True


def _do_nothing(_worker: int, _row: int) -> None:
    """What is ordered of workers that shall only report."""


def _see_through(wait: Callable[[], None]) -> None:
    """Call `wait` until it returns, however often it is interrupted; the last interrupt is raised then."""
    interrupt: BaseException | None = None
    while True:
        try:
            wait()
            break
        except BaseException as error:  # noqa: BLE001 - raised below
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _dismiss(workers: Sequence[_Worker]) -> None:
    """Tell the workers to end; to say it twice is harmless."""
    for worker in workers:
        worker.inbox.put(None)


def _close_all() -> None:
    for pool in list(_pools):
        pool.close()


def _forget_all() -> None:
    for pool in list(_pools):
        pool.forget()


os.register_at_fork(after_in_child=_forget_all)
