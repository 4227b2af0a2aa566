"""StageTracker: hand-derived numbers, agreement with an independent scalar tracker, and 3.4's semantics one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from tests.helpers.reward_cases import (
    BOX,
    CAN,
    LAYOUT,
    NUM_GOALS,
    SEEDS,
    TRAY,
    ScalarTracker,
    make_spec,
    profiles,
    random_goals,
    random_snapshot,
    scene_of,
    specs,
    still_snapshot,
)
from tgrpo_envs.errors import SpecError, UnknownNameError
from tgrpo_envs.rewards import CreditProfile, StageReport, StageSpec, StageTracker
from tgrpo_envs.sim.snapshot import Snapshot

ONE = np.array([True])
TOUCH = {"op": "touching", "a": CAN}


class Driver:
    """Steps one environment by editing its snapshot."""

    def __init__(self, spec: StageSpec, profile: CreditProfile | None = None, goals: int = NUM_GOALS) -> None:
        self.now = still_snapshot()
        self.goal = np.zeros((1, goals), dtype=bool)
        self.tracker = StageTracker(spec, profile or CreditProfile(kappa=1.0), LAYOUT, 1, 1000)
        self.steps = 0

    def reset(self) -> None:
        self.tracker.reset(self.now, self.goal, ONE)
        self.steps = 0

    def step(self) -> StageReport:
        self.steps += 1
        return self.tracker.step(self.now, self.goal, ONE, np.array([self.steps]))


def stage(name: str, done: dict[str, Any], **fields: object) -> dict[str, Any]:
    return {"id": name, "effort": 1, "done": done, **fields}


def test_pick_and_place_pays_what_the_arithmetic_says() -> None:
    """Five stages of effort 1/2/1/3/2 (sum 9); beta 1/2, kappa 0.3, quantum 1/64: a quantum pays 1/128."""
    above = {"a": CAN, "b": BOX, "axes": "xy"}
    grasped = {"op": "grasped", "a": CAN}
    near = {"op": "near", "a": "gripper", "b": CAN, "within_m": 0.05}
    spec = make_spec(
        [
            {"id": "reach", "effort": 1, "ramp": {"op": "approach", "a": "gripper", "b": CAN, "to_m": 0.05},
             "done": near},
            {"id": "grasp", "effort": 2, "after": ["reach"], "done": grasped, "hold_steps": 3, "latch": "live"},
            {"id": "lift", "effort": 1, "after": ["grasp"], "while": [grasped],
             "ramp": {"op": "raise", "a": CAN, "to_m": 0.05}, "done": {"op": "lifted", "a": CAN, "by_m": 0.05}},
            {"id": "carry", "effort": 3, "after": ["lift"], "while": [grasped], "latch": "live",
             "ramp": {"op": "approach", **above, "to_m": 0.05}, "done": {"op": "near", **above, "within_m": 0.05}},
            {"id": "place", "effort": 2, "after": ["carry"], "latch": "live",
             "ramp": {"op": "inside_depth", "a": CAN, "b": BOX, "from_m": 0.15}, "done": {"op": "goal", "index": 0}},
        ]
    )  # fmt: skip
    env = Driver(spec, CreditProfile(), goals=1)
    can, gripper = env.now.object_pos_NO3[0, 0], env.now.gripper_pos_N3[0]
    can[:] = 0, 0, 0.04
    gripper[:] = 0, 0, 0.34  # 0.30 m away
    env.now.object_pos_NO3[0, 1] = 0.2, 0, 0
    env.now.site_pos_NS3[0, 0] = 0.2, 0, 0.072  # the box reaches up to 0.072 + 0.07 = 0.142

    def hold(x: float, z: float, *, gripped: bool = True) -> None:
        can[:] = gripper[:] = x, 0, z
        env.now.finger_contact_NO2[0, 0] = env.now.touch_NO[0, 0] = gripped

    def quanta(reward: float) -> float:
        return reward * 128

    env.reset()
    gripper[2] = 0.215  # distance 0.175, (0.30-0.175)/(0.30-0.05) = 1/2 of the ramp: 0.9/2/9 = 0.05, 3.2 quanta
    report = env.step()
    assert report.progress_N[0] == pytest.approx(0.05) and quanta(report.reward_N[0]) == 3
    gripper[2] = 0.04  # reached: 1/9 = 7.1 quanta
    assert quanta(env.step().reward_N[0]) == 4
    hold(0, 0.04)  # gripped; counts from the third step on
    assert [quanta(env.step().reward_N[0]) for _ in range(2)] == [0, 0]
    report = env.step()  # 3/9 = 21.3 quanta
    assert quanta(report.reward_N[0]) == 14 and report.stage_N[0] == 2
    hold(0, 0.065)  # half of the lift: 3/9 + 0.9/2/9 = 24.5 quanta
    assert quanta(env.step().reward_N[0]) == 3
    hold(0, 0.24)  # lifted: 4/9 = 28.4 quanta; the carry ramp starts at its reset distance, so it is still empty
    assert quanta(env.step().reward_N[0]) == 4
    hold(0.1, 0.24)  # 0.1 of the 0.2 m, ramp (0.2-0.1)/(0.2-0.05) = 2/3: 4/9 + 0.9*2/3*3/9 = 0.6444 = 41.2 quanta
    assert quanta(env.step().reward_N[0]) == 13
    hold(0.1, 0.24, gripped=False)  # lost: phi = 2/9; 0.7*0.6444 + 0.3*0.2222 = 0.5178 = 33.1 quanta
    report = env.step()
    assert quanta(report.reward_N[0]) == -8 and report.best_N[0] == pytest.approx(0.6444, abs=1e-4)
    assert report.stages_NK[0].tolist() == [True, False, True, False, False]
    hold(0.1, 0.24)  # the carry ramp pays at once: phi = 2/9 + 0.2; 0.7*0.6444 + 0.3*0.4222 = 0.5778 = 36.98 quanta
    assert [quanta(env.step().reward_N[0]) for _ in range(3)] == [3, 0, 5]  # regrasped: back at 41
    hold(0.17, 0.24)  # carried, 0.098 m over the box: 7/9 + 0.9*(1-0.098/0.15)*2/9 = 0.8471 = 54.2 quanta
    report = env.step()
    assert quanta(report.reward_N[0]) == 13 and report.stage_N[0] == 4
    hold(0.17, 0.13)
    env.goal[:] = True
    report = env.step()
    assert quanta(report.reward_N[0]) == 128 - 54  # the return becomes exactly 1
    assert report.progress_N[0] == 1 and report.stage_N[0] == 5 and report.stages_NK.all()
    assert env.step().reward_N[0] == 0  # nothing after the end


@settings(max_examples=80, deadline=None)
@given(specs(), profiles(), SEEDS)
def test_agrees_with_the_scalar_tracker(spec: StageSpec, profile: CreditProfile, seed: int) -> None:
    """Random specs, states, resets and masks: every number equals the independent implementation's."""
    rng = np.random.default_rng(seed)
    num_envs, horizon = 3, 12
    tracker = StageTracker(spec, profile, LAYOUT, num_envs, horizon)
    scalars = [ScalarTracker(spec, profile, horizon) for _ in range(num_envs)]
    steps_N = np.zeros(num_envs, dtype=np.int64)
    reset_N = np.ones(num_envs, dtype=bool)
    for _ in range(15):
        snapshot, goal_NC = random_snapshot(rng, num_envs), random_goals(rng, num_envs)
        tracker.reset(snapshot, goal_NC, reset_N)
        for i in np.flatnonzero(reset_N).tolist():
            scalars[i].reset(scene_of(snapshot, i), goal_NC[i].tolist())
            steps_N[i] = 0
        mask_N = rng.random(num_envs) < 0.8
        steps_N += mask_N
        snapshot = random_snapshot(rng, num_envs)
        goal_NC = random_goals(rng, num_envs, success=bool(rng.random() < 0.1))
        report = tracker.step(snapshot, goal_NC, mask_N, steps_N)
        expected = [
            scalar.step(scene_of(snapshot, i), goal_NC[i].tolist(), int(steps_N[i])) if mask_N[i] else 0.0
            for i, scalar in enumerate(scalars)
        ]
        np.testing.assert_allclose(report.reward_N, expected, atol=1e-12)
        np.testing.assert_allclose(report.progress_N, [scalar.phi for scalar in scalars], atol=1e-12)
        np.testing.assert_allclose(report.best_N, [scalar.best for scalar in scalars], atol=1e-12)
        reset_N = rng.random(num_envs) < 0.1


