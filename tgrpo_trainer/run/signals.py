"""Ctrl-C and SIGTERM: the first signal finishes the iteration, saves and exits; the second exits at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType

from tgrpo_envs.command import Interruption, listening

WAITING = b"\nWill stop when this iteration is finished and on disk. Again to leave at once.\n"


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
        self._raise = Interruption()

    def install(self) -> AbstractContextManager[None]:
        """Listen to SIGINT and SIGTERM inside the `with`; see `tgrpo_envs.command.listening`."""
        return listening(self._handle)

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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._patient or self.received:
            self._raise(number, frame)
            return
        self.received = number
        if self._announce:
            # Not printed: the handler may have come in the middle of a print, which cannot be entered twice.
            with suppress(OSError):  # nobody reads it any more
                os.write(2, WAITING)
