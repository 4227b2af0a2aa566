"""Compiled words and pay against numpy, bit for bit: handles, boxes, NaN, nested conditions, modes of credit."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from tests.helpers.reward_cases import make_spec
from tgrpo_envs.errors import SpecError
from tgrpo_envs.rewards import CreditProfile
from tgrpo_envs.rewards.binding import BoundSpec
from tgrpo_envs.rewards.credit import paid_progress, step_reward, success_reward
from tgrpo_envs.rewards.geometry import metres_outside, position_of, squared_distance, to_threshold, top_of
from tgrpo_envs.rewards.paying import Account, pay
from tgrpo_envs.rewards.predicates import Moment
from tgrpo_envs.sim.snapshot import Snapshot, SnapshotLayout

CAN, BOWL, CABINET, MICROWAVE = "can_1", "bowl_1", "wooden_cabinet_1", "microwave_1"
DRAWER, HEATING = "wooden_cabinet_1_top_region", "microwave_1_heating_region"
LAYOUT = SnapshotLayout(
    objects=(CAN, BOWL, CABINET, MICROWAVE),
    num_movables=2,
    sites=(DRAWER, HEATING),
    site_half_sizes_S3=np.array([[0.08, 0.09, 0.03], [0.1, 0.08, 0.06]]),
    site_parents_S=np.array([2, 3]),
    joints=("wooden_cabinet_1_top_level", "microwave_1_microjoint"),
    joint_objects_J=np.array([2, 3]),
    joint_sites_J=np.array([0, -1]),
)
NUM_ENVS = 257
TOUCHES = [{"op": "touching", "a": name} for name in (CAN, BOWL, CABINET)]


def random_snapshot(seed: int, num_envs: int = NUM_ENVS) -> Snapshot:
    """Numbers of the size of a scene's, whatever they mean."""
    rng = np.random.default_rng(seed)
    snapshot = Snapshot.empty(LAYOUT, num_envs)
    for name in snapshot.__dataclass_fields__:
        array = getattr(snapshot, name)
        array[...] = rng.random(array.shape) < 0.5 if array.dtype == bool else rng.normal(size=array.shape) * 0.2
    return snapshot


def bound(done: dict, ramp: dict | None = None) -> BoundSpec:
    stage = {"id": "only", "effort": 1, "done": done} | ({"ramp": ramp} if ramp else {})
    return BoundSpec(make_spec([stage]), LAYOUT)


def moment(num_envs: int = NUM_ENVS) -> Moment:
    return Moment(random_snapshot(1, num_envs), random_snapshot(2, num_envs), np.zeros((num_envs, 2), dtype=bool))


@pytest.mark.parametrize("part", [DRAWER, MICROWAVE])
def test_doors_and_drawers(part: str) -> None:
    atom = {"op": "actuated", "a": part, "toward": "open", "min_frac": 0.3}
    spec, at = bound(atom, {"op": "actuate", "a": part, "toward": "open"}), moment()
    remaining = to_threshold(spec.entities[spec.atoms[0]]["a"], "open")
    seen = spec.observe(at)
    assert np.array_equal(seen.remaining_KN[0], remaining(at.now))
    assert np.array_equal(seen.truth_AN[0], remaining(at.now) <= (1.0 - 0.3) * remaining(at.start))
    assert 0 < seen.truth_AN.sum() < NUM_ENVS


@pytest.mark.parametrize("axes", ["xyz", "xy", "z"])
@pytest.mark.parametrize("other", [f"{DRAWER}_handle", f"{MICROWAVE}_handle", HEATING, BOWL, CABINET])
def test_distances(other: str, axes: str) -> None:
    ends = {"a": "gripper", "b": other, "axes": axes}
    spec, at = bound({"op": "near", **ends, "within_m": 0.3}, {"op": "approach", **ends, "to_m": 0.05}), moment()
    places = spec.entities[spec.atoms[0]]
    square_N = squared_distance(places["a"], places["b"], axes)(at)
    seen = spec.observe(at)
    assert np.array_equal(seen.truth_AN[0], square_N <= 0.3**2)
    assert np.array_equal(seen.remaining_KN[0], np.maximum(np.sqrt(square_N) - 0.05, 0.0))
    assert 0 < seen.truth_AN.sum() < NUM_ENVS


