"""Ctrl-C and SIGTERM: the first lets a run come to a good place and stop there, the second leaves at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

WAITING = b"\nWill stop when this iteration is finished and on disk. Again to leave at once.\n"


class Interrupted(KeyboardInterrupt):
    """A signal that ends the process.

    Args:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """As shells have it: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.number


class Signals:
    """What has been asked of this process; `install` makes it listen.

    Args:
        announce: Say what the first signal does.

    Attributes:
        received: Number of the signal that waits for the next good place; 0 if there is none.
    """

    def __init__(self, *, announce: bool = False) -> None:
        self.received = 0
        self._announce = announce
        self._patient = False

    @contextmanager
    def install(self) -> Iterator[None]:
        """Listen to SIGINT and SIGTERM inside the `with` (main thread only)."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._handle) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Inside the `with` the first signal only sets `received`; outside each one raises at once.

        Raises:
            Interrupted: At the second signal, wherever the program is.
        """
        self._patient = True
        try:
            yield
        finally:
            self._patient = False

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if not self._patient or self.received:
            raise Interrupted(number)
        self.received = number
        if self._announce:
            os.write(2, WAITING)  # the handler may have come in the middle of a print, which cannot be entered twice
