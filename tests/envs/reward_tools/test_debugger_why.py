"""Explanations of steps whose numbers are known: the right stage, the right atom, the right sum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from tests.helpers.reward_cases import (
    BOX,
    CAN,
    LAYOUT,
    SEEDS,
    make_spec,
    profiles,
    random_goals,
    random_snapshot,
    specs,
    still_snapshot,
)
from tgrpo_envs.reward_tools.explain.why import SMALLEST_CHANGE, Explanation, explain_step, signed
from tgrpo_envs.reward_tools.explain.wording import State, stage_state, stage_text
from tgrpo_envs.rewards import CreditProfile, StageSpec
from tgrpo_envs.rewards.describe import title
from tgrpo_envs.rewards.trace import Trace, trace
from tgrpo_envs.sim.snapshot import Snapshot

GRASPED = {"op": "grasped", "a": CAN}
ABOVE = {"a": CAN, "b": BOX, "axes": "xy"}
STAGES = [
    {"id": "reach", "effort": 1, "ramp": {"op": "approach", "a": "gripper", "b": CAN, "to_m": 0.05},
     "done": {"op": "near", "a": "gripper", "b": CAN, "within_m": 0.05}},
    {"id": "grasp", "effort": 2, "after": ["reach"], "done": GRASPED, "hold_steps": 3, "latch": "live"},
    {"id": "carry", "effort": 3, "after": ["grasp"], "while": [GRASPED], "latch": "live",
     "ramp": {"op": "approach", **ABOVE, "to_m": 0.05}, "done": {"op": "near", **ABOVE, "within_m": 0.05}},
    {"id": "place", "effort": 2, "after": ["carry"], "done": {"op": "goal", "index": 0}, "latch": "live"},
]  # fmt: skip
UPRIGHT = {"holds": {"op": "upright", "a": CAN, "within_deg": 20.0}, "cost_frac": 0.5}


class Film:
    """Moments of one environment, edited one after the other; the can starts 0.25 m from the box, 0.30 m below."""

    def __init__(self) -> None:
        self.now = still_snapshot()
        self.now.site_pos_NS3[0, 0] = 0.25, 0, 0
        self.now.gripper_pos_N3[0] = 0, 0, 0.30
        self.shots = [self.now.copy()]
        self.goals = [[False]]

    def shoot(self, *, gripper_z: float = 0.0, can_x: float = 0.0, grip: bool = False, goal: bool = False) -> None:
        self.now.object_pos_NO3[0, 0, 0] = can_x
        self.now.gripper_pos_N3[0] = can_x, 0, gripper_z
        self.now.finger_contact_NO2[0, 0] = grip
        self.shots.append(self.now.copy())
        self.goals.append([goal])

    def trace(self, spec: StageSpec, profile: CreditProfile | None = None) -> Trace:
        goals = np.array(self.goals)
        profile = profile or CreditProfile()
        return trace(spec, LAYOUT, Snapshot.join(self.shots), goals, horizon=100, profile=profile)


def pick_and_place() -> Film:
    """Reached half, reached, gripped for three steps, carried half, dropped, success."""
    film = Film()
    film.shoot(gripper_z=0.175)
    film.shoot()
    for _ in range(3):
        film.shoot(grip=True)
    film.shoot(can_x=0.15, grip=True)  # 0.10 m from the box: (0.25 - 0.10) / 0.20 = 3/4 of the ramp
    film.shoot(can_x=0.15)
    film.shoot(can_x=0.15, goal=True)
    return film


def causes(explanation: Explanation) -> dict[str, tuple[str, ...]]:
    return {cause.heading: cause.lines for cause in explanation.causes}


def test_a_ramp_is_named_with_its_metres_and_the_rounding() -> None:
    told = pick_and_place().trace(make_spec(STAGES))
    step = explain_step(told, 1)
    # 0.9 * 1/2 of effort 1 in 8: 0.05625, which is 3.6 quanta; beta pays 3 of them
    assert step.headline == "Step 1 paid +0.0234" and step.tone == "gain"
    assert causes(step) == {
        "Reach: credit 0.00 → 0.45 (+0.0563 of progress)": (
            "ramp: 0.125 m left of 0.250 m (before: 0.250 m), 50.0 % filled; a full ramp is worth 0.9 of the stage",
        )
    }
    assert step.sums == (
        "Progress φ: 0.0000 → 0.0563.",
        "Best so far M: 0.0000 → 0.0563, a new high-water mark.",
        "Paid progress ψ: (1 − 0.3) M + 0.3 φ = 0.0563 = 3.60 quanta of 1/64, rounded down to 3; before: 0.",
        "Reward: β × change of ψ = 0.5 × (3 − 0)/64 = +0.0234.",
    )


def test_the_hold_counter_says_why_nothing_is_paid_yet() -> None:
    told = pick_and_place().trace(make_spec(STAGES))
    started, waited, paid = (explain_step(told, m) for m in (3, 4, 5))
    assert causes(started)["Grasp: credit stays 0.00"] == (
        "its condition holds, for 1 of 3 control steps so far",
        "“the fingers hold can 1 between them” became true: left finger presses yes, right finger presses yes",
    )
    assert waited.headline == "Step 4 paid nothing"
    assert causes(waited) == {"Grasp: credit stays 0.00": ("its condition holds, for 2 of 3 control steps so far",)}
    assert waited.sums == ("Progress φ stays 0.1250, so the reward is 0.",)
    assert stage_text(told, 1, 4) == "open, held 2 of 3"
    # 2 of 8 efforts; 0.125 is 8 quanta, 0.375 is 24
    assert "Grasp: credit 0.00 → 1.00 (+0.2500 of progress)" in causes(paid)
    assert paid.sums[-1] == "Reward: β × change of ψ = 0.5 × (24 − 8)/64 = +0.1250."


def test_a_drop_names_what_was_lost_and_the_high_water_mark() -> None:
    told = pick_and_place().trace(make_spec(STAGES))
    step = explain_step(told, 7)
    # M = 3/8 + 0.9 * 3/4 * 3/8 = 0.628125, phi = 1/8: 0.7 M + 0.3 phi = 0.4771875 = 30.54 quanta, before 40.2
    assert step.tone == "loss" and step.headline == "Step 7 took back 0.0781"
    lost = causes(step)
    assert lost["Grasp: credit 1.00 → 0.00 (−0.2500 of progress)"] == (
        "its condition no longer holds, and its credit lasts only while it does",
        "“the fingers hold can 1 between them” became false: left finger presses no, right finger presses no",
    )
    carry = lost["Carry: credit 0.68 → 0.00 (−0.2531 of progress)"]
    assert carry[0] == "its “while” fails, so the ramp pays nothing" and "became false" in carry[1]
    assert "Best so far M stays 0.6281; progress is 0.5031 below that high-water mark." in step.sums
    assert step.sums[-1] == "Reward: β × change of ψ = 0.5 × (30 − 40)/64 = −0.0781."
    assert stage_state(told, 2, 7) is State.BLOCKED


def test_success_fills_the_return_up_to_one() -> None:
    told = pick_and_place().trace(make_spec(STAGES), CreditProfile(eta=0.1))
    step = explain_step(told, 8, [("in", CAN, BOX)])
    assert step.tone == "success"
    assert step.sums[-1] == (
        "Success: the reward fills the return up to 1: 1 − 0.2344 paid so far + 0.1 × (1 − 8/100) for speed = +0.8576."
    )
    assert causes(step)["Carry: credit 0.00 → 1.00 (+0.3750 of progress)"][0] == (
        "counts as done, because a goal condition that it leads to holds"
    )
    assert any("“LIBERO counts can 1 as in the contain region of tray 1” became true" in line
               for lines in causes(step).values() for line in lines)  # fmt: skip


def test_a_broken_rule_says_how_far_the_can_leans() -> None:
    film = Film()
    film.shoot()
    turn = np.radians(30)
    film.now.object_mat_NO33[0, 0] = [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]
    film.shoot()
    step = explain_step(film.trace(make_spec(STAGES, [UPRIGHT])), 2)
    heading = (
        "A rule to maintain breaks: Whenever can 1 leans more than 20 degrees, 50 % of all progress does not count."
    )
    (line,) = causes(step)[heading]
    assert line.endswith("became false: lean 30.0 deg (wanted ≤ 20.0 deg)")
    assert "Broken rules leave 50 % of the progress." in step.sums


def test_the_reset_names_what_is_worth_nothing() -> None:
    film = Film()
    film.now.gripper_pos_N3[0] = 0
    film.shots = [film.now.copy()]
    film.shoot()
    told = film.trace(make_spec(STAGES))
    assert causes(explain_step(told, 0)) == {"Done at reset, so worth nothing": ("Reach",)}
    assert explain_step(told, 1).headline == "Step 1 paid nothing"


@pytest.mark.parametrize(
    ("profile", "line"),
    [
        (CreditProfile(mode="sparse"), "Nothing is paid before success: the reward is 0."),
        # Phi = 0.5 * 8/64, before 0.5 * 3/64: 0.5 * (0.9 * 8 - 3) / 64
        (
            CreditProfile(mode="pbrs", discount=0.9),
            "Reward: γ Φ − Φ before, where Φ = β ψ: 0.5 × (0.9 × 8 − 3)/64 = +0.0328.",
        ),
    ],
)
def test_other_profiles_have_their_own_sum(profile: CreditProfile, line: str) -> None:
    assert explain_step(pick_and_place().trace(make_spec(STAGES), profile), 2).sums[-1] == line


def test_goals_only_says_that_stages_are_not_paid() -> None:
    told = pick_and_place().trace(make_spec(STAGES), CreditProfile(mode="goals-only"))
    assert explain_step(told, 5).sums == ("Progress φ stays 0.0000, so the reward is 0.",)
    assert explain_step(told, 8).sums[0].startswith("The profile counts goal conditions alone")


@settings(max_examples=50, deadline=None)
@given(specs(), profiles(), SEEDS)
def test_every_change_of_credit_is_explained(spec: StageSpec, profile: CreditProfile, seed: int) -> None:
    rng = np.random.default_rng(seed)
    goal_MC = random_goals(rng, 8)
    goal_MC[-1] = rng.random() < 0.5
    told = trace(spec, LAYOUT, random_snapshot(rng, 8), goal_MC, horizon=50, profile=profile)
    for m in range(1, 8):
        step = explain_step(told, m)
        named = {cause.heading.partition(":")[0] for cause in step.causes if "credit stays" not in cause.heading}
        moved_K = np.abs(told.verdict.credit_KN[:, m] - told.verdict.credit_KN[:, m - 1]) > SMALLEST_CHANGE
        assert {title(stage.id) for stage, moved in zip(spec.stages, moved_K, strict=True) if moved} == (
            named - {"A rule to maintain is broken", "A rule to maintain breaks", "A rule to maintain is kept again"}
        )
        for cause in step.causes:
            assert cause.lines, cause.heading
        if told.reward_M[m]:
            assert step.sums[-1].endswith(f" = {signed(float(told.reward_M[m]))}.")
