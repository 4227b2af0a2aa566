"""Statistics of studies: numbers derived by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tgrpo_envs import text_table
from tgrpo_envs.intervals import wilson_interval
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.recipes import smoke
from tgrpo_trainer.run.checkpoint import save_checkpoint
from tgrpo_trainer.studies.difference import EVERY_TASK, bootstrap_interval, differences
from tgrpo_trainer.studies.pace import Work, expected_s, measured_s
from tgrpo_trainer.studies.run import Job
from tgrpo_trainer.studies.table import (
    Outcome,
    mean_interval,
    percent,
    rollout_curve,
    student_95,
    success_table,
)


def outcome(task: str, method: str, seed: int, k: int, n: int = 4, start: float = 0.25) -> Outcome:
    successes = tuple(i < k for i in range(n))
    return Outcome(task, method, seed, {"heldout_greedy": successes}, {"heldout_greedy": {0: start, 8: k / n}})


def test_a_mean_of_two_seeds_has_students_interval() -> None:
    # Of 0.4 and 0.6: mean 0.5, s = 0.1 sqrt(2), s / sqrt(2) = 0.1, t with one degree of freedom 12.706.
    assert mean_interval([0.4, 0.6]) == pytest.approx((0.5 - 1.27062, 0.5 + 1.27062))
    # Five: 0.1, 0.2, 0.3, 0.4, 0.5 have s = sqrt(0.1 / 4), t = 2.7764.
    half = 2.7764 * math.sqrt(0.025) / math.sqrt(5)
    assert mean_interval([0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx((0.3 - half, 0.3 + half))
    assert mean_interval([0.4]) is None
    assert mean_interval([0.5] * 40) == (0.5, 0.5)
    # Behind the table's end, by other tables: t is 2.0796, 2.0423 and 1.9840 with 21, 30 and 100 degrees of freedom.
    for degrees, quantile in ((20, 2.0860), (21, 2.0796), (30, 2.0423), (100, 1.9840)):
        assert student_95(degrees) == pytest.approx(quantile, abs=5e-5)
    low, high = mean_interval([0.0, 1.0] * 11) or (0.0, 0.0)
    assert (high - low) / 2 == pytest.approx(2.0796 * math.sqrt(5.5 / 21) / math.sqrt(22), rel=1e-4)


def test_the_table_pools_episodes_and_keeps_seeds_apart() -> None:
    rows = success_table(
        [outcome("a", "x", 0, 1), outcome("a", "x", 1, 3, start=0.75), outcome("a", "y", 0, 4)], "heldout_greedy"
    )
    first, second = rows
    assert (first.task, first.method, first.rates, first.start) == ("a", "x", (0.25, 0.75), 0.5)
    assert (first.num_successes, first.num_episodes, first.mean) == (4, 8, 0.5)
    assert first.over_episodes == wilson_interval(4, 8)
    assert first.over_seeds == pytest.approx((0.5 - 12.7062 * 0.25, 0.5 + 12.7062 * 0.25))
    assert second.over_seeds is None and second.rates == (1.0,)


def test_pairs_are_of_one_seed_and_unpaired_runs_do_not_count() -> None:
    outcomes = [outcome("a", "x", seed, k) for seed, k in ((0, 2), (1, 3), (2, 4))]
    outcomes += [outcome("a", "y", seed, k) for seed, k in ((1, 3), (0, 1))]
    (row,) = differences(outcomes, [("x", "y"), ("x", "nothing")], "heldout_greedy")
    assert (row.task, row.better, row.worse) == ("a", "x", "y")
    assert row.by_seed == (0.25, 0.0) and row.mean == 0.125 and row.num_positive == 1
    assert row.bootstrap == (0.0, 0.25)  # of both pairs, each twice with probability 1/4
    assert row.over_seeds == pytest.approx((0.125 - 12.7062 * 0.125, 0.125 + 12.7062 * 0.125))


def test_each_task_weighs_the_same_whatever_its_seeds() -> None:
    outcomes = [outcome("a", "x", 0, 4), outcome("a", "y", 0, 0)]
    outcomes += [outcome("b", method, seed, 2) for method in "xy" for seed in (0, 1, 2)]
    a, b, both = differences(outcomes, [("x", "y")], "heldout_greedy")
    assert (a.mean, b.mean, both.mean) == (1.0, 0.0, 0.5)
    assert both.task == EVERY_TASK and both.by_seed == (1.0, 0.0, 0.0, 0.0)
    assert b.bootstrap == b.over_seeds == (0.0, 0.0)  # nothing varies
    # One pair has no spread, and one seed has both tasks.
    assert a.bootstrap is a.over_seeds is both.bootstrap is both.over_seeds is None


def test_the_interval_over_tasks_is_that_of_the_seeds_means() -> None:
    outcomes = [outcome("a", "x", seed, k) for seed, k in ((0, 4), (1, 0), (2, 4))]
    outcomes += [outcome("b", "x", seed, 0) for seed in (0, 1)]  # the third seed lacks this task
    outcomes += [outcome(task, "y", seed, 0) for task in "ab" for seed in (0, 1, 2)]
    both = differences(outcomes, [("x", "y")], "heldout_greedy")[-1]
    assert both.mean == pytest.approx((2 / 3 + 0) / 2)
    # Seed 0 is (1 + 0) / 2 better and seed 1 nothing: mean 0.25, s / sqrt(2) = 0.25.
    assert both.over_seeds == pytest.approx((0.25 - 12.7062 * 0.25, 0.25 + 12.7062 * 0.25))


def test_the_bootstrap_has_the_quantiles_of_all_resamples() -> None:
    # Of -1 and 1 the resampled means are -1, 0 and 1 with 1/4, 1/2 and 1/4.
    assert bootstrap_interval({"a": [-1.0, 1.0]}) == (-1.0, 1.0)
    # Of five with one 1 the mean is B / 5, B binomial (5, 1/5): P(B = 0) = 0.33, P(B <= 2) = 0.942, P(B <= 3) = 0.993.
    assert bootstrap_interval({"a": [1.0, 0, 0, 0, 0]}) == pytest.approx((0.0, 0.6))
    again = [bootstrap_interval({"a": [0.1, 0.5, 0.2]}, num_resamples=50, seed=seed) for seed in (3, 3)]
    assert again[0] == again[1]


def test_training_rollouts_are_averaged_over_four_iterations() -> None:
    rows: list[dict[str, float | None]] = [{"iteration": 0, "eval/heldout_greedy/success_rate": 1.0}]
    rows += [{"iteration": i, "rollout/success_rate": rate} for i, rate in enumerate((0.0, 0.25, 0.25, 0.5, 0.5, 1), 1)]
    assert rollout_curve(rows) == {4: 0.25, 6: 0.75}
    assert rollout_curve(rows[:1]) == {}


def test_what_is_left_takes_as_long_as_its_like() -> None:
    clone, short, long = Work("object 4", "clone"), Work("object 4", "16 iterations"), Work("goal 0", "16 iterations")
    measured = [(clone, 30.0), (short, 100.0), (short, 140.0)]
    seconds, unknown = expected_s([clone, short, long, Work("object 4", "0 iterations")], measured)
    assert seconds == 30 + 120 + 120 and unknown == {"0 iterations": 1}
    assert expected_s([long], [*measured, (long, 300.0)]) == (300.0, {})


def test_tables_as_text() -> None:
    assert text_table.aligned([("task", "n"), ("a", "1"), ("longer", "2")]) == "task    n\na       1\nlonger  2"
    assert text_table.markdown([("task", "n"), ("a", "1")]) == "| task | n |\n| --- | --- |\n| a | 1 |"
    assert percent((0.774, 0.936)) == "[77, 94]" and percent(None) == ""


def test_a_run_s_seconds_are_without_its_clone_s(tmp_path: Path) -> None:
    recipe, policy = smoke(), NanoPolicy(NanoConfig(image_size=32, action_chunk=8))
    config = recipe.replace(run={**recipe.run.model_dump(), "folder": tmp_path, "name": "run", "iterations": 0})
    save_checkpoint(tmp_path / "clone" / "last", iteration=0, policy=policy, state={"elapsed_s": 40.0})
    save_checkpoint(tmp_path / "run" / "checkpoints", iteration=0, policy=policy, state={"elapsed_s": 100.0})
    (tmp_path / "run" / "evaluations").mkdir()
    (tmp_path / "run" / "evaluations" / "iteration_000000.json").touch()
    job = Job("run", config, tmp_path / "log", "train", tmp_path / "clone")
    assert [seconds for _, seconds in measured_s([job])] == [60.0]