@settings(max_examples=25, deadline=None)
@given(specs(), SEEDS)
def test_members_do_not_influence_each_other(spec: StageSpec, seed: int) -> None:
    """A batch of four pays each member, bit for bit, what it earns alone."""
    rng = np.random.default_rng(seed)
    snapshots = [random_snapshot(rng, 4) for _ in range(8)]
    goals = [random_goals(rng, 4) for _ in range(8)]
    every = np.ones(4, dtype=bool)
    batch = StageTracker(spec, CreditProfile(), LAYOUT, 4, 99)
    batch.reset(snapshots[0], goals[0], every)
    reports = [batch.step(snapshots[t], goals[t], every, np.full(4, t)) for t in range(1, 8)]
    for i in range(4):
        alone = StageTracker(spec, CreditProfile(), LAYOUT, 1, 99)
        alone.reset(_member(snapshots[0], i), goals[0][i : i + 1], ONE)
        for t in range(1, 8):
            report = alone.step(_member(snapshots[t], i), goals[t][i : i + 1], ONE, np.array([t]))
            assert report.reward_N[0] == reports[t - 1].reward_N[i]
            assert report.stages_NK[0].tolist() == reports[t - 1].stages_NK[i].tolist()


def _member(snapshot: Snapshot, i: int) -> Snapshot:
    return type(snapshot)(**{name: getattr(snapshot, name)[i : i + 1] for name in snapshot.__dataclass_fields__})


