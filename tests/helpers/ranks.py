"""Processes for tests: functions run on several gloo ranks, or alone in a process that may be killed.

Processes are forked from a server that has imported everything once, so each starts in a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess as Process
from pathlib import Path
from typing import Any

import pytest
import torch

import tgrpo_trainer.train
from tgrpo_trainer.distributed.world import init_world, leave_world

Function = Callable[..., Any]
CONTEXT = multiprocessing.get_context("forkserver")
HELPERS = ("ranks", "toy_run", "tiny_openvla")
CONTEXT.set_forkserver_preload(
    [*(f"tests.helpers.{name}" for name in HELPERS), "torch._dynamo", "tgrpo_trainer.policy.openvla"]
)
DEADLINE_S = 900  # of a machine ten times slower than usual


def launch(function: Function, *arguments: Any, stderr: Path | None = None, **environment: str) -> Process:
    """Start a process that calls a module-level function; its standard error goes to a file."""
    _start_server()
    process = CONTEXT.Process(target=_enter, args=(function, arguments, stderr, environment))
    process.start()
    return process


def launch_ranks(function: Function, *arguments: Any, folder: Path, size: int = 2) -> list[Process]:
    """The same on `size` ranks, as torchrun would start them: each writes `stderr_RANK` into the folder."""
    port = _free_port()
    return [
        launch(
            function,
            *arguments,
            stderr=folder / f"stderr_{rank}",
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(size),
            LOCAL_WORLD_SIZE=str(size),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
        )
        for rank in range(size)
    ]


def wait(processes: Sequence[Process]) -> list[int | None]:
    """Exit codes; processes that do not end are killed, and the test fails."""
    for process in processes:
        process.join(DEADLINE_S)
    hanging = [process for process in processes if process.is_alive()]
    for process in hanging:
        process.kill()
    if hanging:
        pytest.fail(f"{len(hanging)} of {len(processes)} processes hang")
    return [process.exitcode for process in processes]


def on_ranks(function: Function, *arguments: Any, folder: Path, size: int = 2) -> list[Any]:
    """What `function(world, *arguments)` returns on each rank (tensors, numbers, dicts and lists of them)."""
    folder.mkdir(parents=True, exist_ok=True)
    processes = launch_ranks(_answer, function, folder, arguments, folder=folder, size=size)
    codes = wait(processes)
    assert codes == [0] * size, [(folder / f"stderr_{rank}").read_text()[-3000:] for rank in range(size)]
    return [torch.load(folder / f"answer_{rank}.pt", weights_only=True) for rank in range(size)]


def send(process: Process, number: int) -> None:
    """Send a signal to a process that was started."""
    assert process.pid is not None
    os.kill(process.pid, number)


def _start_server() -> None:
    """With this process's path: Python 3.11 forgets to give it, and the server would import nothing ahead."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        forkserver.ensure_running()


def _answer(function: Function, folder: Path, arguments: tuple[Any, ...]) -> None:
    world = init_world("cpu", timeout_minutes=DEADLINE_S / 60)
    torch.save(function(world, *arguments), folder / f"answer_{world.rank}.pt")
    leave_world(world)


def _enter(function: Function, arguments: tuple[Any, ...], stderr: Path | None, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests' own parent may have them ignore it
    torch.set_num_threads(1)
    if stderr is not None:
        descriptor = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
    function(*arguments)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def use_toy(make_envs: Function) -> None:
    """Let runs of this process play the toy task, without report and videos, which take seconds to draw."""
    tgrpo_trainer.train.make_envs = make_envs  # type: ignore[attr-defined]
    tgrpo_trainer.train.write_report = lambda folder: folder / "report.html"  # type: ignore[attr-defined]
    tgrpo_trainer.train._write_videos = lambda *_: None