def test_boxes() -> None:
    inside = {"op": "inside", "a": CAN, "b": DRAWER, "margin_m": 0.0}
    above = {"op": "above", "a": CAN, "b": HEATING, "min_m": 0.0, "xy_within_m": 0.15}
    spec, at = bound({"any": [inside, above]}, {"op": "inside_depth", "a": CAN, "b": DRAWER, "from_m": 0.2}), moment()
    places, others = (spec.entities[atom] for atom in spec.atoms)
    outside_N = metres_outside(places["a"], places["b"])(at.now)
    over_N = position_of(others["a"])(at.now)[:, 2] - top_of(others["b"])(at.now)
    close_N = squared_distance(others["a"], others["b"], "xy")(at) <= 0.15**2
    seen = spec.observe(at)
    assert np.array_equal(seen.remaining_KN[0], np.maximum(outside_N, 0.0))
    assert np.array_equal(seen.truth_AN, [outside_N < 0.0, (over_N >= 0.0) & close_N])
    assert np.array_equal(seen.done_KN[0], seen.truth_AN.any(axis=0))


@pytest.mark.parametrize(
    "ramp",
    [
        {"op": "approach", "a": "gripper", "b": CAN, "to_m": 0.0},
        {"op": "inside_depth", "a": CAN, "b": DRAWER, "from_m": 0.2},
        {"op": "raise", "a": CAN, "to_m": 0.1},
    ],
)
def test_what_is_left_of_a_diverged_environment_is_no_number(ramp: dict) -> None:
    at = moment(3)
    at.now.object_pos_NO3[1, 0] = np.nan
    seen = bound({"op": "near", "a": "gripper", "b": CAN, "within_m": 0.3}, ramp).observe(at)
    assert np.isnan(seen.remaining_KN[0]).tolist() == [False, True, False]
    assert not seen.truth_AN[0, 1]


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("any", "all", lambda x, y, z: (x and y) or not z),
        ("all", "any", lambda x, y, z: (x or y) and not z),
    ],
)
def test_conditions_are_evaluated_as_they_nest(outer: str, inner: str, expected: Callable[..., bool]) -> None:
    a, b, c = TOUCHES
    spec = bound({outer: [{inner: [a, b]}, {"not": c}]})
    cases = np.array(list(itertools.product([False, True], repeat=3)))
    at = moment(len(cases))
    at.now.touch_NO[:, :3] = cases
    assert spec.observe(at).done_KN[0].tolist() == [expected(*case) for case in cases.tolist()]


def test_a_conjunct_that_is_not_there_is_refused_and_never_read() -> None:
    spec = bound({"op": "goal", "index": 2})
    with pytest.raises(SpecError, match=r"conjunct 2, but the task .* has 2"):
        spec.observe(moment())


@pytest.mark.parametrize("mode", ["stages", "goals-only", "sparse", "pbrs"])
def test_pay_follows_the_formulas(mode: str) -> None:
    """Bit for bit what `credit` says of arrays; ended and masked members keep what they have."""
    rng = np.random.default_rng(3)
    profile = CreditProfile(beta=0.7, kappa=0.3, eta=0.2, mode=mode, discount=0.99 if mode == "pbrs" else 1.0)
    account, best_N, psi_N, returned_N = Account.new(64), *np.zeros((3, 64))
    account.restart(np.arange(64) < 60)
    ended_N = np.arange(64) >= 60
    for step in range(1, 21):
        progress_N, mask_N = rng.random(64), rng.random(64) < 0.9
        goal_NC, steps_N = rng.random((64, 2)) < 0.2, np.full(64, step)
        live_N, success_N = mask_N & ~ended_N, goal_NC.all(axis=1)
        now_N = np.maximum(best_N, progress_N)
        paid_N = paid_progress(now_N, progress_N, profile)
        jump_N = success_reward(returned_N, psi_N, steps_N, 20, profile)
        expected_N = np.where(live_N, np.where(success_N, jump_N, step_reward(paid_N, psi_N, profile)), 0.0)
        assert np.array_equal(pay(account, profile, 20, progress_N, goal_NC, live_N, steps_N), expected_N)
        best_N, psi_N = np.where(live_N, now_N, best_N), np.where(live_N, paid_N, psi_N)
        returned_N, ended_N = returned_N + expected_N, ended_N | (live_N & (success_N | (steps_N >= 20)))
        for mine, kept in zip((best_N, psi_N, returned_N, ended_N), _remembered(account), strict=True):
            assert np.array_equal(mine, kept)
    assert ended_N.sum() > 60


def _remembered(account: Account) -> tuple[np.ndarray, ...]:
    return account.best_N, account.psi_N, account.returned_N, account.ended_N
