"""Commands in processes of their own, found by what they have started rather than by the clock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 300  # of a machine ten times slower than usual


@contextmanager
def started(*arguments: str, folder: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`python ARGUMENTS` with Ctrl-C as at a terminal; its outputs go to `folder`/stdout and `folder`/stderr."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "stdout").open("w") as stdout, (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        yield process
    finally:
        with_children = [process.pid, *descendants(process.pid)]
        for pid in with_children:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until it holds; the process must live meanwhile."""
    limit = time.monotonic() + DEADLINE_S
    while not holds():
        assert process.poll() is None, f"ended with {process.returncode} before it came so far"
        assert time.monotonic() < limit, "never came so far"
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    """Children and theirs."""
    return [one for child in children_of(pid) for one in (child, *descendants(child))]


def children_of(pid: int, command: str = "") -> list[int]:
    """The processes it started itself, those with `command` in their command line."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(one) for one in task.read_text().split()]
        except OSError:  # the thread has ended
            continue
    return [child for child in found if command in command_of(child)]


def command_of(pid: int) -> str:
    """Its command line; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
