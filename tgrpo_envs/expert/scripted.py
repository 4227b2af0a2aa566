"""A scripted expert for "pick up X and place it in the basket": waypoints, a latch and a proportional controller.

It reads Snapshots only, so it drives any simulator that fills them, and what it saw can be replayed offline.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.expert.grasps import (
    HAND_HALF_WIDTH_M,
    PALM_ABOVE_GRIP_M,
    GraspPlanner,
    Grasps,
    half_turn,
    opening_yaw,
)
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout

ACTION_METRES = 0.05
ACTION_RADIANS = 0.5
ACTION_SIZE = 7
OPEN, CLOSE = -1.0, 1.0

# Above 1 the arm brakes later; above about 2 it overshoots the grasp (measured at 20 Hz with robosuite's kp = 150).
GAIN = 1.5
# Fast descents push the hand sideways by a centimetre; this much more gain across them holds it.
PRECISION = 2.0
HOVER_MARGIN_M = 0.02
ALIGNED_M, LOST_ALIGNMENT_M = 0.012, 0.025
ALIGNED_RADIANS = 0.12
FUNNEL_M = 0.08
AT_GRASP_M = 0.010
DESCEND_PATIENCE = 20
MIN_CLOSING_STEPS, MAX_CLOSING_STEPS = 5, 9
DROPPED_M = 0.05
RIM_ABOVE_SITE_M = 0.079
RIM_MARGIN_M, LIFT_ABOVE_RIM_M = 0.02, 0.035
LIFT_BEFORE_MOVING_M, LIFT_AT_FULL_SPEED_M = 0.02, 0.07
RIM_ZONE_M = 0.17
OVER_BASKET_M = 0.045
# Turning commands below this are left out: the arm sags by less, and a policy need not learn them.
TURN_DEADBAND_RADIANS = 0.06


class Phase(IntEnum):
    """What an environment's arm is doing."""

    APPROACH = 0
    DESCEND = 1
    CLOSE = 2
    CARRY = 3
    PLACE = 4


def check_goal(goal: tuple[tuple[str, ...], ...]) -> None:
    """Refuse goals of another form than ``("in", object, basket region)``, that of all ten LIBERO-Object tasks.

    Raises:
        ConfigError: The goal has another form.
    """
    if len(goal) != 1 or goal[0][0] != "in" or not goal[0][2].startswith("basket_"):
        raise ConfigError(
            f"The scripted expert cannot reach the goal {goal}: it puts one object in a basket and nothing else. "
            "Use it with the suite libero_object."
        )


