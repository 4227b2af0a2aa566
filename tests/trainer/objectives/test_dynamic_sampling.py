"""Rounds of rollouts until enough groups are kept: known numbers of rounds, new states each, and exact resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers import toy_env
from tests.helpers.runs import assert_same_run, logged
from tests.helpers.toy_env import ToyReach
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.run.rng import Stream, derive_seeds
from tgrpo_trainer.train import train


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)
    monkeypatch.setattr(toy_env, "NEAR_RADIUS", 0.6)
    monkeypatch.setattr(toy_env, "GOAL_RADIUS", 0.45)  # so that some episodes succeed


def rows_of(folder: Path, iterations: int = 3, **rollout: object) -> list[dict[str, float | None]]:
    config = toy_config(folder, iterations)
    fixed = {"warmup_iterations": 0, "final_learning_rate_ratio": 1.0}  # a schedule that does not know the run's end
    train(
        config.replace(
            rollout={**config.rollout.model_dump(), **rollout}, update={**config.update.model_dump(), **fixed}
        )
    )
    return [row for row in logged(folder) if "rollout/rounds" in row]


def test_as_many_rounds_as_are_needed_and_allowed(tmp_path: Path) -> None:
    # Nobody is kept: every iteration plays all its rounds, and learns nothing.
    none = rows_of(tmp_path / "none", filter="0.99..0.999", max_rounds=3)
    assert [row["rollout/rounds"] for row in none] == [3.0] * 3
    assert [row["groups/kept"] for row in none] == [row["update/optimiser_steps"] for row in none] == [0.0] * 3
    # All are kept: two rounds of two groups give three.
    everyone = rows_of(tmp_path / "all", filter="all", min_groups=3, max_rounds=9)
    assert [row["rollout/rounds"] for row in everyone] == [2.0] * 3
    assert [row["groups/kept"] for row in everyone] == [1.0] * 3


def test_each_round_draws_new_states_and_the_first_those_of_a_run_without_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[list[int]] = []

    class Recorded(ToyReach):
        def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
            if seed is not None and "group_size" in (options or {}):
                seeds.append(list(seed))
            return super().reset(seed=seed, options=options)

    def make_recorded(config: EnvConfig, num_envs: int) -> Recorded:
        return Recorded(num_envs, action_chunk=config.action_chunk, horizon=config.horizon)

    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_recorded)
    rows_of(tmp_path / "run", iterations=2, filter="all", min_groups=6, max_rounds=3)
    assert len(seeds) == 6 and len({seed for round_ in seeds for seed in round_}) == 6 * 6
    for iteration in range(2):
        for round_ in range(3):
            expected = derive_seeds(0, Stream.STATES, iteration, round_, count=6)
            assert seeds[3 * iteration + round_] == expected
    assert seeds[0] == derive_seeds(0, Stream.STATES, 0, count=6)


def test_it_resumes_bit_for_bit(tmp_path: Path) -> None:
    settings = {"filter": "0.1..0.9", "min_groups": 2, "max_rounds": 3}
    whole = rows_of(tmp_path / "whole", 4, **settings)
    assert len({row["rollout/rounds"] for row in whole}) > 1 and any(row["update/optimiser_steps"] for row in whole)
    rows_of(tmp_path / "parts", 2, **settings)
    rows_of(tmp_path / "parts", 4, **settings)
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
