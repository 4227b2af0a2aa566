"""The guarantees of docs/rewards.md as properties: any spec, any states, any profile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.helpers.reward_cases import (
    LAYOUT,
    SEEDS,
    make_spec,
    profiles,
    random_goals,
    random_snapshot,
    run_episode,
    specs,
    still_snapshot,
)
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.rewards import CreditProfile, StageSpec, StageTracker, largest_beta
from tgrpo_envs.rewards.credit import Account, Mode

HORIZON = 10
LENGTHS = st.integers(1, HORIZON)
ROUNDING = 1e-12


def total(rewards: NDArray[np.float64]) -> float:
    """The return as a caller adds it up: in order, in float64."""
    running = 0.0
    for reward in rewards:
        running += float(reward)
    return running


@settings(max_examples=50, deadline=None)
@given(specs(), profiles(), SEEDS)
def test_guarantee_1_failures_stay_between_zero_and_beta(spec: StageSpec, profile: CreditProfile, seed: int) -> None:
    rewards, _ = run_episode(spec, profile, np.random.default_rng(seed), HORIZON, HORIZON, success=False)
    running = np.cumsum(rewards)
    assert (running >= -ROUNDING).all() and (running <= profile.beta + ROUNDING).all()


@settings(max_examples=50, deadline=None)
@given(specs(), profiles(eta=False), SEEDS, LENGTHS)
def test_guarantee_1_a_success_returns_exactly_one(
    spec: StageSpec, profile: CreditProfile, seed: int, steps: int
) -> None:
    rewards, _ = run_episode(spec, profile, np.random.default_rng(seed), steps, HORIZON, success=True)
    assert total(rewards) == 1.0


@settings(max_examples=40, deadline=None)
@given(specs(), specs(), profiles(), SEEDS, LENGTHS, LENGTHS)
def test_guarantee_2_successes_are_ordered_by_time_alone(
    spec: StageSpec, other: StageSpec, profile: CreditProfile, seed: int, steps: int, other_steps: int
) -> None:
    rng = np.random.default_rng(seed)
    first = total(run_episode(spec, profile, rng, steps, HORIZON, success=True)[0])
    second = total(run_episode(other, profile, rng, other_steps, HORIZON, success=True)[0])
    assert first == pytest.approx(1 + profile.eta * (1 - steps / HORIZON), abs=ROUNDING)
    assert first >= 1.0 and second >= 1.0
    if profile.eta * abs(steps - other_steps) / HORIZON > ROUNDING:
        assert (first > second) == (steps < other_steps)


@settings(max_examples=40, deadline=None)
@given(specs(), profiles(), SEEDS, st.integers(1, 5))
def test_guarantee_3_a_loop_pays_nothing_once_its_stages_are_paid(
    spec: StageSpec, profile: CreditProfile, seed: int, length: int
) -> None:
    """Round and round the same states: each round's pay is 0 as soon as a round completes no new stage."""
    rng = np.random.default_rng(seed)
    loop = [(random_snapshot(rng, 1), random_goals(rng, 1)) for _ in range(length)]
    rounds = 3 * (len(spec.stages) + 2)  # a new stage, then its debouncing (at most 3 steps), then settled
    tracker = StageTracker(spec, profile, LAYOUT, 1, horizon=10_000)
    tracker.reset(*loop[0], np.array([True]))
    pay, step = [], 0
    for _ in range(rounds):
        paid = 0.0
        for snapshot, goal in loop:
            step += 1
            paid += float(tracker.step(snapshot, goal, np.array([True]), np.array([step])).reward_N[0])
        pay.append(paid)
    assert pay[-1] == pytest.approx(0, abs=ROUNDING)
    assert sum(paid > ROUNDING for paid in pay) <= 3 * (len(spec.stages) + 1)
    assert sum(pay) <= profile.beta + ROUNDING


