"""Console output of a run: one line per finished phase, and a progress bar with the time left.

Nothing of a run depends on it: where nobody reads it any more, or its disk is full, what is said is lost.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm

from tgrpo_envs.command import forget

BAR_FORMAT = "{desc} {percentage:3.0f}%|{bar:24}| {n_fmt}/{total_fmt}{postfix}"


def say(text: str) -> None:
    """Print one line without tearing a progress bar apart."""
    output = _Heedless(sys.stdout)
    tqdm.write(text, file=output)
    output.flush()  # a reader that is gone is noticed here, not on the way out


class _Heedless:
    """A stream for tqdm that takes every text, whether or not it can be written.

    Args:
        stream: Standard output or error; None where the caller has closed it.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write as far as that is possible."""
        try:
            if self._stream is not None:
                self._stream.write(text)
        except OSError:
            forget(self._stream)

    def flush(self) -> None:
        """Likewise."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except OSError:
            forget(self._stream)

    def __getattr__(self, name: str) -> Any:
        """What else the stream has: tqdm asks for the terminal's width and letters."""
        return getattr(self._stream, name)

    def __eq__(self, other: object) -> bool:
        """By their streams, as tqdm finds the bars that a line would tear apart."""
        return self._stream is (other._stream if isinstance(other, _Heedless) else other)

    def __hash__(self) -> int:
        return hash(self._stream)


def clock(seconds: float) -> str:
    """Minutes and seconds, for example 3:07."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    return f"{minutes}:{rest:02d}"


class Stopwatch:
    """Wall-clock seconds of a run, those of earlier processes included."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def add(self, seconds: float) -> None:
        """Count what an earlier process of the run took."""
        self._started -= seconds

    @property
    def elapsed_s(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._started


class Progress:
    """A bar over `total` units of work; `advance` moves it and shows numbers beside it.

    Args:
        title: What is being done.
        total: Units of work.
        done: Units finished before this process started.
        shown: False for a bar that nobody sees.
    """

    def __init__(self, title: str, total: int, *, done: int = 0, shown: bool = True) -> None:
        self._bar = tqdm(
            total=total,
            file=_Heedless(sys.stderr),
            initial=done,
            desc=f"{title:<12}",
            bar_format=BAR_FORMAT,
            dynamic_ncols=True,
            leave=True,
            disable=not shown,
        )
        self._started = time.monotonic()
        self._done_before = done

    def advance(self, done: int, numbers: Mapping[str, str], *, seconds_left: float | None = None) -> None:
        """Move to `done` units and show the numbers and the time left (measured speed unless given)."""
        if seconds_left is None:
            here = done - self._done_before
            seconds_left = (time.monotonic() - self._started) / max(1, here) * ((self._bar.total or 0) - done)
        self._bar.set_postfix({**numbers, "left": clock(seconds_left)}, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Leave the bar on the screen as it is."""
        self._bar.close()


@contextmanager
def progress(title: str, total: int, *, done: int = 0, shown: bool = True) -> Iterator[Progress]:
    """A Progress that is closed at the end, whatever happens."""
    bar = Progress(title, total, done=done, shown=shown)
    try:
        yield bar
    finally:
        bar.close()