def test_once_keeps_credit_and_live_loses_it() -> None:
    env = Driver(make_spec([stage("keep", TOUCH), stage("lose", TOUCH, latch="live")]))
    env.reset()
    env.now.touch_NO[:] = True
    assert env.step().progress_N[0] == 1
    env.now.touch_NO[:] = False
    assert env.step().progress_N[0] == 0.5


def test_hold_steps_debounce_and_restart() -> None:
    env = Driver(make_spec([stage("hold", TOUCH, hold_steps=3)]))
    env.reset()
    seen = []
    for touching in (1, 1, 0, 1, 1, 1):
        env.now.touch_NO[:] = bool(touching)
        seen.append(bool(env.step().stages_NK[0, 0]))
    assert seen == [False, False, False, False, False, True]


def test_a_stage_waits_for_its_predecessors_and_a_chain_may_finish_in_one_step() -> None:
    lifted = {"op": "lifted", "a": CAN, "by_m": 0.05}
    env = Driver(make_spec([stage("second", lifted, after=["first"]), stage("first", TOUCH)]))
    env.reset()
    env.now.object_pos_NO3[0, 0, 2] = 0.1
    assert env.step().progress_N[0] == 0  # lifted, but nothing was touched
    env.now.touch_NO[:] = True
    assert env.step().progress_N[0] == 1


def test_while_gates_the_ramp_but_not_the_done() -> None:
    ramp = {"op": "raise", "a": CAN, "to_m": 0.1}
    lifted = {"op": "lifted", "a": CAN, "by_m": 0.1}
    env = Driver(make_spec([stage("lift", lifted, ramp=ramp, **{"while": [TOUCH]})]))
    env.reset()
    env.now.object_pos_NO3[0, 0, 2] = 0.05
    assert env.step().progress_N[0] == 0
    env.now.touch_NO[:] = True
    assert env.step().progress_N[0] == pytest.approx(0.45)
    env.now.touch_NO[:] = False
    env.now.object_pos_NO3[0, 0, 2] = 0.11
    assert env.step().progress_N[0] == 1


def test_what_holds_at_reset_weighs_nothing_even_when_debounced() -> None:
    env = Driver(
        make_spec([stage("touch", TOUCH, hold_steps=5), stage("lift", {"op": "lifted", "a": CAN, "by_m": 0.1})])
    )
    env.now.touch_NO[:] = True
    env.reset()
    assert [env.step().reward_N[0] for _ in range(8)] == [0] * 8
    env.now.object_pos_NO3[0, 0, 2] = 0.2
    assert env.step().progress_N[0] == 1  # all of the weight is on the lift


