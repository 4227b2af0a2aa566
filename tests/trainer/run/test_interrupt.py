"""Ctrl-C and SIGTERM: the first finishes the iteration and saves, the second leaves at once; both say how to go on."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess as Process
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from numpy.typing import NDArray

from tests.helpers.ranks import DEADLINE_S, launch, launch_ranks, send, use_toy, wait
from tests.helpers.runs import assert_same_run, evaluated
from tests.helpers.toy_env import ToyReach
from tests.helpers.toy_run import toy_config
from tgrpo_envs.command import Interrupted
from tgrpo_trainer import train as training
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.config import EnvConfig, TrainConfig
from tgrpo_trainer.distributed.fsdp import ShardedPolicy
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.optim.update import PolicyUpdater
from tgrpo_trainer.recipes import RECIPES
from tgrpo_trainer.rollout.tasks import TaskEnvs
from tgrpo_trainer.run.checkpoint import latest_checkpoint
from tgrpo_trainer.run.signals import Signals
from tgrpo_trainer.train_step import Iteration, run_iteration

SetHandler = Callable[[Callable[[int, FrameType | None], object] | signal.Handlers], object]


class SlowToy(ToyReach):
    """Each step takes 20 ms, so that signals find it playing."""

    def step(self, actions: NDArray[Any]) -> Any:
        time.sleep(0.02)
        return super().step(actions)


def make_slow_envs(config: EnvConfig, num_envs: int) -> SlowToy:
    return SlowToy(num_envs, action_chunk=config.action_chunk, horizon=config.horizon)


def command(folder: Path, iterations: int, *arguments: str) -> None:
    """The command line in a process of its own, on the slow toy."""
    use_toy(make_slow_envs)
    RECIPES["toy"] = lambda: toy_config(folder, iterations)
    sys.exit(main(["train", *(arguments or ("--recipe", "toy"))]))


def command_that_waits(folder: Path, iterations: int) -> None:
    """The same, but its second iteration says by `folder`.waits that it has begun, and waits for `folder`.go_on."""

    def wait_in_the_second(
        config: TrainConfig, envs: TaskEnvs, student: ShardedPolicy, updater: PolicyUpdater, done: int, world: World
    ) -> Iteration:
        if done == 1:
            beside(folder, "waits").touch()
            while not beside(folder, "go_on").exists():
                time.sleep(0.01)
        return run_iteration(config, envs, student, updater, done, world)

    training.run_iteration = wait_in_the_second  # type: ignore[attr-defined, assignment]
    command(folder, iterations)


def beside(folder: Path, name: str) -> Path:
    return folder.with_suffix(f".{name}")


def done(folder: Path) -> int:
    checkpoint = latest_checkpoint(folder / "last")
    return -1 if checkpoint is None else int(checkpoint.name.removeprefix("iteration_"))


def wait_until(holds: Callable[[], bool], process: Process) -> None:
    limit = time.monotonic() + DEADLINE_S
    while not holds():
        assert process.is_alive() and time.monotonic() < limit
        time.sleep(0.01)


def signalled(folder: Path, iterations: int, number: signal.Signals, errors: Path, answer: str) -> Process:
    """The command, told to end in its second iteration, once it has answered."""
    process = launch(command_that_waits, folder, iterations, stderr=errors)
    wait_until(beside(folder, "waits").exists, process)
    send(process, number)
    wait_until(lambda: answer in errors.read_text(), process)
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_finishes_the_iteration(tmp_path: Path, number: signal.Signals, code: int) -> None:
    folder, errors = tmp_path / "run", tmp_path / "errors"
    process = signalled(folder, 1000, number, errors, "Will stop when this iteration is finished")
    beside(folder, "go_on").touch()
    assert wait([process]) == [code]
    said = errors.read_text()
    assert done(folder) == 2
    assert "Traceback" not in said
    assert "finished and on disk: iteration 000002" in said
    assert f"python -m tgrpo_trainer train --resume {folder}" in said


def test_the_second_signal_leaves_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    whole, folder, errors = tmp_path / "whole", tmp_path / "run", tmp_path / "errors"
    straight = launch(command, whole, 3, stderr=tmp_path / "whole_errors")
    process = signalled(folder, 3, signal.SIGTERM, errors, "Again to leave at once")
    send(process, signal.SIGTERM)
    assert wait([process]) == [143]
    assert "Interrupted; finished and on disk: iteration 000001" in errors.read_text()
    again = launch(command, folder, 3, "--resume", str(folder), stderr=errors)
    assert wait([straight, again]) == [0, 0], errors.read_text()
    assert_same_run(folder, whole)


def test_a_signal_in_the_last_iteration_leaves_the_last_evaluation_to_be_gone_on_with(tmp_path: Path) -> None:
    whole, folder, errors = tmp_path / "whole", tmp_path / "run", tmp_path / "errors"
    straight = launch(command, whole, 2, stderr=tmp_path / "whole_errors")
    process = signalled(folder, 2, signal.SIGTERM, errors, "Will stop when this iteration is finished")
    beside(folder, "go_on").touch()
    assert wait([process]) == [143]
    assert f"iteration 000002. Go on with: python -m tgrpo_trainer train --resume {folder}" in errors.read_text()
    assert list(evaluated(folder)) == ["iteration_000000.json"]
    again = launch(command, folder, 2, "--resume", str(folder), stderr=errors)
    assert wait([straight, again]) == [0, 0], errors.read_text()
    assert_same_run(folder, whole)


def test_a_signal_to_one_rank_stops_all_after_the_same_iteration(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    processes = launch_ranks(command, folder, 1000, folder=tmp_path)
    wait_until(lambda: done(folder) >= 1, processes[0])
    send(processes[1], signal.SIGTERM)
    assert wait(processes) == [143, 143]
    assert f"finished and on disk: iteration {done(folder):06d}" in (tmp_path / "stderr_0").read_text()
    assert (tmp_path / "stderr_1").read_text() == ""


@pytest.fixture
def ctrl_c() -> Iterator[SetHandler]:
    """Sets what SIGINT does; the tests' parent may have them ignore it."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


def test_without_patience_a_signal_raises_wherever_the_program_is(ctrl_c: SetHandler) -> None:
    ctrl_c(signal.default_int_handler)
    signals = Signals()
    with signals.install():
        with pytest.raises(Interrupted, match="SIGTERM") as caught:
            signal.raise_signal(signal.SIGTERM)
        assert caught.value.exit_code == 143
        with signals.patience():
            signal.raise_signal(signal.SIGINT)
            assert signals.received == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_is_heard_where_nobody_reads_the_answer() -> None:
    signals, standard_error = Signals(announce=True), os.dup(2)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with signals.install(), signals.patience():
            os.dup2(writer, 2)
            signal.raise_signal(signal.SIGTERM)
    finally:
        os.dup2(standard_error, 2)
        for descriptor in (standard_error, writer):
            os.close(descriptor)
    assert signals.received == signal.SIGTERM


def test_what_the_parent_has_a_program_ignore_stays_ignored(ctrl_c: SetHandler) -> None:
    ctrl_c(signal.SIG_IGN)
    signals = Signals()
    with signals.install():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted, match="SIGTERM"):
            signal.raise_signal(signal.SIGTERM)
    assert signals.received == 0
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