@settings(max_examples=40, deadline=None)
@given(specs(), st.floats(0.5, 1), SEEDS, LENGTHS, LENGTHS)
def test_guarantee_4_discounting_keeps_the_order_below_the_bound(
    spec: StageSpec, discount: float, seed: int, steps: int, other_steps: int
) -> None:
    beta = 0.999 * min(largest_beta(discount, HORIZON), 1.0)
    profile, rng = CreditProfile(beta=beta, kappa=0.5), np.random.default_rng(seed)
    success, _ = run_episode(spec, profile, rng, steps, HORIZON, success=True)
    failure, _ = run_episode(spec, profile, rng, other_steps, HORIZON, success=False)
    weights = discount ** np.arange(HORIZON)
    value, other = weights[:steps] @ success, weights[:other_steps] @ failure
    assert value >= discount ** (HORIZON - 1) - ROUNDING and other <= beta + ROUNDING
    assert value > other


@settings(max_examples=50, deadline=None)
@given(specs(), profiles(), SEEDS)
def test_guarantee_5_idling_pays_an_exact_zero(spec: StageSpec, profile: CreditProfile, seed: int) -> None:
    rng = np.random.default_rng(seed)
    snapshot, goal = random_snapshot(rng, 3), random_goals(rng, 3)
    tracker = StageTracker(spec, profile, LAYOUT, 3, HORIZON)
    every = np.ones(3, dtype=bool)
    tracker.reset(snapshot, goal, every)
    for step in range(1, HORIZON + 1):
        assert (tracker.step(snapshot, goal, every, np.full(3, step)).reward_N == 0.0).all()


@settings(max_examples=25, deadline=None)
@given(specs(), SEEDS, LENGTHS, st.booleans())
def test_sparse_mode_pays_success_only(spec: StageSpec, seed: int, steps: int, success: bool) -> None:
    profile = CreditProfile(mode="sparse")
    rewards, _ = run_episode(spec, profile, np.random.default_rng(seed), steps, HORIZON, success=success)
    assert rewards.tolist() == [0.0] * (steps - 1) + [float(success)]


@settings(max_examples=50, deadline=None)
@given(specs(), SEEDS, LENGTHS, st.booleans(), st.sampled_from([0.9, 0.99, 1.0]))
def test_shaping_adds_up_to_the_sparse_return(
    spec: StageSpec, seed: int, steps: int, success: bool, discount: float
) -> None:
    """Discounted, the potentials telescope: gamma^(T-1) at success, gamma^T Phi_T at the horizon, whatever the spec."""
    profile = CreditProfile(mode="pbrs", discount=discount)
    rewards, progress = run_episode(spec, profile, np.random.default_rng(seed), steps, HORIZON, success=success)
    discounted = float((rewards * discount ** np.arange(steps)).sum())
    last = np.floor(progress[-1] * 64 + 1e-9) / 64
    expected = discount ** (steps - 1) if success else discount**steps * profile.beta * last
    assert discounted == pytest.approx(expected, abs=1e-9)


def test_goals_only_pays_the_share_of_conjuncts_that_did_not_hold_at_reset() -> None:
    """Two conjuncts: one of them is half the progress, which pays 1/4; one that holds at reset is left out."""
    spec = make_spec([{"id": "touch", "effort": 1, "done": {"op": "touching", "a": "can_1"}}])
    profile, one = CreditProfile(mode="goals-only", kappa=0.0), np.array([True])

    def paid(start: list[bool], *moments: list[bool]) -> list[float]:
        tracker = StageTracker(spec, profile, LAYOUT, 1, HORIZON)
        tracker.reset(still_snapshot(), np.array([start]), one)
        reports = [
            tracker.step(still_snapshot(), np.array([goal]), one, np.array([step]))
            for step, goal in enumerate(moments, 1)
        ]
        return [float(report.reward_N[0]) for report in reports]

    assert paid([False, False], [False, False], [True, False], [False, False], [True, True]) == [0.0, 0.25, 0.0, 0.75]
    assert paid([True, False], [True, False], [True, True]) == [0.0, 1.0]