def test_baseline_takes_a_ramp_that_is_part_full_at_reset() -> None:
    """Ramp 1/2 full at reset: phi_0 = 0.45; at 3/4, (0.675 - 0.45) / 0.55 = 0.409."""
    near = {"op": "near", "a": "gripper", "b": CAN, "within_m": 0.01}
    ramp = {"op": "approach", "a": "gripper", "b": CAN, "to_m": 0.0, "from_m": 0.4}
    env = Driver(make_spec([stage("reach", near, ramp=ramp)]))
    env.now.gripper_pos_N3[0, 0] = 0.2
    env.reset()
    assert env.step().progress_N[0] == 0
    env.now.gripper_pos_N3[0, 0] = 0.1
    assert env.step().progress_N[0] == pytest.approx(0.225 / 0.55)


def test_a_true_conjunct_credits_the_way_to_it_but_only_its_own_way() -> None:
    """Shutting the empty drawer (goal 1) credits reaching its handle, never the object inside (goal 0)."""
    env = Driver(
        make_spec(
            [
                stage("grasp", {"op": "grasped", "a": CAN}),
                stage("put", {"op": "goal", "index": 0}, after=["grasp"], latch="live"),
                stage("handle", {"op": "touching", "a": "cabinet_1"}),
                stage("shut", {"op": "goal", "index": 1}, after=["put", "handle"], latch="live"),
            ]
        )
    )
    env.reset()
    env.goal[0] = False, True
    assert env.step().stages_NK[0].tolist() == [False, False, True, False]
    env.goal[0] = True, False
    assert env.step().stages_NK[0].tolist() == [True, True, False, False]
    env.goal[0] = True, True
    report = env.step()
    assert report.stages_NK.all() and report.progress_N[0] == 1


def test_maintain_takes_its_share_while_violated() -> None:
    env = Driver(make_spec([stage("touch", TOUCH)], [{"holds": {"op": "still", "a": TRAY, "below_mps": 0.1}}]))
    env.reset()
    env.now.touch_NO[:] = True
    env.now.object_speed_NO[0, 1] = 1
    assert env.step().progress_N[0] == 0.5
    env.now.object_speed_NO[0, 1] = 0
    assert env.step().progress_N[0] == 1


def test_nothing_is_paid_before_reset_or_after_the_horizon() -> None:
    spec, every = make_spec([stage("touch", TOUCH)]), np.array([True, True])
    tracker = StageTracker(spec, CreditProfile(), LAYOUT, 2, horizon=3)
    now, goal = still_snapshot(2), np.zeros((2, 1), dtype=bool)
    tracker.reset(now, goal, np.array([True, False]))
    for step in (1, 2, 3):
        assert not tracker.step(now, goal, every, np.array([step, step])).reward_N.any()
    now.touch_NO[:] = True
    assert not tracker.step(now, goal | True, every, np.array([4, 4])).reward_N.any()


def test_a_diverged_member_keeps_what_it_has_and_earns_a_number() -> None:
    near = {"op": "near", "a": "gripper", "b": CAN, "within_m": 0.01}
    ramp = {"op": "approach", "a": "gripper", "b": CAN, "to_m": 0.01}
    env = Driver(make_spec([stage("touch", TOUCH), stage("reach", near, ramp=ramp)]))
    env.now.gripper_pos_N3[0, 0] = 0.3
    env.reset()
    env.now.touch_NO[:] = True
    assert env.step().progress_N[0] == 0.5
    env.now.gripper_pos_N3[:] = np.nan
    report = env.step()
    assert report.reward_N[0] == 0 and report.progress_N[0] == 0.5


def test_the_report_is_the_callers_to_keep() -> None:
    env = Driver(make_spec([stage("touch", TOUCH, latch="live")]))
    env.reset()
    env.now.touch_NO[:] = True
    kept = env.step()
    env.now.touch_NO[:] = False
    env.step()
    assert kept.stages_NK.all() and kept.progress_N[0] == 1


def test_unknown_names_and_wrong_kinds_are_refused_in_plain_words() -> None:
    typo = make_spec([stage("grab", {"op": "grasped", "a": "cann_1"})])
    with pytest.raises(UnknownNameError, match=r"stage 'grab'.*'cann_1'.*Did you mean 'can_1'"):
        Driver(typo)
    region = make_spec([stage("grab", {"op": "grasped", "a": BOX})])
    with pytest.raises(SpecError, match=rf"stage 'grab', `grasped` needs a movable as 'a', but '{BOX}' is a region"):
        Driver(region)
    goal = Driver(make_spec([stage("put", {"not": {"op": "goal", "index": 2}})]), goals=2)
    with pytest.raises(SpecError, match="goal conjunct 2, but the task 'test' has 2"):
        goal.reset()
