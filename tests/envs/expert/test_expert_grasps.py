"""The choice of a grasp and the controller's invariants, on hand-made snapshots: no simulator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.expert.grasps import GraspPlanner, half_turn
from tgrpo_envs.expert.motion import Phase
from tgrpo_envs.expert.scripted import ScriptedExpert
from tgrpo_envs.expert.shapes import SHAPES, shape_of
from tgrpo_envs.sim.snapshot import NO_PARENT, Snapshot, SnapshotLayout
from tgrpo_envs.tasks import list_tasks

GOAL = (("in", "cream_cheese_1", "basket_1_contain_region"),)
DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
BASKET_XY = (0.0, 0.26)


def layout_of(*objects: str) -> SnapshotLayout:
    return SnapshotLayout(
        objects=objects,
        num_movables=len(objects),
        sites=("basket_1_contain_region",),
        site_half_sizes_S3=np.array([[0.061, 0.061, 0.069]]),
        site_parents_S=np.array([NO_PARENT]),
        joints=(),
        joint_objects_J=np.zeros(0, dtype=np.int64),
        joint_sites_J=np.zeros(0, dtype=np.int64),
    )


def snapshot_of(positions: dict[str, tuple[float, float, float]], num_envs: int = 1) -> tuple[SnapshotLayout, Snapshot]:
    """Objects at these places with unrotated bodies, the hand at LIBERO's start, the basket beside them."""
    layout = layout_of(*positions)
    snapshot = Snapshot.empty(layout, num_envs)
    snapshot.object_pos_NO3[:] = list(positions.values())
    snapshot.object_mat_NO33[:] = np.eye(3)
    snapshot.site_pos_NS3[:] = (*BASKET_XY, 0.067)
    snapshot.gripper_pos_N3[:] = (-0.15, 0.0, 0.26)
    snapshot.gripper_mat_N33[:] = DOWN
    return layout, snapshot


CHEESE = {"cream_cheese_1": (0.05, -0.1, 0.009), "basket_1": (*BASKET_XY, 0.0)}


def chosen(positions: dict[str, tuple[float, float, float]]) -> tuple[float, float]:
    layout, snapshot = snapshot_of(positions)
    planner = GraspPlanner(layout, "cream_cheese_1")
    yaw, slide = planner.options_C2[planner.choose(snapshot)[0]]
    return float(yaw), float(slide)


def test_alone_the_hand_neither_turns_nor_slides() -> None:
    assert chosen(CHEESE) == (0.0, 0.0)


def test_the_hand_turns_its_end_away_from_a_can_on_either_side() -> None:
    """At yaw 0 the palm reaches 0.104 m along y; a can of radius 0.034 beside its end is in the way.

    Fingers along +y (90 degrees): a positive turn moves the palm's far end, at -y, towards +x.
    """
    can = {"tomato_sauce_1": (0.08, -0.2, 0.038)}
    yaw, _ = chosen(CHEESE | can)
    assert yaw < 0.0
    mirrored = {"tomato_sauce_1": (0.02, -0.2, 0.038)}
    assert chosen(CHEESE | mirrored)[0] == -yaw


def test_something_lower_than_the_palm_is_no_obstacle() -> None:
    assert chosen(CHEESE | {"butter_1": (0.08, -0.215, 0.009)}) == (0.0, 0.0)


def test_a_grasp_lies_where_the_table_says() -> None:
    layout, snapshot = snapshot_of({"ketchup_1": (0.1, 0.2, 0.072), "basket_1": (*BASKET_XY, 0.0)})
    up_y = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # body y up, body x along world y
    snapshot.object_mat_NO33[:, 0] = up_y
    grasps = GraspPlanner(layout, "ketchup_1").place(snapshot, np.array([0]))
    np.testing.assert_allclose(grasps.grip_pos_N3, [[0.1, 0.2, 0.072 + SHAPES["ketchup"].grip_height]])
    np.testing.assert_allclose(grasps.yaw_N, [np.pi / 2])


