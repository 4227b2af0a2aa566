"""The numbers behind predicates: known scenes give known numbers; a limit itself, just inside and just outside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.helpers.reward_cases import (
    BOX,
    CAN,
    LAYOUT,
    TRAY,
    make_spec,
    still_snapshot,
)
from tgrpo_envs.rewards.bind import BoundSpec
from tgrpo_envs.rewards.entities import Moment
from tgrpo_envs.sim.snapshot import Snapshot, SnapshotLayout


def readings_of(bound: BoundSpec, moment: Moment) -> list[tuple[str, float, float]]:
    """Unit, value and limit of each measure of the one predicate, in the first environment."""
    (predicate,) = bound.predicates
    rows, readings = bound.rows(predicate), bound.observe(moment).readings
    units = [measure.unit for measure in bound.measures(predicate)]
    return list(zip(units, readings.value_MN[rows, 0], readings.limit_MN[rows, 0], strict=True))


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        ({"op": "near", "a": "gripper", "b": CAN, "within_m": 0.05}, [("m", 0.13, 0.05)]),
        ({"op": "near", "a": "gripper", "b": CAN, "within_m": 0.05, "axes": "z"}, [("m", 0.12, 0.05)]),
        ({"op": "lifted", "a": CAN, "by_m": 0.04}, [("m", 0.03, 0.04)]),
        ({"op": "moved", "a": CAN, "by_m": 0.02}, [("m", 0.05, 0.02)]),
        ({"op": "above", "a": CAN, "b": TRAY, "min_m": 0.0, "xy_within_m": 0.1}, [("m", 0.13, 0), ("m", 0.04, 0.1)]),
        # the box reaches up to 0.07; the can's 0.13 is 0.06 over it
        ({"op": "inside", "a": CAN, "b": BOX, "margin_m": 0.02}, [("m", 0.06, -0.02)]),
        ({"op": "upright", "a": CAN, "within_deg": 20.0}, [("deg", 30.0, 20.0)]),
        ({"op": "still", "a": CAN, "below_mps": 0.1}, [("m/s", 0.25, 0.1)]),
        ({"op": "grasped", "a": CAN}, [("", 1.0, 1.0), ("", 0.0, 1.0)]),
        ({"op": "goal", "index": 1}, [("", 1.0, 1.0)]),
    ],
)  # fmt: skip
def test_known_states_give_known_numbers(predicate: dict[str, Any], expected: list[tuple[str, float, float]]) -> None:
    start, now = still_snapshot(), still_snapshot()
    start.object_pos_NO3[0, 0] = 0, 0, 0.1
    now.object_pos_NO3[0, 0] = 0.04, 0, 0.13
    now.gripper_pos_N3[0] = 0.04, 0.05, 0.25
    turn = np.radians(30)
    now.object_mat_NO33[0, 0] = [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]
    now.object_speed_NO[0, 0] = 0.25
    now.finger_contact_NO2[0, 0] = True, False
    bound = BoundSpec(make_spec([{"id": "only", "effort": 1, "done": predicate}]), LAYOUT)
    found = readings_of(bound, Moment(now, start, np.array([[False, True]])))
    assert [unit for unit, *_ in found] == [unit for unit, *_ in expected]
    assert np.allclose([numbers for _, *numbers in found], [numbers for _, *numbers in expected])


@pytest.mark.parametrize(
    ("limit", "holds"),
    [
        ({"op": "near", "a": "gripper", "b": CAN, "within_m": 0.25, "axes": "z"}, [True, True, False]),
        ({"op": "lifted", "a": CAN, "by_m": 0.25}, [False, True, True]),
        ({"op": "moved", "a": CAN, "by_m": 0.25}, [False, True, True]),
        ({"not": {"op": "lifted", "a": CAN, "by_m": 0.25}}, [True, False, False]),
    ],
)  # fmt: skip
def test_the_limit_itself_and_its_neighbours(limit: dict[str, Any], holds: list[bool]) -> None:
    """0.25 is exact in binary: the float below it, itself, and the float above it."""
    start, now = still_snapshot(3), still_snapshot(3)
    now.object_pos_NO3[:, 0, 2] = np.nextafter(0.25, 0.0), 0.25, np.nextafter(0.25, 1.0)
    bound = BoundSpec(make_spec([{"id": "only", "effort": 1, "done": limit}]), LAYOUT)
    assert bound.observe(Moment(now, start, np.zeros((3, 1), dtype=bool))).holds_KN[0].tolist() == holds


def test_what_must_stay_below_a_limit_does_not_reach_it() -> None:
    now = still_snapshot(3)
    now.object_speed_NO[:, 0] = np.nextafter(0.125, 0.0), 0.125, np.nextafter(0.125, 1.0)
    still = {"op": "still", "a": CAN, "below_mps": 0.125}
    bound = BoundSpec(make_spec([{"id": "only", "effort": 1, "done": still}]), LAYOUT)
    seen = bound.observe(Moment(now, still_snapshot(3), np.zeros((3, 1), dtype=bool)))
    assert seen.holds_KN[0].tolist() == [True, False, False]


def test_a_joint_is_measured_against_its_threshold() -> None:
    """LIBERO calls the wooden cabinet's drawers open below -0.14 m (its article's `default_open_ranges`)."""
    drawer = "wooden_cabinet_1_top_region"
    layout = SnapshotLayout(
        objects=("wooden_cabinet_1",),
        num_movables=0,
        sites=(drawer,),
        site_half_sizes_S3=np.zeros((1, 3)),
        site_parents_S=np.array([0]),
        joints=("wooden_cabinet_1_top_level",),
        joint_objects_J=np.array([0]),
        joint_sites_J=np.array([0]),
    )
    start, now = Snapshot.empty(layout, 3), Snapshot.empty(layout, 3)
    now.joint_qpos_NJ[:, 0] = -0.02, -0.07, -0.15
    atom = {"op": "actuated", "a": drawer, "toward": "open", "min_frac": 0.5}
    ramp = {"op": "actuate", "a": drawer, "toward": "open"}
    spec = make_spec([{"id": "only", "effort": 1, "ramp": ramp, "done": atom}])
    bound = BoundSpec(spec, layout)
    moment = Moment(now, start, np.zeros((3, 1), dtype=bool))
    seen = bound.observe(moment)
    (predicate,), (stage,) = bound.predicates, spec.stages
    assert stage.ramp is not None
    assert bound.measures(predicate)[0].unit == bound.measures(stage.ramp)[0].unit == "m"
    assert np.allclose(seen.readings.value_MN[0], [0.12, 0.07, 0.0])
    assert np.allclose(seen.readings.limit_MN[0], 0.07)
    assert np.allclose(seen.remaining_KN[0], [0.12, 0.07, 0.0])
    assert seen.truth_PN[0].tolist() == [False, True, True]
