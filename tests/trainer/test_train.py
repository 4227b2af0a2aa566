"""The loop on the toy task: all of it is written, kept within bounds, ended in time, and played again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.runs import latest
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_trainer import train as training
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.evaluation.result import load_evaluations
from tgrpo_trainer.evaluation.tasks import Plan
from tgrpo_trainer.metrics.metrics import read_metrics
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.report.record import LastGroup
from tgrpo_trainer.run.checkpoint import list_checkpoints, load_checkpoint, read_state
from tgrpo_trainer.run.console import Stopwatch
from tgrpo_trainer.run.layout import iteration_name
from tgrpo_trainer.train import clone, train


@pytest.fixture(autouse=True)
def toy_envs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes a second; most tests here are not about it."""
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder / "report.html")


def last(folder: Path) -> tuple[int, dict[str, Tensor]]:
    checkpoint = load_checkpoint(latest(folder / "last"))
    return checkpoint.iteration, checkpoint.policy.state_dict()


def test_a_run_leaves_everything_it_promises(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    report = train(toy_config(folder, iterations=3))
    assert report == folder / "report.html"
    assert report.is_file()
    assert TrainConfig.load(folder / "config.json") == toy_config(folder, iterations=3)
    # Evaluations before, every 2 iterations, and after the last; a checkpoint with each, and one of the last iteration.
    names = [iteration_name(i) for i in (0, 2, 3)]
    assert [path.stem for path in sorted((folder / "evaluations").iterdir())] == names
    assert [path.name for path in list_checkpoints(folder / "checkpoints")] == names
    assert [path.name for path in list_checkpoints(folder / "last")] == [iteration_name(2), iteration_name(3)]
    kinds = [
        (one.states, one.mode, one.num_episodes) for one in load_evaluations(folder / f"evaluations/{names[0]}.json")
    ]
    assert kinds == [
        ("heldout", "greedy", 6),
        ("heldout", "sampled", 6),
        ("official", "greedy", 5),
        ("official", "sampled", 5),
    ]
    assert [row["iteration"] for row in read_metrics(folder)] == [0, 1, 2, 2, 3, 3]
    assert list((folder / "tensorboard").iterdir())


@pytest.mark.usefixtures("no_report")
def test_training_changes_the_policy_and_seeds_change_the_training(tmp_path: Path) -> None:
    states = []
    for name, iterations, seed in (("start", 0, 0), ("trained", 1, 0), ("other", 1, 1)):
        folder = tmp_path / name
        train(toy_config(folder, iterations=iterations, seed=seed))
        states.append(last(folder)[1]["head.weight"])
    assert not torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])


@pytest.mark.usefixtures("no_report")
def test_the_last_the_best_and_the_first_checkpoints_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {0: 0.0, 1: 0.5, 2: 0.25, 3: 0.25, 4: 0.25}

    def evaluate_tasks(
        _policy: Policy, plan: Plan, *args: object, **kwargs: object
    ) -> tuple[tuple[SimpleNamespace, ...], tuple[()]]:
        successes = int(4 * scores[plan.iteration])
        one = SimpleNamespace(
            iteration=plan.iteration, states="heldout", mode="greedy", num_successes=successes, num_episodes=4
        )
        return (one,), ()

    monkeypatch.setattr("tgrpo_trainer.train.evaluate_tasks", evaluate_tasks)
    monkeypatch.setattr("tgrpo_trainer.train.evaluation_metrics", lambda _: {})
    monkeypatch.setattr("tgrpo_trainer.train.save_evaluations", lambda path, _: None)
    folder = tmp_path / "run"
    config = toy_config(folder, iterations=4, keep_checkpoints=1)
    train(config.replace(evaluation={**config.evaluation.model_dump(), "every": 1}))
    assert [path.name for path in list_checkpoints(folder / "checkpoints")] == [iteration_name(i) for i in (0, 1, 4)]
    assert [path.name for path in list_checkpoints(folder / "last")] == [iteration_name(4)]
    # Only what a run goes on from holds an optimiser: it is as large as two to six times the weights.
    assert not list((folder / "checkpoints" / iteration_name(4) / "optimizer").iterdir())
    assert list((folder / "last" / iteration_name(4) / "optimizer").iterdir())


class HastyStopwatch(Stopwatch):
    """Three seconds pass between any two looks at it, whatever the machine does."""

    looks = 0

    @property
    def elapsed_s(self) -> float:
        self.looks += 1
        return super().elapsed_s + 3.0 * self.looks