def test_a_discount_that_inverts_the_order_is_refused() -> None:
    """0.99^279 = 0.0606: below it is fine."""
    spec = make_spec([{"id": "touch", "effort": 1, "done": {"op": "touching", "a": "can_1"}}])
    StageTracker(spec, CreditProfile(beta=0.06, discount=0.99), LAYOUT, 1, 280)
    StageTracker(spec, CreditProfile(beta=0.5, discount=0.99, mode="pbrs"), LAYOUT, 1, 280)
    with pytest.raises(ConfigError, match=r"beta=0.061 must be below .* = 0.0606"):
        StageTracker(spec, CreditProfile(beta=0.061, discount=0.99), LAYOUT, 1, 280)


def paid(profile: CreditProfile, *progress: float, success: bool = False, step: int = 70) -> tuple[float, float]:
    """Reward of the last of these steps of one episode, and its paid progress psi."""
    account, one = Account(profile, 280, 1), np.array([True])
    account.restart(one)
    for phi in progress:
        goal_NC = np.array([[success and phi == progress[-1]]])
        reward_N = account.pay(np.array([phi]), goal_NC, one, np.array([step]))
    return float(reward_N[0]), float(account.psi_N[0])


def test_paid_progress_by_hand() -> None:
    """Best 0.8, now 0.3, kappa 0.3: 0.7*0.8 + 0.3*0.3 = 0.65, in eighths 5.2 -> 5/8."""
    profile = CreditProfile(kappa=0.3, quantum=1 / 8)
    assert paid(profile, 0.8, 0.3)[1] == 5 / 8
    assert paid(profile, 1.0, 1.0)[1] == 1.0
    assert paid(profile, 0.0)[1] == 0.0


@pytest.mark.parametrize(
    ("mode", "before", "expected"),
    [
        ("stages", 0.5, 1 - 0.25 + 0.075),  # half of the progress paid beta / 2 = 0.25
        ("pbrs", 0.5, 1 - 0.25 + 0.075),  # which is also its potential
        ("sparse", 0.5, 1 + 0.075),
    ],
)
def test_rewards_by_hand(mode: Mode, before: float, expected: float) -> None:
    """Beta 0.5; the bonus is 0.1 * (1 - 70/280) = 0.075."""
    profile = CreditProfile(beta=0.5, eta=0.1, mode=mode)
    assert paid(profile, before, 1.0, success=True)[0] == pytest.approx(expected)
    assert paid(profile, 0.25, 0.75)[0] == (0.0 if mode == "sparse" else 0.25)


def test_members_that_are_masked_or_have_ended_are_not_paid() -> None:
    account = Account(CreditProfile(), 280, 3)
    account.restart(np.array([True, True, False]))
    live_N = np.array([True, False, False])
    reward_N = account.pay(np.ones(3), np.zeros((3, 1), dtype=bool), live_N, np.array([280, 1, 1]))
    assert reward_N.tolist() == [0.5, 0.0, 0.0]
    assert account.best_N.tolist() == [1.0, 0.0, 0.0] and account.ended_N.tolist() == [True, False, True]


def test_largest_beta_matches_the_published_table() -> None:
    """gamma 0.99: 0.11 at 220 steps, 0.0054 at 520; gamma 0.999: 0.80 and 0.59."""
    assert largest_beta(0.99, 220) == pytest.approx(0.11, abs=0.005)
    assert largest_beta(0.99, 520) == pytest.approx(0.0054, abs=0.00005)
    assert largest_beta(0.999, 220) == pytest.approx(0.80, abs=0.005)
    assert largest_beta(0.999, 520) == pytest.approx(0.59, abs=0.005)


@pytest.mark.parametrize(
    "setting",
    [{"beta": 1.0}, {"beta": -0.1}, {"kappa": 1.5}, {"quantum": 0.3}, {"quantum": 0}, {"mode": "dense"}, {"b": 1}],
)
def test_a_profile_that_could_break_a_guarantee_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, UnknownNameError)):
        CreditProfile(**setting)
