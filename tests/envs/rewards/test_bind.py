"""Conditions and ramps over a scene: handles, boxes, NaN and nested conditions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.helpers.reward_cases import make_spec
from tgrpo_envs.errors import SpecError
from tgrpo_envs.rewards.bind import BoundSpec
from tgrpo_envs.rewards.entities import Moment
from tgrpo_envs.rewards.handles import find_handle, handle_position
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


def bound(done: dict[str, Any], ramp: dict[str, Any] | None = None) -> BoundSpec:
    stage = {"id": "only", "effort": 1, "done": done} | ({"ramp": ramp} if ramp else {})
    return BoundSpec(make_spec([stage]), LAYOUT)


def moment(num_envs: int = NUM_ENVS) -> Moment:
    return Moment(random_snapshot(1, num_envs), random_snapshot(2, num_envs), np.zeros((num_envs, 2), dtype=bool))


@pytest.mark.parametrize(("part", "bound_at", "joint"), [(DRAWER, -0.14, 0), (MICROWAVE, -1.3, 1)])
def test_doors_and_drawers(part: str, bound_at: float, joint: int) -> None:
    """Both open towards smaller positions, beyond LIBERO's `default_open_ranges`."""
    atom = {"op": "actuated", "a": part, "toward": "open", "min_frac": 0.3}
    spec, at = bound(atom, {"op": "actuate", "a": part, "toward": "open"}), moment()
    left_N, whole_N = (
        np.maximum(qpos[:, joint] - bound_at, 0) for qpos in (at.now.joint_qpos_NJ, at.start.joint_qpos_NJ)
    )
    seen = spec.observe(at)
    assert np.array_equal(seen.remaining_KN[0], left_N)
    assert np.array_equal(seen.truth_PN[0], left_N <= (1.0 - 0.3) * whole_N)
    assert 0 < seen.truth_PN.sum() < NUM_ENVS


@pytest.mark.parametrize("axes", ["xyz", "xy", "z"])
@pytest.mark.parametrize("other", [f"{DRAWER}_handle", f"{MICROWAVE}_handle", HEATING, BOWL, CABINET])
def test_distances(other: str, axes: str) -> None:
    ends = {"a": "gripper", "b": other, "axes": axes}
    spec, at = bound({"op": "near", **ends, "within_m": 0.3}, {"op": "approach", **ends, "to_m": 0.05}), moment()
    drawer, microwave = find_handle(DRAWER), find_handle(MICROWAVE)
    assert drawer is not None and microwave is not None
    place = {
        f"{DRAWER}_handle": lambda: handle_position(drawer, 2, 0, at.now),
        f"{MICROWAVE}_handle": lambda: handle_position(microwave, 3, 1, at.now),
        HEATING: lambda: at.now.site_pos_NS3[:, 1],
        BOWL: lambda: at.now.object_pos_NO3[:, 1],
        CABINET: lambda: at.now.object_pos_NO3[:, 2],
    }[other]()
    chosen = ["xyz".index(axis) for axis in axes]
    distance_N = np.linalg.norm((at.now.gripper_pos_N3 - place)[:, chosen], axis=1)
    seen = spec.observe(at)
    assert np.array_equal(seen.truth_PN[0], distance_N <= 0.3)
    assert np.allclose(seen.remaining_KN[0], np.maximum(distance_N - 0.05, 0.0), atol=1e-12)
    assert 0 < seen.truth_PN.sum() < NUM_ENVS


def test_boxes() -> None:
    """LIBERO's box is |R s| large, and its floor 1 cm lower (SiteObject.in_box)."""
    inside = {"op": "inside", "a": CAN, "b": DRAWER, "margin_m": 0.0}
    above = {"op": "above", "a": CAN, "b": HEATING, "min_m": 0.0, "xy_within_m": 0.15}
    spec, at = bound({"any": [inside, above]}, {"op": "inside_depth", "a": CAN, "b": DRAWER, "from_m": 0.2}), moment()
    can_N3, (drawer_N3, heating_N3) = at.now.object_pos_NO3[:, 0], at.now.site_pos_NS3.transpose(1, 0, 2)
    half_NS3 = np.abs(np.einsum("nsij,sj->nsi", at.now.site_mat_NS33, LAYOUT.site_half_sizes_S3))
    low_N3, high_N3 = drawer_N3 - half_NS3[:, 0] - [0, 0, 0.01], drawer_N3 + half_NS3[:, 0]
    outside_N = np.maximum(low_N3 - can_N3, can_N3 - high_N3).max(axis=1)
    over_N = can_N3[:, 2] - heating_N3[:, 2] - half_NS3[:, 1, 2]
    close_N = np.linalg.norm((can_N3 - heating_N3)[:, :2], axis=1) <= 0.15
    seen = spec.observe(at)
    assert np.allclose(seen.remaining_KN[0], np.maximum(outside_N, 0.0), atol=1e-12)
    assert np.array_equal(seen.truth_PN, [outside_N < 0.0, (over_N >= 0.0) & close_N])
    assert np.array_equal(seen.holds_KN[0], seen.truth_PN.any(axis=0))


@pytest.mark.parametrize(
    "ramp",
    [
        {"op": "approach", "a": "gripper", "b": CAN, "to_m": 0.0},
        {"op": "inside_depth", "a": CAN, "b": DRAWER, "from_m": 0.2},
        {"op": "approach_opening", "a": CAN, "b": DRAWER, "to_m": 0.0},
        {"op": "raise", "a": CAN, "to_m": 0.1},
    ],
)
def test_what_is_left_of_a_diverged_environment_is_no_number(ramp: dict[str, Any]) -> None:
    at = moment(3)
    at.now.object_pos_NO3[1, 0] = np.nan
    seen = bound({"op": "near", "a": "gripper", "b": CAN, "within_m": 0.3}, ramp).observe(at)
    assert np.isnan(seen.remaining_KN[0]).tolist() == [False, True, False]
    assert not seen.truth_PN[0, 1]


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
    assert spec.observe(at).holds_KN[0].tolist() == [expected(*case) for case in cases.tolist()]


def test_a_conjunct_that_is_not_there_is_refused_and_never_read() -> None:
    spec = bound({"op": "goal", "index": 2})
    with pytest.raises(SpecError, match=r"conjunct 2, but the task .* has 2"):
        spec.observe(moment())
