"""Where the hand should be when it takes hold of an object: the choice of a free grasp.

A Panda hand is 20 cm wide and its palm hangs 3 cm above the grip site, so over a low object it lands on taller
neighbours: each grasp is chosen among a few yaws and offsets by how far the hand stays clear of the other objects.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.expert.shapes import DRAWER_DEPTH_M, X, discs_of, shape_of
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout

# The Panda hand in the grip site's frame: the fingers open along the first axis, the third points down.
PALM_ABOVE_GRIP_M = 0.031
FINGERTIP_BELOW_GRIP_M = 0.009
HAND_HALF_WIDTH_M = 0.104
HAND_HALF_DEPTH_M = 0.032
FINGERS_HALF_WIDTH_M = 0.066
FINGERS_HALF_DEPTH_M = 0.010

# Clearance beyond which being further away is worth nothing, and what turning or sliding costs in metres of it.
ENOUGH_CLEARANCE_M = 0.012
COST_M_PER_RADIAN = 0.004
COST_M_PER_M = 0.15
# A rim is rather taken on the robot's side, which is at -x: far out the arm is stretched to its limit.
COST_M_PER_M_OF_REACH = 0.12

# Tilted further than 45 degrees, an object counts as fallen.
COSINE_OF_FALLEN = 0.7


@dataclass(frozen=True)
class Grasps:
    """Where the hand of each environment should be when it closes.

    Attributes:
        grip_pos_N3: Position of the grip site, metres.
        yaw_N: Direction of the fingers' opening about the vertical, radians, modulo half a turn.
    """

    grip_pos_N3: FloatArray
    yaw_N: FloatArray


def half_turn(angle: FloatArray) -> FloatArray:
    """The same directions modulo pi, in [-pi/2, pi/2): a two-fingered hand cannot tell them apart."""
    return (angle + np.pi / 2) % np.pi - np.pi / 2


def opening_yaw(mat_N33: FloatArray, axis: Sequence[float] = X) -> FloatArray:
    """Direction about the vertical of a body axis, radians."""
    direction_N3: FloatArray = mat_N33 @ np.asarray(axis)
    yaw_N: FloatArray = np.arctan2(direction_N3[:, 1], direction_N3[:, 0])
    return yaw_N


class GraspPlanner:
    """Chooses among a target's grasps, once, and then follows the target with the one chosen.

    Args:
        layout: Of the scene.
        target: BDDL instance to take hold of.

    Raises:
        UnknownNameError: The scene or the table lacks an object.
    """

    def __init__(self, layout: SnapshotLayout, target: str) -> None:
        self.shape = shape_of(target)
        self.target_row = layout.object_row(target)
        discs = [(name, disc) for name in layout.objects if name != target for disc in discs_of(name)]
        self.obstacle_rows = np.array([layout.object_row(name) for name, _ in discs], dtype=np.int64)
        self.obstacle_radius_O = np.array([disc.radius for _, disc in discs])
        self.obstacle_above_O = np.array([disc.above for _, disc in discs])
        self._obstacle_at_O2 = np.array([disc.at for _, disc in discs]).reshape(-1, 2)
        moving = [
            (o, layout.joints.index(f"{name}_{disc.joint}")) for o, (name, disc) in enumerate(discs) if disc.joint
        ]
        self._moving_D, self._joint_D = np.array(moving, dtype=np.int64).reshape(-1, 2).T
        self.options_C2 = np.array(list(itertools.product(self.shape.yaws, self.shape.slides)))

    def choose(self, snapshot: Snapshot) -> NDArray[np.int64]:
        """For each environment, the option with the best trade of clearance against turning and sliding."""
        home_yaw_N = opening_yaw(snapshot.gripper_mat_N33)
        scores_NC = np.stack(
            [
                self._score(snapshot, self.place(snapshot, np.full(len(home_yaw_N), option)), home_yaw_N, slide)
                for option, (_, slide) in enumerate(self.options_C2)
            ],
            axis=1,
        )
        option_N: NDArray[np.int64] = np.argmax(scores_NC, axis=1)
        return option_N

    def place(self, snapshot: Snapshot, option_N: NDArray[np.int64]) -> Grasps:
        """The chosen grasps where the target is now; one that fell over is taken across its middle instead."""
        lying_N = self.lying(snapshot)
        mat_N33 = snapshot.object_mat_NO33[:, self.target_row]
        yaw_N, slide_N = np.where(lying_N, 0.0, self.options_C2[option_N].T)
        fallen_N = opening_yaw(mat_N33, self.shape.up_axis) + np.pi / 2
        closing_N = np.where(lying_N, fallen_N, opening_yaw(mat_N33, self.shape.closing_axis))
        hold_N3 = np.where(lying_N[:, None], 0.0, mat_N33 @ np.asarray(self.shape.hold))
        rim_N = np.where(lying_N, 0.0, self.shape.rim)
        across_N = closing_N + yaw_N if self.shape.rim else closing_N
        grip_pos_N3 = snapshot.object_pos_NO3[:, self.target_row] + hold_N3
        grip_pos_N3[:, 0] += rim_N * np.cos(closing_N + yaw_N) - slide_N * np.sin(across_N)
        grip_pos_N3[:, 1] += rim_N * np.sin(closing_N + yaw_N) + slide_N * np.cos(across_N)
        grip_pos_N3[:, 2] += np.where(lying_N, 0.0, self.shape.grip_height)
        return Grasps(grip_pos_N3, closing_N + yaw_N)

    def lying(self, snapshot: Snapshot) -> BoolArray:
        """Where the target has fallen over, shape (N,)."""
        upright_N: FloatArray = snapshot.object_mat_NO33[:, self.target_row, 2] @ np.asarray(self.shape.up_axis)
        return upright_N < COSINE_OF_FALLEN

    def extent(self, snapshot: Snapshot) -> tuple[FloatArray, FloatArray]:
        """Heights of the target's lowest and highest point, each of shape (N,)."""
        z_N, lying_N = snapshot.object_pos_NO3[:, self.target_row, 2], self.lying(snapshot)
        below_N = np.where(lying_N, self.shape.radius, self.shape.below)
        return z_N - below_N, z_N + np.where(lying_N, self.shape.radius, self.shape.above)

    def obstacle_tops(self, snapshot: Snapshot) -> FloatArray:
        """Height of each obstacle's highest point, shape (N, O); of a drawer's floor for what is at its level."""
        top_NO: FloatArray = snapshot.object_pos_NO3[:, self.obstacle_rows, 2] + self.obstacle_above_O
        inside_ND = self.extent(snapshot)[0][:, None] > top_NO[:, self._moving_D] - DRAWER_DEPTH_M
        top_NO[:, self._moving_D] -= np.where(inside_ND, DRAWER_DEPTH_M, 0.0)
        return top_NO

    def near_top(self, snapshot: Snapshot, reach_m: float) -> FloatArray:
        """Height of the highest obstacle within reach of the target, shape (N,); 0 where there is none."""
        gap_NO = np.linalg.norm(self._offsets(snapshot, snapshot.object_pos_NO3[:, self.target_row]), axis=2)
        near_NO = gap_NO - self.obstacle_radius_O < reach_m
        top_N: FloatArray = np.max(np.where(near_NO, self.obstacle_tops(snapshot), 0.0), axis=1, initial=0.0)
        return top_N

    def obstacle_xy(self, snapshot: Snapshot) -> FloatArray:
        """Where the axis of each obstacle stands, shape (N, O, 2)."""
        turn_NO22 = snapshot.object_mat_NO33[:, self.obstacle_rows, :2, :2]
        at_NO2 = np.tile(self._obstacle_at_O2, (len(turn_NO22), 1, 1))
        at_NO2[:, self._moving_D, 1] += snapshot.joint_qpos_NJ[:, self._joint_D]
        at_NO2 = np.einsum("noij,noj->noi", turn_NO22, at_NO2)
        xy_NO2: FloatArray = snapshot.object_pos_NO3[:, self.obstacle_rows, :2] + at_NO2
        return xy_NO2

    def overhang(self, snapshot: Snapshot) -> FloatArray:
        """Horizontal direction out from under drawers that hang over the target, shape (N, 2); 0 where none does."""
        if len(self._moving_D) == 0:
            return np.zeros((len(snapshot.gripper_pos_N3), 2))
        away_ND2 = -self._offsets(snapshot, snapshot.object_pos_NO3[:, self.target_row])[:, self._moving_D]
        distance_ND = np.linalg.norm(away_ND2, axis=2)
        touch_D = self.obstacle_radius_O[self._moving_D] + self.shape.radius
        over_ND = self.obstacle_tops(snapshot)[:, self._moving_D] > self.extent(snapshot)[1][:, None]
        depth_ND = np.where(over_ND, np.maximum(touch_D - distance_ND, 0.0), 0.0)
        out_N2 = np.sum(away_ND2 / np.maximum(distance_ND, 1e-6)[..., None] * depth_ND[..., None], axis=1)
        length_N1 = np.linalg.norm(out_N2, axis=1, keepdims=True)
        direction_N2: FloatArray = np.where(length_N1 > 0.0, out_N2 / np.maximum(length_N1, 1e-9), 0.0)
        return direction_N2

    def _offsets(self, snapshot: Snapshot, origin_N3: FloatArray) -> FloatArray:
        return self.obstacle_xy(snapshot) - origin_N3[:, None, :2]

    def _score(self, snapshot: Snapshot, grasps: Grasps, home_yaw_N: FloatArray, slide: float) -> FloatArray:
        offset_NO2 = self._offsets(snapshot, grasps.grip_pos_N3)
        cos_N1, sin_N1 = np.cos(grasps.yaw_N)[:, None], np.sin(grasps.yaw_N)[:, None]
        along_NO = np.abs(offset_NO2[..., 0] * cos_N1 + offset_NO2[..., 1] * sin_N1)
        across_NO = np.abs(offset_NO2[..., 1] * cos_N1 - offset_NO2[..., 0] * sin_N1)
        top_NO, grip_z_N1 = self.obstacle_tops(snapshot), grasps.grip_pos_N3[:, 2:]
        hand_NO = _rectangle_gap(along_NO, across_NO, HAND_HALF_WIDTH_M, HAND_HALF_DEPTH_M) - self.obstacle_radius_O
        fingers_NO = _rectangle_gap(along_NO, across_NO, FINGERS_HALF_WIDTH_M, FINGERS_HALF_DEPTH_M)
        fingers_NO -= self.obstacle_radius_O
        hand_NO = np.where(top_NO > grip_z_N1 + PALM_ABOVE_GRIP_M, hand_NO, ENOUGH_CLEARANCE_M)
        fingers_NO = np.where(top_NO > grip_z_N1 - FINGERTIP_BELOW_GRIP_M, fingers_NO, ENOUGH_CLEARANCE_M)
        gap_N: FloatArray = np.min(np.minimum(hand_NO, fingers_NO), axis=1, initial=ENOUGH_CLEARANCE_M)
        turn_N = np.abs(half_turn(grasps.yaw_N - home_yaw_N))
        score_N: FloatArray = gap_N - COST_M_PER_RADIAN * turn_N - COST_M_PER_M * abs(slide)
        if self.shape.rim:
            score_N -= COST_M_PER_M_OF_REACH * grasps.grip_pos_N3[:, 0]
        return score_N


def _rectangle_gap(along: FloatArray, across: FloatArray, half_width: float, half_depth: float) -> FloatArray:
    """Distance of points from a rectangle centred on the origin; negative inside."""
    outside_along, outside_across = along - half_width, across - half_depth
    outside = np.hypot(np.maximum(outside_along, 0.0), np.maximum(outside_across, 0.0))
    inside: FloatArray = np.minimum(np.maximum(outside_along, outside_across), 0.0)
    return outside + inside
