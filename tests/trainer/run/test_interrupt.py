"""Ctrl-C and SIGTERM: the first finishes the iteration and saves, the second leaves at once; both say how to go on."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from tests.helpers.ranks import DEADLINE_S, launch, launch_ranks, use_toy, wait
from tests.helpers.runs import assert_same_run
from tests.helpers.toy_env import ToyReach
from tests.helpers.toy_run import toy_config
from tgrpo_envs.command import Interrupted
from tgrpo_trainer import train as training
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.recipes import RECIPES
from tgrpo_trainer.run.checkpoint import latest_checkpoint
from tgrpo_trainer.run.signals import Signals


class SlowToy(ToyReach):
    """Each step takes 20 ms, so that signals find it playing."""

    def step(self, actions):
        time.sleep(0.02)
        return super().step(actions)


def make_slow_envs(config, num_envs):
    return SlowToy(num_envs, action_chunk=config.action_chunk, horizon=config.horizon)


def command(folder, iterations, *arguments):
    """The command line in a process of its own, on the slow toy."""
    use_toy(make_slow_envs)
    RECIPES["toy"] = lambda: toy_config(folder, iterations)
    sys.exit(main(["train", *(arguments or ("--recipe", "toy"))]))


def command_that_waits(folder, iterations):
    """The same, but its second iteration says by `folder`.waits that it has begun, and waits for `folder`.go_on."""
    run_iteration = training.run_iteration

    def wait_in_the_second(config, envs, student, updater, done, world):
        if done == 1:
            beside(folder, "waits").touch()
            while not beside(folder, "go_on").exists():
                time.sleep(0.01)
        return run_iteration(config, envs, student, updater, done, world)

    training.run_iteration = wait_in_the_second
    command(folder, iterations)


def beside(folder, name):
    return folder.with_suffix(f".{name}")


def done(folder):
    checkpoint = latest_checkpoint(folder / "last")
    return -1 if checkpoint is None else int(checkpoint.name.removeprefix("iteration_"))


def wait_until(holds, process):
    limit = time.monotonic() + DEADLINE_S
    while not holds():
        assert process.is_alive() and time.monotonic() < limit
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_finishes_the_iteration(tmp_path, number, code):
    folder, errors = tmp_path / "run", tmp_path / "errors"
    process = launch(command_that_waits, folder, 1000, stderr=errors)
    wait_until(beside(folder, "waits").exists, process)
    os.kill(process.pid, number)
    wait_until(lambda: "Will stop when this iteration is finished" in errors.read_text(), process)
    beside(folder, "go_on").touch()
    assert wait([process]) == [code]
    said = errors.read_text()
    assert done(folder) == 2
    assert "Traceback" not in said
    assert "finished and on disk: iteration 000002" in said
    assert f"python -m tgrpo_trainer train --resume {folder}" in said


def test_the_second_signal_leaves_at_once_and_nothing_is_lost(tmp_path):
    whole, folder, errors = tmp_path / "whole", tmp_path / "run", tmp_path / "errors"
    straight = launch(command, whole, 3, stderr=tmp_path / "whole_errors")
    process = launch(command_that_waits, folder, 3, stderr=errors)
    wait_until(beside(folder, "waits").exists, process)
    os.kill(process.pid, signal.SIGTERM)
    wait_until(lambda: "Again to leave at once" in errors.read_text(), process)
    os.kill(process.pid, signal.SIGTERM)
    assert wait([process]) == [143]
    assert "Interrupted; finished and on disk: iteration 000001" in errors.read_text()
    again = launch(command, folder, 3, "--resume", str(folder), stderr=errors)
    assert wait([straight, again]) == [0, 0], errors.read_text()
    assert_same_run(folder, whole)


def test_a_signal_to_one_rank_stops_all_after_the_same_iteration(tmp_path):
    folder = tmp_path / "run"
    processes = launch_ranks(command, folder, 1000, folder=tmp_path)
    wait_until(lambda: done(folder) >= 1, processes[0])
    os.kill(processes[1].pid, signal.SIGTERM)
    assert wait(processes) == [143, 143]
    assert f"finished and on disk: iteration {done(folder):06d}" in (tmp_path / "stderr_0").read_text()
    assert (tmp_path / "stderr_1").read_text() == ""


@pytest.fixture
def ctrl_c():
    """Sets what SIGINT does; the tests' parent may have them ignore it."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


def test_without_patience_a_signal_raises_wherever_the_program_is(ctrl_c):
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


def test_what_the_parent_has_a_program_ignore_stays_ignored(ctrl_c):
    ctrl_c(signal.SIG_IGN)
    signals = Signals()
    with signals.install():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted, match="SIGTERM"):
            signal.raise_signal(signal.SIGTERM)
    assert signals.received == 0
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