@pytest.mark.usefixtures("no_report")
def test_a_spent_budget_ends_with_the_last_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.Stopwatch", HastyStopwatch)
    folder = tmp_path / "run"
    config = toy_config(folder, iterations=500, max_minutes=1.0)
    train(config)
    done = last(folder)[0]
    assert 0 < done < 500
    assert (folder / "evaluations" / f"{iteration_name(done)}.json").is_file()
    assert f"Stopped after {done} of 500 iterations" in capsys.readouterr().out
    train(config)  # the minutes are the run's, not the process's
    assert last(folder)[0] == done


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    ("max_minutes", "evaluated", "ends"),
    [
        # Minute 10: evaluated. 11, 12: iterations. 22: evaluated. One more would end at 33.
        (24.0, [0, 2], 22.0),
        # Minute 33: a third iteration and the last evaluation just fit.
        (33.5, [0, 2, 3], 33.0),
        # Minute 10: evaluated. Another evaluation alone would end at 20.
        (11.0, [0], 10.0),
    ],
)
def test_an_evaluation_on_the_way_is_the_last_one_if_its_minutes_were_the_last(
    max_minutes: float, evaluated: list[int], ends: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluations every two iterations, of ten minutes; iterations take one."""
    passed_s = [0.0]
    began_s, monotonic = time.monotonic(), time.monotonic

    def taking(seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
        def take(*args: Any, **kwargs: Any) -> Any:
            passed_s[0] += seconds
            return function(*args, **kwargs)

        return take

    monkeypatch.setattr("time.monotonic", lambda: monotonic() + passed_s[0])
    for name, seconds in (("evaluate_tasks", 600.0), ("run_iteration", 60.0)):
        monkeypatch.setattr(training, name, taking(seconds, getattr(training, name)))
    folder = tmp_path / "run"
    train(toy_config(folder, iterations=50, max_minutes=max_minutes))
    names = [path.stem for path in sorted((folder / "evaluations").iterdir())]
    assert names == [iteration_name(done) for done in evaluated]
    assert (time.monotonic() - began_s) / 60.0 == pytest.approx(ends, abs=0.4)  # and what the toy takes itself


@pytest.mark.usefixtures("no_report")
def test_the_first_evaluation_s_checkpoint_knows_how_long_an_evaluation_takes(tmp_path: Path) -> None:
    """A run that is stopped behind it would plan without the last one, and overrun its minutes."""
    folder = tmp_path / "run"
    train(toy_config(folder, iterations=0))
    state = read_state(folder / "checkpoints" / iteration_name(0))
    assert 0 < state["pace_s"][0] <= state["elapsed_s"]


class SlowStopwatch(Stopwatch):
    """A minute has passed before anything begins."""

    @property
    def elapsed_s(self) -> float:
        return super().elapsed_s + 60.0


@pytest.mark.usefixtures("no_report")
def test_the_minutes_of_cloning_count_in_a_later_process_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    config = toy_config(folder, iterations=4, max_minutes=1.0)
    with monkeypatch.context() as patched:
        patched.setattr("tgrpo_trainer.train.Stopwatch", SlowStopwatch)
        clone(config)
    train(config)
    assert last(folder)[0] == 0
    assert "Stopped after 0 of 4 iterations" in capsys.readouterr().out


@pytest.mark.usefixtures("no_report")
def test_the_last_group_is_replayed_from_its_own_state_with_its_own_actions(tmp_path: Path) -> None:
    train(toy_config(tmp_path / "run", iterations=1))
    group = LastGroup.load(tmp_path / "run")
    assert group is not None
    assert group.best.total_reward >= group.worst.total_reward
    for which, record in (("best", group.best), ("worst", group.worst)):
        # One picture before every control step and one at the end, though the policy saw one each second step.
        video = tmp_path / "run" / "videos" / f"iteration_000001_{which}.mp4"
        assert sum(1 for _ in imageio_ffmpeg.read_frames(str(video))) - 1 == record.control_steps + 1
        assert len(record.actions_TCA) == -(-record.control_steps // 2)
        envs = make_toy_envs(toy_config(tmp_path / "run", 1).env, 1)
        observation, _ = envs.reset(seed=[group.state_seed], options={"group_size": 1})
        for t, actions_CA in enumerate(record.actions_TCA):
            seen = np.concatenate([observation["agentview"][0], observation["wrist"][0]], axis=1)
            assert (record.frames_THWC[t] == seen).all()
            observation, *_ = envs.step(actions_CA[None])
