"""Going on exactly: a run that was stopped anywhere, by anything, ends bit for bit as the run that never was."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

import tgrpo_trainer.run.checkpoint
from tests.helpers.ranks import launch, use_toy, wait
from tests.helpers.runs import assert_same_run, evaluated, latest, logged
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.config import EnvConfig, EvaluationConfig, RolloutConfig, RunConfig, SftConfig, TrainConfig
from tgrpo_trainer.policy.nano.policy import NanoPolicy
from tgrpo_trainer.policy.nano.settings import NanoSettings
from tgrpo_trainer.policy.settings import PolicyConfig
from tgrpo_trainer.run.checkpoint import list_checkpoints, load_checkpoint
from tgrpo_trainer.run.layout import iteration_name
from tgrpo_trainer.train import train
from tgrpo_trainer.train_step import Iteration, run_iteration

ITERATIONS = 4
USUAL_CPU_S = 1.0  # of a run of so many


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)


def stop_after(config: TrainConfig, iterations: int) -> None:
    """Train, and die in the middle of the next iteration."""

    class Killed(BaseException):
        pass

    def run_or_die(*args: Any) -> Iteration:
        if args[4] == iterations:
            raise Killed
        return run_iteration(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tgrpo_trainer.train.run_iteration", run_or_die)
        with pytest.raises(Killed):
            train(config)


@pytest.mark.parametrize("tasks", [(0,), (0, 1)])
def test_four_iterations_are_two_and_two(tmp_path: Path, toy: None, tasks: tuple[int, ...]) -> None:
    """Of two tasks too, whose turns go on from one iteration to the next."""

    def config(folder: Path) -> TrainConfig:
        chosen = toy_config(folder, ITERATIONS)
        groups = {"num_groups": 1 + len(tasks), "num_generations": 3}
        return chosen.replace(env={**chosen.env.model_dump(), "tasks": tasks}, rollout=groups)

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config(whole))
    stop_after(config(parts), 2)
    assert load_checkpoint(latest(parts / "last")).iteration == 2
    train(config(parts))
    assert_same_run(parts, whole)
    played = {key for row in logged(whole) for key in row if key.startswith("rollout/success_rate")}
    of_each = {f"rollout/success_rate/task_{task:02d}" for task in tasks} if len(tasks) > 1 else set()
    assert played == {"rollout/success_rate", *of_each}


def go_back_to(folder: Path, iteration: int) -> None:
    for checkpoint in list_checkpoints(folder / "last"):
        if checkpoint.name > iteration_name(iteration):
            shutil.rmtree(checkpoint)


def test_a_run_that_goes_back_evaluates_what_it_learns_then(
    tmp_path: Path, toy: None, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, back = tmp_path / "whole", tmp_path / "back"
    train(toy_config(whole, ITERATIONS))
    train(toy_config(back, ITERATIONS))
    go_back_to(back, 3)
    assert "deleted" not in capsys.readouterr().out
    config = toy_config(back, ITERATIONS)
    other = config.replace(update={**config.update.model_dump(), "learning_rate": 0.05})
    train(other)
    assert capsys.readouterr().out.splitlines()[0] == (
        "Going on after 3 iterations; later evaluations and their checkpoints were of a policy that is gone, and are "
        "deleted: iteration_000004."
    )
    evaluated_policy = load_checkpoint(latest(back / "checkpoints")).policy.state_dict()
    for name, value in load_checkpoint(latest(back / "last")).policy.state_dict().items():
        assert torch.equal(evaluated_policy[name], value)
    assert [row["iteration"] for row in logged(back)] == [0, 1, 2, 2, 3, 4, 4]
    go_back_to(back, 3)
    train(config)  # and with the first settings it ends as it did first
    assert_same_run(back, whole)


def test_a_resume_that_is_refused_deletes_nothing(tmp_path: Path, toy: None) -> None:
    folder = tmp_path / "run"
    train(toy_config(folder, ITERATIONS))
    go_back_to(folder, 3)
    rows, (optimizer,) = logged(folder), (latest(folder / "last") / "optimizer").iterdir()
    optimizer.write_bytes(b"damaged")
    with pytest.raises(CheckpointError):
        train(toy_config(folder, ITERATIONS))
    with pytest.MonkeyPatch.context() as patch:  # seen only where the optimiser takes its state back
        patch.setattr("tgrpo_trainer.run.checkpoint._check", lambda *_: None)
        with pytest.raises(CheckpointError):
            train(toy_config(folder, ITERATIONS))
    assert latest(folder / "checkpoints").name == iteration_name(4)
    assert list(evaluated(folder)) == [f"{iteration_name(done)}.json" for done in (0, 2, 4)]
    assert logged(folder) == rows


def test_an_evaluation_that_was_not_logged_yet_is_logged_once(
    tmp_path: Path, toy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(toy_config(whole, 2))

    class Killed(BaseException):
        pass

    def die(*_: object) -> NoReturn:
        raise Killed

    monkeypatch.setattr("tgrpo_trainer.train.evaluation_metrics", die)
    with pytest.raises(Killed):
        train(toy_config(parts, 2))
    assert len(evaluated(parts)) == 1  # written, and not in metrics.jsonl
    monkeypatch.undo()
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)
    train(toy_config(parts, 2))
    assert_same_run(parts, whole)


def play_on(folder: Path, cpu_s: float, flushes: int) -> None:
    """A run that dies like a killed one after some CPU seconds, or by SIGKILL while it writes a checkpoint."""
    use_toy(make_toy_envs)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process without a word
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    flush = tgrpo_trainer.run.checkpoint._flush
    left = iter(range(flushes))

    def flush_or_die(path: Path) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(path)

    tgrpo_trainer.run.checkpoint._flush = flush_or_die
    train(toy_config(folder, ITERATIONS))


def test_killed_at_any_instant_it_goes_on_and_ends_the_same(tmp_path: Path, toy: None) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    begun_s = time.process_time()
    train(toy_config(whole, ITERATIONS))
    slow = max(1.0, (time.process_time() - begun_s) / USUAL_CPU_S)
    rng, half_written = random.Random(0), 0
    codes: list[int | None] = []
    while 0 not in codes:
        assert len(codes) < 60
        # More and more time, so that the run gets through. A checkpoint is brought to the disk in about nine pieces.
        cpu_s, flushes = slow * rng.uniform(0.05, 0.5 + 0.2 * len(codes)), rng.randrange(10 + 3 * len(codes))
        process = launch(play_on, killed, cpu_s, flushes, stderr=tmp_path / "stderr")
        codes += wait([process])
        assert codes[-1] in (0, -signal.SIGPROF, -signal.SIGKILL), (tmp_path / "stderr").read_text()
        half_written += any(not (path / "manifest.json").exists() for path in killed.glob("*/*.partial"))
        for kind in ("last", "checkpoints"):  # what has its name is whole
            for folder in list_checkpoints(killed / kind):
                load_checkpoint(folder)
    assert {-signal.SIGPROF, -signal.SIGKILL} <= set(codes) and half_written > 1, codes
    assert_same_run(killed, whole)


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [(0,), (0, 4)])
def test_with_libero_s_simulator_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks: tuple[int, ...]) -> None:
    """Environment cursors, if there were any, would show here; so would what a scene keeps that is closed and opened
    again."""
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)

    def config(folder: Path) -> TrainConfig:
        return TrainConfig(
            env=EnvConfig(tasks=tasks, assets="primitive", image_size=32, action_chunk=8, horizon=24, max_open_tasks=1),
            policy=PolicyConfig(nano=NanoSettings(num_bins=5)),
            sft=SftConfig(max_steps=0),
            rollout=RolloutConfig(num_groups=1, num_generations=3, filter="all"),
            evaluation=EvaluationConfig(every=2, num_heldout=2, num_official=2),
            run=RunConfig(name=folder.name, folder=folder.parent, iterations=4, device="cpu"),
        )

    train(config(tmp_path / "whole"))
    stop_after(config(tmp_path / "parts"), 2)
    train(config(tmp_path / "parts"))
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    policy = load_checkpoint(latest(tmp_path / "parts" / "last")).policy
    assert isinstance(policy, NanoPolicy) and torch.is_tensor(policy.head.weight)
