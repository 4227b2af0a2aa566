"""Runs a command to its end: success, one sentence of refusal, or an interrupt, which also ends its child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from tgrpo_envs.errors import ConfigError, OutputError, TgrpoError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_QUIET_VARIABLE = "TGRPO_QUIET_INTERRUPT"  # set for a child, whose parent speaks for both
_ONE_INTERRUPT_S = 0.5  # `timeout` and terminals send a signal to a process and again to its group
_GRACE_S = 10.0


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


class Interruption:
    """Raises `Interrupted` wherever the program is, once for signals that come at the same moment."""

    def __init__(self) -> None:
        self._raised_s = -_ONE_INTERRUPT_S

    def __call__(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """The handler."""
        if time.monotonic() - self._raised_s >= _ONE_INTERRUPT_S:
            self._raised_s = time.monotonic()
            raise Interrupted(number)


@contextmanager
def listening(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Give SIGINT and SIGTERM to `handler` inside the `with`.

    What the parent has this process ignore stays ignored, as for all that runs under nohup or in a script's background:
    a Ctrl-C there is meant for another program. Outside the main thread there is nothing to listen with.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = [number for number in SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    for number in heard:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


@contextmanager
def postponing() -> Iterator[Callable[[], None]]:
    """Let a signal wait for the end of the `with`, or for a call of the function that it yields.

    A signal while a child is being started would otherwise leave a child that nobody knows.
    """
    came: list[int] = []

    def handle() -> None:
        for number in came[:1]:
            signal.raise_signal(number)

    with ExitStack() as stack:
        stack.callback(handle)
        stack.enter_context(listening(lambda number, _: came.append(number)))
        yield stack.close


def run_command(command: Callable[[], str | None], *, where: str = "", speaks: bool = True) -> int:
    """Do what the user asked for, and say in one line on stderr what kept it from ending well.

    Args:
        command: Does it, and returns what is to be printed.
        where: Which of several processes this is, in words after "error".
        speaks: Whether it says that it was interrupted; of several processes one does.

    Returns:
        The exit code: 0; 2 after an error of ours, or of a path that the system refuses; 130 after Ctrl-C, 143 after
            SIGTERM; 141 where it ended early because nobody reads what it says on the way.
    """
    try:
        with listening(Interruption()):
            _print(command())
    except TgrpoError as error:
        _complain(f"error{where}: {visible(str(error))}")
        return 2
    except KeyboardInterrupt as interrupt:
        if speaks and _QUIET_VARIABLE not in os.environ:
            _complain("\nInterrupted; nothing unfinished was left behind.")
        return interrupt.exit_code if isinstance(interrupt, Interrupted) else Interrupted(signal.SIGINT).exit_code
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):
            forget(stream)
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.filename is None:
            raise
        reason = error.strerror or type(error).__name__
        _complain(f"error{where}: {visible(str(error.filename))} cannot be used ({reason}); check that path.")
        return 2
    return 0


def run_child(
    command: Sequence[str], *, stdout: int | None = None, stderr: int | None = None, timeout_s: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a child to its end, its streams given as to `subprocess.run`; it has nothing to read.

    When this process is interrupted, or tired of waiting, the child is told to end and has some seconds to tidy up.

    Raises:
        subprocess.TimeoutExpired: It took longer than `timeout_s`.
    """
    environment = {**os.environ, _QUIET_VARIABLE: "1"}
    with (
        postponing() as hear,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True, env=environment
        ) as child,
    ):
        try:
            hear()
            out, err = child.communicate(timeout=timeout_s)
        except BaseException:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(_GRACE_S)
            raise
        finally:
            child.kill()  # harmless to one that has ended
    return subprocess.CompletedProcess(command, child.returncode, out, err)


def visible(text: str) -> str:
    """The text as a terminal may show it: what would steer a terminal, or be seen by nobody, as Python's escapes.

    Parts of a message may be a server's, a language model's or a file's. Lines, tabs and spaces of all kinds stay.
    """
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        char if char in "\n\t" or char.isprintable() or unicodedata.category(char) == "Zs" else ascii(char)[1:-1]
        for char in text
    )


def forget(stream: TextIO | None) -> None:
    """Let what is still written to a standard stream go nowhere, since nobody reads it, or its disk is full.

    What waits in its buffer too, of which Python would complain once more when it flushes at exit.
    """
    if stream is None:  # closed by the caller
        return
    with suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())  # which a notebook's stream does not have


def _print(text: str | None) -> None:
    """Write to standard output, which may be a full disk."""
    try:
        if sys.stdout is None:  # closed by the caller
            return
        if text is not None:
            encoding = sys.stdout.encoding or "utf-8"  # which may lack letters of a path or a sentence
            sys.stdout.write(f"{visible(text)}\n".encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        forget(sys.stdout)
    except OSError as error:
        forget(sys.stdout)
        raise OutputError(Path("Standard output"), error.strerror or str(error)) from error


def _complain(text: str) -> None:
    """Write to standard error, which may be closed, or a full disk: then the exit code says it alone."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
    except OSError:
        forget(sys.stderr)


@contextmanager
def in_a_clone() -> Iterator[None]:
    """For an import of `benchmarks`, which are beside the packages and not in them.

    Raises:
        ConfigError: They are not there.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "benchmarks":
            raise
        raise ConfigError(
            "The benchmarks are not part of the installed package; run this command in the folder of a clone."
        ) from error