def test_a_fallen_bottle_is_taken_across_its_middle() -> None:
    layout, snapshot = snapshot_of({"ketchup_1": (0.1, 0.2, 0.03), "basket_1": (*BASKET_XY, 0.0)})
    snapshot.object_mat_NO33[:, 0] = np.eye(3)  # body y, its long axis, along world y
    planner = GraspPlanner(layout, "ketchup_1")
    assert planner.lying(snapshot).all()
    grasps = planner.place(snapshot, np.array([3]))
    np.testing.assert_allclose(grasps.grip_pos_N3, [[0.1, 0.2, 0.03]])
    assert half_turn(grasps.yaw_N)[0] == pytest.approx(0.0)  # fingers close along x


def test_half_turn_knows_the_hand_is_symmetric() -> None:
    np.testing.assert_allclose(half_turn(np.radians([0.0, 170.0, -170.0, 91.0])), np.radians([0.0, -10.0, 10.0, -89.0]))


def test_the_table_covers_every_object_of_the_suite() -> None:
    names = {entity for task in list_tasks("libero_object") for entity in (task.goal[0][1], "basket_1")}
    assert all(shape_of(name).radius > 0 for name in names)
    with pytest.raises(UnknownNameError, match="teapot"):
        shape_of("teapot_1")


@pytest.mark.parametrize("goal", [(("on", "a_1", "plate_1"),), (("in", "cream_cheese_1", "tray_1_contain_region"),)])
def test_other_goals_are_refused_with_a_way_out(goal: tuple[tuple[str, ...], ...]) -> None:
    layout, _ = snapshot_of(CHEESE)
    with pytest.raises(ConfigError, match="expert_tasks"):
        ScriptedExpert(layout, goal, 1)


def test_reset_starts_only_the_masked_environments_anew() -> None:
    layout, snapshot = snapshot_of(CHEESE, num_envs=2)
    snapshot.gripper_pos_N3[:] = (0.05, -0.1, 0.009)
    expert = ScriptedExpert(layout, GOAL, 2)
    expert.reset(snapshot, np.array([True, True]))
    expert.act(snapshot)
    assert expert.phase_N.tolist() == [Phase.DESCEND, Phase.DESCEND]
    expert.reset(snapshot, np.array([False, True]))
    assert expert.phase_N.tolist() == [Phase.DESCEND, Phase.APPROACH]


def test_a_dropped_object_is_fetched_again() -> None:
    layout, snapshot = snapshot_of(CHEESE)
    expert = ScriptedExpert(layout, GOAL, 1)
    expert.reset(snapshot, np.array([True]))
    snapshot.gripper_pos_N3[:] = (0.05, -0.1, 0.009)
    snapshot.pad_contact_NO2[:, 0] = True
    while expert.phase_N[0] != Phase.CARRY:
        expert.act(snapshot)
    assert expert.act(snapshot)[0, 6] == 1.0
    snapshot.object_pos_NO3[:, 0, 0] += 0.1
    assert expert.act(snapshot)[0, 6] == -1.0
    assert expert.phase_N[0] == Phase.APPROACH


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.01, 0.3, 10.0]))
def test_actions_are_always_finite_and_in_range(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    layout, snapshot = snapshot_of(CHEESE | {"milk_1": (0.1, -0.2, 0.07)}, num_envs=4)
    expert = ScriptedExpert(layout, GOAL, 4)
    expert.reset(snapshot, np.ones(4, dtype=bool))
    for _ in range(20):
        snapshot.object_pos_NO3[:] = rng.normal(0.0, spread, snapshot.object_pos_NO3.shape)
        snapshot.gripper_pos_N3[:] = snapshot.object_pos_NO3[:, 0] + rng.normal(0.0, 0.02, (4, 3))
        snapshot.object_mat_NO33[:] = np.linalg.qr(rng.normal(size=snapshot.object_mat_NO33.shape))[0]
        snapshot.gripper_mat_N33[:] = np.linalg.qr(rng.normal(size=(4, 3, 3)))[0]
        snapshot.pad_contact_NO2[:] = rng.random(snapshot.pad_contact_NO2.shape) < 0.5
        actions_N7 = expert.act(snapshot)
        assert actions_N7.shape == (4, 7)
        assert np.isfinite(actions_N7).all()
        assert np.abs(actions_N7).max() <= 1.0
        assert np.isin(actions_N7[:, 6], [-1.0, 1.0]).all()
