"""The numbers behind atoms: on random states they agree with the atoms' truth, and known scenes give known numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from tests.helpers.reward_cases import (
    BOX,
    CAN,
    LAYOUT,
    SEEDS,
    TRAY,
    make_spec,
    random_goals,
    random_snapshot,
    specs,
    still_snapshot,
)
from tgrpo_envs.rewards import StageSpec
from tgrpo_envs.rewards.binding import BoundSpec
from tgrpo_envs.rewards.measures import measures, ramp_unit
from tgrpo_envs.rewards.predicates import Moment
from tgrpo_envs.sim.snapshot import Snapshot, SnapshotLayout

NUM_ENVS = 64
ROUNDING = 1e-9  # atoms compare squares and cosines, measures the distances and angles themselves


@settings(max_examples=100, deadline=None)
@given(specs(), SEEDS)
def test_an_atom_holds_when_all_of_its_measures_do(spec: StageSpec, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bound = BoundSpec(spec, LAYOUT)
    moment = Moment(random_snapshot(rng, NUM_ENVS), random_snapshot(rng, NUM_ENVS), random_goals(rng, NUM_ENVS))
    for atom, truth_N in zip(bound.atoms, bound.observe(moment).truth_AN, strict=True):
        parts = measures(atom, bound.entities[atom])
        clear_N = np.all([np.abs(part.value(moment) - part.limit(moment)) > ROUNDING for part in parts], axis=0)
        clear_N |= np.all([part.unit == "" for part in parts])  # yes or no: nothing to round
        held_N = np.all([part.holds(moment) for part in parts], axis=0)
        assert np.array_equal(held_N[clear_N], truth_N[clear_N]), atom


@pytest.mark.parametrize(
    ("atom", "expected"),
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
def test_known_states_give_known_numbers(atom: dict, expected: list[tuple[str, float, float]]) -> None:
    start, now = still_snapshot(), still_snapshot()
    start.object_pos_NO3[0, 0] = 0, 0, 0.1
    now.object_pos_NO3[0, 0] = 0.04, 0, 0.13
    now.gripper_pos_N3[0] = 0.04, 0.05, 0.25
    turn = np.radians(30)
    now.object_mat_NO33[0, 0] = [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]
    now.object_speed_NO[0, 0] = 0.25
    now.finger_contact_NO2[0, 0] = True, False
    bound = BoundSpec(make_spec([{"id": "only", "effort": 1, "done": atom}]), LAYOUT)
    (parsed,) = bound.atoms
    moment = Moment(now, start, np.array([[False, True]]))
    found = [
        (part.unit, part.value(moment)[0], part.limit(moment)[0]) for part in measures(parsed, bound.entities[parsed])
    ]
    assert [unit for unit, *_ in found] == [unit for unit, *_ in expected]
    assert np.allclose([numbers for _, *numbers in found], [numbers for _, *numbers in expected])


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
    (parsed,) = bound.atoms
    (way,) = measures(parsed, bound.entities[parsed])
    assert way.unit == ramp_unit(spec.stages[0].ramp, bound.entities[spec.stages[0].ramp]) == "m"
    assert np.allclose(way.value(moment), [0.12, 0.07, 0.0])
    assert np.allclose(way.limit(moment), 0.07)
    assert way.holds(moment).tolist() == bound.observe(moment).truth_AN[0].tolist()
