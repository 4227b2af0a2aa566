"""A trace is what the tracker reported, moment for moment, and what the slow scalar tracker finds by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from tests.helpers.reward_cases import (
    LAYOUT,
    SEEDS,
    ScalarTracker,
    profiles,
    random_goals,
    random_snapshot,
    scene_of,
    specs,
)
from tgrpo_envs.rewards import CreditProfile, StageSpec, rescore
from tgrpo_envs.rewards.trace import trace

MOMENTS = 12


@settings(max_examples=60, deadline=None)
@given(specs(), profiles(), SEEDS)
def test_a_trace_has_the_trackers_numbers(spec: StageSpec, profile: CreditProfile, seed: int) -> None:
    rng = np.random.default_rng(seed)
    snapshots, goal_MC = random_snapshot(rng, MOMENTS), random_goals(rng, MOMENTS)
    goal_MC[-1] = rng.random() < 0.5
    told = trace(spec, LAYOUT, snapshots, goal_MC, horizon=MOMENTS, profile=profile)
    score = rescore(spec, LAYOUT, snapshots, goal_MC, horizon=MOMENTS, profile=profile)
    assert np.array_equal(told.reward_M[1:], score.rewards_T)
    assert np.array_equal(told.progress_M[1:], score.progress_T)
    assert np.array_equal(told.verdict.done_KN[:, 1:].T, score.stages_TK)

    scalar = ScalarTracker(spec, profile, MOMENTS)
    scalar.reset(scene_of(snapshots, 0), goal_MC[0].tolist())
    for m in range(1, MOMENTS):
        scene, goals = scene_of(snapshots, m), goal_MC[m].tolist()
        assert scalar.step(scene, goals, m) == pytest.approx(told.reward_M[m], abs=1e-9)
        assert scalar.phi == pytest.approx(told.progress_M[m])
        assert scalar.best == pytest.approx(told.best_M[m])
        assert [scalar._holds(rule["holds"], scene, goals) for rule in scalar.maintain] == (
            told.verdict.seen.maintained_JN[:, m].tolist()
        )
        for atom in told.predicates:
            assert scalar._holds(atom.predicate.model_dump(), scene, goals) == atom.truth_M[m]


@settings(max_examples=60, deadline=None)
@given(specs(), SEEDS)
def test_credits_and_shares_add_up_to_progress(spec: StageSpec, seed: int) -> None:
    rng = np.random.default_rng(seed)
    told = trace(spec, LAYOUT, random_snapshot(rng, MOMENTS), random_goals(rng, MOMENTS), horizon=99,
                 profile=CreditProfile())  # fmt: skip
    gained_M = told.share_K @ (told.verdict.credit_KN - told.verdict.credit_KN[:, :1])
    assert np.allclose(np.clip(gained_M, 0, 1) * told.verdict.seen.kept_N * (np.arange(MOMENTS) > 0), told.progress_M)
