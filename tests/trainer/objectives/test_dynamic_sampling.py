"""Rounds of rollouts until enough groups are kept: known numbers of rounds, new states each, and exact resume."""

from __future__ import annotations

import pytest

from tests.helpers import toy_env
from tests.helpers.runs import assert_same_run, logged
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_trainer.train import train


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)
    monkeypatch.setattr(toy_env, "NEAR_RADIUS", 0.6)
    monkeypatch.setattr(toy_env, "GOAL_RADIUS", 0.45)  # so that some episodes succeed


def rows_of(folder, iterations=3, **rollout):
    config = toy_config(folder, iterations)
    fixed = {"warmup_iterations": 0, "final_learning_rate_ratio": 1.0}  # a schedule that does not know the run's end
    train(
        config.replace(
            rollout={**config.rollout.model_dump(), **rollout}, update={**config.update.model_dump(), **fixed}
        )
    )
    return [row for row in logged(folder) if "rollout/rounds" in row]


def test_as_many_rounds_as_are_needed_and_allowed(tmp_path):
    # Nobody is kept: every iteration plays all its rounds, and learns nothing.
    none = rows_of(tmp_path / "none", filter="0.99..0.999", max_rounds=3)
    assert [row["rollout/rounds"] for row in none] == [3.0] * 3
    assert [row["groups/kept"] for row in none] == [row["update/optimiser_steps"] for row in none] == [0.0] * 3
    # All are kept: two rounds of two groups give three.
    everyone = rows_of(tmp_path / "all", filter="all", min_groups=3, max_rounds=9)
    assert [row["rollout/rounds"] for row in everyone] == [2.0] * 3
    assert [row["groups/kept"] for row in everyone] == [1.0] * 3


def test_another_round_has_other_states_and_the_first_is_what_it_was(tmp_path):
    one = rows_of(tmp_path / "one", iterations=1, filter="all")[0]
    three = rows_of(tmp_path / "three", iterations=1, filter="all", min_groups=6, max_rounds=3)[0]
    assert three["rollout/rounds"] == 3.0
    # Sums of what 6 and 18 members did: equal rounds would give equal means.
    assert three["rollout/return"] != one["rollout/return"]


def test_it_resumes_bit_for_bit(tmp_path):
    settings = {"filter": "0.1..0.9", "min_groups": 2, "max_rounds": 3}
    whole = rows_of(tmp_path / "whole", 4, **settings)
    assert len({row["rollout/rounds"] for row in whole}) > 1 and any(row["update/optimiser_steps"] for row in whole)
    rows_of(tmp_path / "parts", 2, **settings)
    rows_of(tmp_path / "parts", 4, **settings)
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
