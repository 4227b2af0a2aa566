"""Two halves of the groups at the same time: equal episodes, and one half decides while the other steps."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.typing import NDArray

from tests.helpers.scripted_policy import StraightPolicy
from tests.helpers.toy_env import ToyReach
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.metrics.metrics import read_metrics
from tgrpo_trainer.rollout.environment import Members
from tgrpo_trainer.rollout.halves import collect_side_by_side
from tgrpo_trainer.rollout.rollout import Group, RolloutResult, Sampling
from tgrpo_trainer.rollout.tasks import TaskEnvs
from tgrpo_trainer.train import train

DEADLINE_S = 300.0


def collect(parts: list[Members]) -> tuple[tuple[Group, ...], RolloutResult]:
    sampling = Sampling()
    return collect_side_by_side(StraightPolicy(), parts, sampling, seeds=range(8), num_generations=2, end="any_success")


def test_halves_play_what_they_play_as_one() -> None:
    config = EnvConfig(tasks=(0, 1), image_size=16, action_chunk=2, horizon=24)
    envs = TaskEnvs(config, num_envs=8, group_size=2, make_envs=make_toy_envs)
    whole, _ = collect([envs.for_groups([0, 0, 0, 1])])
    halves = [envs.for_groups([0, 0], 0), envs.for_groups([0, 1], 1)]
    parts, played = collect(halves)
    assert len(played.members) == 8
    for group, other in zip(whole, parts, strict=True):
        for mine, theirs in zip(group, other, strict=True):
            assert mine.task == theirs.task
            assert torch.equal(mine.trajectory.rewards_T, theirs.trajectory.rewards_T)
            assert torch.equal(mine.trajectory.observations.proprio_NP, theirs.trajectory.observations.proprio_NP)


def test_one_half_decides_while_the_other_steps() -> None:
    """The first step of a half ends only after the other has decided: one after the other would wait for ever."""
    decided = threading.Barrier(2)

    class Waiting(ToyReach):
        waited = False

        def step(self, actions: NDArray[Any]) -> Any:
            if not self.waited:
                self.waited = True
                decided.wait(DEADLINE_S)
            return super().step(actions)

    halves: list[Members] = [Waiting(4, action_chunk=2), Waiting(4, action_chunk=2)]
    groups, _ = collect(halves)
    assert len(groups) == 4


def test_an_error_in_one_half_is_the_errors_of_both() -> None:
    class Broken(ToyReach):
        def step(self, actions: NDArray[Any]) -> Any:
            raise ConfigError("no")

    halves: list[Members] = [ToyReach(4, action_chunk=2), Broken(4, action_chunk=2)]
    with pytest.raises(ConfigError, match="no"):
        collect(halves)


def test_a_run_learns_the_same_with_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    returns = []
    for overlap in (False, True):
        config = toy_config(tmp_path / str(overlap), 2)
        config = config.replace(evaluation={"every": 9, "num_heldout": 1, "num_official": 0})
        train(config.replace(rollout={**config.rollout.model_dump(), "overlap": overlap}))
        rows = read_metrics(config.run.path)
        returns.append([(row["rollout/return"], row["update/loss"]) for row in rows if "rollout/return" in row])
    assert returns[0] == [pytest.approx(row, abs=1e-6) for row in returns[1]]


def test_a_single_group_has_no_halves(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "one", 1)
    with pytest.raises(ConfigError, match=r"rollout.overlap plays two halves[^$]*num_groups is 1"):
        train(config.replace(rollout={"num_groups": 1, "num_generations": 3, "overlap": True}))