class ScriptedExpert:
    """Drives N environments of one scene at once; one instance per vector of environments.

    Args:
        layout: Of the scene.
        goal: See `check_goal`.
        num_envs: N.

    Raises:
        ConfigError: The goal has another form.
        UnknownNameError: The scene lacks an entity of the goal, or has an object the grasp table lacks.
    """

    def __init__(self, layout: SnapshotLayout, goal: tuple[tuple[str, ...], ...], num_envs: int) -> None:
        check_goal(goal)
        self._planner = GraspPlanner(layout, goal[0][1])
        self._site_row = layout.site_row(goal[0][2])
        self._phase_N = np.zeros(num_envs, dtype=np.int64)
        self._clock_N = np.zeros(num_envs, dtype=np.int64)
        self._option_N = np.zeros(num_envs, dtype=np.int64)

    @property
    def phase_N(self) -> NDArray[np.int64]:
        """The `Phase` of each environment after the last call of `act`."""
        return self._phase_N.copy()

    def reset(self, snapshot: Snapshot, mask_N: BoolArray) -> None:
        """Begin new episodes where `mask_N` holds, from what `snapshot` shows."""
        self._enter(mask_N, Phase.APPROACH)
        self._option_N = np.where(mask_N, self._planner.choose(snapshot), self._option_N)

    def act(self, snapshot: Snapshot) -> FloatArray:
        """The next action of every environment.

        Args:
            snapshot: The present state.

        Returns:
            Actions of shape (N, 7) in [-1, 1]: metres / 0.05 along world x, y, z; axis-angle radians / 0.5; gripper.
        """
        grasps = self._planner.place(snapshot, self._option_N)
        self._advance(snapshot, grasps)
        self._clock_N += 1
        actions_N7 = np.zeros((len(self._phase_N), ACTION_SIZE))
        actions_N7[:, :3] = self._move(snapshot, grasps)
        actions_N7[:, 5] = self._turn(snapshot, grasps)
        actions_N7[:, 6] = self._grip(snapshot)
        return np.clip(actions_N7, -1.0, 1.0)

    def _enter(self, mask_N: BoolArray, phase: Phase) -> None:
        self._phase_N[mask_N] = phase
        self._clock_N[mask_N] = 0

    def _advance(self, snapshot: Snapshot, grasps: Grasps) -> None:
        """Move each environment's latch by at most one phase, or back to the start when the object was lost."""
        before_N = self._phase_N.copy()
        off_N3 = grasps.grip_pos_N3 - snapshot.gripper_pos_N3
        xy_N, above_N = np.linalg.norm(off_N3[:, :2], axis=1), -off_N3[:, 2]
        turn_N = np.abs(half_turn(grasps.yaw_N - opening_yaw(snapshot.gripper_mat_N33)))
        held_N = snapshot.pad_contact_NO2[:, self._planner.target_row].all(axis=1)

        aligned_N = (xy_N < ALIGNED_M) & (turn_N < ALIGNED_RADIANS)
        self._enter((before_N == Phase.APPROACH) & aligned_N, Phase.DESCEND)
        descending_N = before_N == Phase.DESCEND
        self._enter(descending_N & ((above_N < AT_GRASP_M) | (self._clock_N >= DESCEND_PATIENCE)), Phase.CLOSE)
        self._enter(descending_N & (xy_N > LOST_ALIGNMENT_M), Phase.APPROACH)
        firm_N = (held_N & (self._clock_N >= MIN_CLOSING_STEPS)) | (self._clock_N >= MAX_CLOSING_STEPS)
        self._enter((before_N == Phase.CLOSE) & firm_N, Phase.CARRY)
        over_N = np.linalg.norm(self._to_basket(snapshot)[:, :2], axis=1) < OVER_BASKET_M
        self._enter((before_N == Phase.CARRY) & over_N, Phase.PLACE)
        lost_N = (before_N >= Phase.CARRY) & (np.linalg.norm(off_N3, axis=1) > DROPPED_M) & ~over_N
        self._enter(lost_N, Phase.APPROACH)
        if lost_N.any():
            self._option_N = np.where(lost_N, self._planner.choose(snapshot), self._option_N)

    def _to_basket(self, snapshot: Snapshot) -> FloatArray:
        """From the object's origin to the centre of the basket's region, shape (N, 3)."""
        return snapshot.site_pos_NS3[:, self._site_row] - snapshot.object_pos_NO3[:, self._planner.target_row]

    def _above_rim(self, snapshot: Snapshot) -> FloatArray:
        """Height of the object's lowest point over the basket's rim, shape (N,)."""
        return self._planner.extent(snapshot)[0] - (snapshot.site_pos_NS3[:, self._site_row, 2] + RIM_ABOVE_SITE_M)

    def _move(self, snapshot: Snapshot, grasps: Grasps) -> FloatArray:
        """Translation part of the actions, shape (N, 3)."""
        to_grasp_N3 = grasps.grip_pos_N3 - snapshot.gripper_pos_N3
        approach_N3 = to_grasp_N3.copy()
        approach_N3[:, 2] += self._hover(snapshot, grasps)
        precise_N3 = to_grasp_N3 * np.array([PRECISION, PRECISION, 1.0])
        move_by_phase = np.stack(
            [approach_N3, precise_N3, to_grasp_N3, self._carry(snapshot), self._to_basket(snapshot)]
        )
        move_N3: FloatArray = move_by_phase[self._phase_N, np.arange(len(self._phase_N))]
        return np.clip(GAIN * move_N3 / ACTION_METRES, -1.0, 1.0)

    def _hover(self, snapshot: Snapshot, grasps: Grasps) -> FloatArray:
        """How far above the grasp to be: over all objects when far, over the object and its neighbours when near."""
        planner, grasp_z_N = self._planner, grasps.grip_pos_N3[:, 2]
        own_top_N = planner.extent(snapshot)[1]
        under_palm_N = planner.near_top(snapshot, HAND_HALF_WIDTH_M) - PALM_ABOVE_GRIP_M
        near_N: FloatArray = np.maximum(np.maximum(own_top_N, under_palm_N) + HOVER_MARGIN_M, grasp_z_N)
        far_N = np.maximum(near_N, planner.obstacle_tops(snapshot).max(axis=1, initial=0.0) + HOVER_MARGIN_M)
        xy_N = np.linalg.norm((grasps.grip_pos_N3 - snapshot.gripper_pos_N3)[:, :2], axis=1)
        farness_N: FloatArray = np.clip((xy_N - LOST_ALIGNMENT_M) / FUNNEL_M, 0.0, 1.0)
        hover_N: FloatArray = near_N + farness_N * (far_N - near_N)
        return hover_N - grasp_z_N

    def _carry(self, snapshot: Snapshot) -> FloatArray:
        """Up until the object's underside clears the rim, and sideways as fast as the height reached allows."""
        move_N3 = self._to_basket(snapshot)
        underside_N, above_rim_N = self._planner.extent(snapshot)[0], self._above_rim(snapshot)
        lift_speed_N = np.clip(
            (underside_N - LIFT_BEFORE_MOVING_M) / (LIFT_AT_FULL_SPEED_M - LIFT_BEFORE_MOVING_M), 0.0, 1.0
        )
        rim_speed_N = np.where(
            np.linalg.norm(move_N3[:, :2], axis=1) < RIM_ZONE_M, np.clip(above_rim_N / RIM_MARGIN_M, 0.0, 1.0), 1.0
        )
        sideways_N31 = (np.minimum(lift_speed_N, rim_speed_N) / GAIN * ACTION_METRES)[:, None]
        move_N3[:, :2] = np.clip(move_N3[:, :2], -sideways_N31, sideways_N31)
        move_N3[:, 2] = LIFT_ABOVE_RIM_M - above_rim_N
        return move_N3

    def _turn(self, snapshot: Snapshot, grasps: Grasps) -> FloatArray:
        """Rotation about the vertical, shape (N,): only on the way to the object."""
        error_N = half_turn(grasps.yaw_N - opening_yaw(snapshot.gripper_mat_N33))
        turning_N = (self._phase_N <= Phase.DESCEND) & (np.abs(error_N) > TURN_DEADBAND_RADIANS)
        return np.where(turning_N, GAIN * error_N / ACTION_RADIANS, 0.0)

    def _grip(self, snapshot: Snapshot) -> FloatArray:
        """Closed from the grasp until the object's underside is below the rim: the release is part of the task."""
        released_N = (self._phase_N == Phase.PLACE) & (self._above_rim(snapshot) < 0.0)
        return np.where((self._phase_N >= Phase.CLOSE) & ~released_N, CLOSE, OPEN)
