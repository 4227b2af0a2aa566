"""The guarantees of docs/rewards.md tried on 100,000 random combinations of spec, profile and trajectory each.

`test_credit.py` has the same guarantees as properties whose failures hypothesis shrinks; this is the number.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.fuzz_cases import LAYOUT, random_profile, random_spec, random_trajectories
from tgrpo_envs.rewards import StageTracker

MEMBERS = 200
HORIZON = 12
LOOP_ROUNDS = 30  # of up to 7 stages, each at most three rounds of debouncing, and then some
ROUNDING = 1e-12
EVERY = np.ones(MEMBERS, dtype=bool)

BATCHES = [pytest.param(10, id="2,000"), pytest.param(500, id="100,000", marks=pytest.mark.slow)]


def add_up(rewards_TN: np.ndarray) -> np.ndarray:
    """Running returns as a caller adds them up: in order, in float64."""
    return np.cumsum(rewards_TN, axis=0)


@pytest.mark.parametrize("batches", BATCHES)
def test_successes_beat_failures_and_only_time_orders_them(batches: int) -> None:
    """Guarantees 1, 2 and 4: half of the members succeed at a random step."""
    rng = np.random.default_rng(0)
    worst_success, best_failure, count = np.inf, -np.inf, 0
    for _ in range(batches):
        spec, profile = random_spec(rng), random_profile(rng, HORIZON)
        snapshots, goals = random_trajectories(rng, MEMBERS, HORIZON)
        end_N = np.where(rng.random(MEMBERS) < 0.5, rng.integers(1, HORIZON + 1, MEMBERS), HORIZON + 1)
        succeeds_N = end_N <= HORIZON
        tracker = StageTracker(spec, profile, LAYOUT, MEMBERS, HORIZON)
        tracker.reset(snapshots[0], goals[0], EVERY)
        rewards_TN = np.empty((HORIZON, MEMBERS))
        for t in range(1, HORIZON + 1):
            goal_NC = goals[t] | (end_N == t)[:, None]
            rewards_TN[t - 1] = tracker.step(snapshots[t], goal_NC, EVERY, np.full(MEMBERS, t)).reward_N

        running_TN = add_up(rewards_TN)
        before_TN = running_TN[np.arange(1, HORIZON + 1)[:, None] < end_N].ravel()
        assert (before_TN >= 0.0).all() and (before_TN <= profile.beta).all()
        success_N = running_TN[-1][succeeds_N]
        bonus_N = profile.eta * (1 - end_N[succeeds_N] / HORIZON)
        np.testing.assert_allclose(success_N, 1 + bonus_N, rtol=0, atol=ROUNDING)
        assert profile.eta > 0 or (success_N == 1.0).all()

        value_N = profile.discount ** np.arange(HORIZON) @ rewards_TN
        assert value_N[succeeds_N].min(initial=np.inf) >= profile.discount ** (HORIZON - 1) - ROUNDING
        assert value_N[~succeeds_N].max(initial=-np.inf) <= profile.beta + ROUNDING
        assert value_N[succeeds_N].min(initial=np.inf) > value_N[~succeeds_N].max(initial=-np.inf)
        worst_success = min(worst_success, success_N.min(initial=np.inf))
        best_failure = max(best_failure, running_TN[-1][~succeeds_N].max(initial=-np.inf))
        count += MEMBERS
    print(f"\n{count:,} combinations: failures return at most {best_failure:.3f}, successes at least {worst_success}")


@pytest.mark.parametrize("batches", BATCHES)
def test_loops_cannot_be_farmed(batches: int) -> None:
    """Guarantee 3: the same states round and round, until no new stage is completed."""
    rng, count = np.random.default_rng(1), 0
    for _ in range(batches):
        spec, profile = random_spec(rng), random_profile(rng, HORIZON)
        length = int(rng.integers(1, 5))
        snapshots, goals = random_trajectories(rng, MEMBERS, length - 1)
        profile = profile.model_copy(update={"discount": 1.0})  # the loops are longer than the horizon
        tracker = StageTracker(spec, profile, LAYOUT, MEMBERS, horizon=10_000)
        tracker.reset(snapshots[0], goals[0], EVERY)
        pay_RN = np.zeros((LOOP_ROUNDS, MEMBERS))
        for step in range(LOOP_ROUNDS * length):
            report = tracker.step(snapshots[step % length], goals[step % length], EVERY, np.full(MEMBERS, step + 1))
            pay_RN[step // length] += report.reward_N
        assert (pay_RN[-1] == 0.0).all()
        assert ((pay_RN > 0.0).sum(axis=0) <= 3 * (len(spec.stages) + 1)).all()
        assert (add_up(pay_RN) <= profile.beta).all()
        count += MEMBERS
    print(f"\n{count:,} combinations: no loop pays once its stages are paid")


@pytest.mark.parametrize("batches", BATCHES)
def test_idling_pays_nothing(batches: int) -> None:
    """Guarantee 5: whatever the state, staying in it pays an exact 0."""
    rng, count = np.random.default_rng(2), 0
    for _ in range(batches):
        spec, profile = random_spec(rng), random_profile(rng, HORIZON)
        snapshots, goals = random_trajectories(rng, MEMBERS, 0)
        tracker = StageTracker(spec, profile, LAYOUT, MEMBERS, HORIZON)
        tracker.reset(snapshots[0], goals[0], EVERY)
        for step in range(1, HORIZON + 1):
            report = tracker.step(snapshots[0], goals[0], EVERY, np.full(MEMBERS, step))
            assert (report.reward_N == 0.0).all()
        count += MEMBERS
    print(f"\n{count:,} combinations: idling pays exactly 0")
