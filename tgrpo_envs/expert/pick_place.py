"""The skill of picking an object and placing it: waypoints, a latch and a proportional controller.

It reads Snapshots only, so it drives any simulator that fills them, and what it saw can be replayed offline.
"""

from __future__ import annotations

import numpy as np

from tgrpo_envs.expert.grasps import HAND_HALF_WIDTH_M, PALM_ABOVE_GRIP_M, GraspPlanner, Grasps, half_turn, opening_yaw
from tgrpo_envs.expert.motion import (
    ACTION_METRES,
    ACTION_RADIANS,
    ACTION_SIZE,
    CLOSE,
    GAIN,
    OPEN,
    Latch,
    Phase,
    is_upright,
    righting,
)
from tgrpo_envs.expert.places import Place
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout

# Fast descents push the hand sideways by a centimetre; this much more gain across them holds it.
PRECISION = 2.0
HOVER_MARGIN_M = 0.02
ALIGNED_M, LOST_ALIGNMENT_M = 0.012, 0.025
ALIGNED_RADIANS = 0.12
FUNNEL_M = 0.08
AT_GRASP_M = 0.010
DESCEND_PATIENCE = 20
MIN_CLOSING_STEPS, MAX_CLOSING_STEPS = 5, 9
# A wall is so thin that the fingers close altogether.
MAX_RIM_CLOSING_STEPS = 16
DROPPED_M = 0.05
RIM_MARGIN_M, LIFT_ABOVE_RIM_M = 0.02, 0.035
LIFT_BEFORE_MOVING_M, LIFT_AT_FULL_SPEED_M = 0.02, 0.07
LIFTED_M = 0.03
RIM_ZONE_M = 0.17
# Things taller than the target's rim are passed at this distance, or over their tops.
PASSING_M, BRAKING_M = 0.03, 0.12
# Turning commands below this are left out: the arm sags by less, and a policy need not learn them.
TURN_DEADBAND_RADIANS = 0.06
# An object is let go this much above where it comes to rest.
RELEASE_ABOVE_REST_M = 0.012
RELEASE_STEPS = 8
# A small command may not move the arm at all; this many steps into carrying, twice the distance will do.
CARRY_PATIENCE = 60
RETREAT_M = 0.12
PLACED_M = 0.02
ESCAPE_M = 0.03


class PickAndPlace(Latch):
    """Picks one object and puts it in its place, in N environments of one scene.

    Args:
        layout: Of the scene.
        target: BDDL instance to pick.
        place: Where it goes.
        num_envs: N.

    Raises:
        UnknownNameError: The scene lacks the object or the place, or has an object the table of shapes lacks.
    """

    def __init__(self, layout: SnapshotLayout, target: str, place: Place, num_envs: int) -> None:
        super().__init__(num_envs)
        self._planner = GraspPlanner(layout, target)
        self._place = place
        self._on_object = place.reference in layout.objects
        find = layout.object_row if self._on_object else layout.site_row
        self._row = find(place.reference)
        self._option_N = np.zeros(num_envs, dtype=np.int64)
        self._rest_z_N = np.zeros(num_envs)
        self._release_z_N = np.zeros(num_envs)

    def begin(self, snapshot: Snapshot, mask_N: BoolArray) -> None:
        """See `Skill`."""
        self.enter(mask_N, Phase.APPROACH)
        self.done_N = np.where(mask_N, self._placed(snapshot), self.done_N)
        self._option_N = np.where(mask_N, self._planner.choose(snapshot), self._option_N)
        # To the centimetre, so that how deep a thing sinks into its support does not matter.
        self._rest_z_N = np.where(mask_N, np.round(self._planner.extent(snapshot)[0], 2), self._rest_z_N)

    def _placed(self, snapshot: Snapshot) -> BoolArray:
        """Where the object lies in its place already, as after a second look at the plan."""
        to_place_N3 = self._to_place(snapshot)
        there_N: BoolArray = np.linalg.norm(to_place_N3[:, :2], axis=1) < self._place.over + PLACED_M
        there_N &= (np.abs(to_place_N3[:, 2]) < PLACED_M) & (self._place.rest is not None)
        return there_N

    def act(self, snapshot: Snapshot, mask_N: BoolArray) -> FloatArray:
        """See `Skill`."""
        grasps = self._planner.place(snapshot, self._option_N)
        self._advance(snapshot, grasps, mask_N)
        self.clock_N += mask_N
        actions_N7 = np.zeros((len(mask_N), ACTION_SIZE))
        actions_N7[:, :3] = self._move(snapshot, grasps)
        actions_N7[:, 3:6] = self._turn(snapshot, grasps)
        actions_N7[:, 6] = self._grip()
        return np.clip(actions_N7, -1.0, 1.0)

    def _advance(self, snapshot: Snapshot, grasps: Grasps, mask_N: BoolArray) -> None:
        """Move each environment's latch by at most one phase, or back to the start when the object was lost."""
        before_N = np.where(mask_N, self.phase_N, -1)
        off_N3 = grasps.grip_pos_N3 - snapshot.gripper_pos_N3
        xy_N, above_N = np.linalg.norm(off_N3[:, :2], axis=1), -off_N3[:, 2]
        turn_N = np.abs(half_turn(grasps.yaw_N - opening_yaw(snapshot.gripper_mat_N33)))
        held_N = snapshot.pad_contact_NO2[:, self._planner.target_row].all(axis=1)

        aligned_N = (xy_N < ALIGNED_M) & (turn_N < ALIGNED_RADIANS) & is_upright(snapshot.gripper_mat_N33)
        self.enter((before_N == Phase.APPROACH) & aligned_N, Phase.DESCEND)
        descending_N = before_N == Phase.DESCEND
        self.enter(descending_N & ((above_N < AT_GRASP_M) | (self.clock_N >= DESCEND_PATIENCE)), Phase.CLOSE)
        self.enter(descending_N & (xy_N > LOST_ALIGNMENT_M), Phase.APPROACH)
        patience = MAX_RIM_CLOSING_STEPS if self._planner.shape.rim else MAX_CLOSING_STEPS
        firm_N = (held_N & (self.clock_N >= MIN_CLOSING_STEPS)) | (self.clock_N >= patience)
        self.enter((before_N == Phase.CLOSE) & firm_N, Phase.CARRY)
        over_m_N = np.where(self.clock_N > CARRY_PATIENCE, 2 * self._place.over, self._place.over)
        over_N = np.linalg.norm(self._to_place(snapshot)[:, :2], axis=1) < over_m_N
        settled_N = over_N & (np.abs(self._misaligned(snapshot)) < ALIGNED_RADIANS)
        self.enter((before_N == Phase.CARRY) & settled_N, Phase.PLACE)
        in_hand_N = (before_N == Phase.CARRY) | (before_N == Phase.PLACE)
        lost_N = in_hand_N & (np.linalg.norm(off_N3, axis=1) > DROPPED_M) & ~over_N
        self.enter(lost_N, Phase.APPROACH)
        if lost_N.any():
            self._option_N = np.where(lost_N, self._planner.choose(snapshot), self._option_N)
        self._let_go(snapshot, before_N == Phase.PLACE)

    def _let_go(self, snapshot: Snapshot, placing_N: BoolArray) -> None:
        low_N = placing_N & (self._underside(snapshot) < self._release_height(snapshot))
        slid_in = any(self._place.via)
        self.enter(low_N, Phase.INSERT if slid_in else Phase.RELEASE)
        in_N = np.linalg.norm(self._to_place(snapshot)[:, :2], axis=1) < self._place.over
        self.enter((self.phase_N == Phase.INSERT) & in_N, Phase.RELEASE)
        released_N = (self.phase_N == Phase.RELEASE) & (self.clock_N >= RELEASE_STEPS)
        self._release_z_N = np.where(released_N, snapshot.gripper_pos_N3[:, 2], self._release_z_N)
        self.enter(released_N, Phase.RETREAT)
        away_N = snapshot.gripper_pos_N3[:, 2] > self._release_z_N + RETREAT_M
        self.done_N = self.done_N | ((self.phase_N == Phase.RETREAT) & away_N)

    def _reference(self, snapshot: Snapshot) -> tuple[FloatArray, FloatArray]:
        """Position (N, 3) and rotation (N, 3, 3) of the thing the object goes to."""
        if self._on_object:
            return snapshot.object_pos_NO3[:, self._row], snapshot.object_mat_NO33[:, self._row]
        return snapshot.site_pos_NS3[:, self._row], snapshot.site_mat_NS33[:, self._row]

    def _to_place(self, snapshot: Snapshot) -> FloatArray:
        """From where the object is to where it comes to rest, shape (N, 3)."""
        pos_N3, mat_N33 = self._reference(snapshot)
        row, shape = self._planner.target_row, self._planner.shape
        middle_N3 = snapshot.object_pos_NO3[:, row] + snapshot.object_mat_NO33[:, row] @ np.asarray(shape.middle)
        move_N3: FloatArray = pos_N3 + mat_N33 @ np.asarray(self._place.offset) - middle_N3
        before_N = (self.phase_N <= Phase.PLACE) & ~self.done_N
        move_N3 += np.where(before_N[:, None], mat_N33 @ np.asarray(self._place.via), 0.0)
        move_N3[:, 2] = self._rest_height(pos_N3) - self._underside(snapshot)
        return move_N3

    def _underside(self, snapshot: Snapshot) -> FloatArray:
        return self._planner.extent(snapshot)[0]

    def _rest_height(self, pos_N3: FloatArray) -> FloatArray:
        return self._rest_z_N if self._place.rest is None else pos_N3[:, 2] + self._place.rest

    def _release_height(self, snapshot: Snapshot) -> FloatArray:
        pos_N3, _ = self._reference(snapshot)
        if self._place.release is None:
            return self._rest_height(pos_N3) + RELEASE_ABOVE_REST_M
        release_N: FloatArray = pos_N3[:, 2] + self._place.release
        return release_N

    def _above_rim(self, snapshot: Snapshot) -> FloatArray:
        """Height of the object's lowest point over the place's rim, shape (N,)."""
        pos_N3, _ = self._reference(snapshot)
        above_N: FloatArray = self._underside(snapshot) - (pos_N3[:, 2] + self._place.rim)
        return above_N

    def _move(self, snapshot: Snapshot, grasps: Grasps) -> FloatArray:
        """Translation part of the actions, shape (N, 3)."""
        to_grasp_N3 = grasps.grip_pos_N3 - snapshot.gripper_pos_N3
        approach_N3 = to_grasp_N3.copy()
        approach_N3[:, 2] += self._hover(snapshot, grasps)
        precise_N3 = to_grasp_N3 * np.array([PRECISION, PRECISION, 1.0])
        to_place_N3 = self._to_place(snapshot)
        up_N3 = np.zeros_like(to_place_N3) + np.array([0.0, 0.0, ACTION_METRES])
        move_by_phase = np.stack(
            [approach_N3, precise_N3, to_grasp_N3, self._carry(snapshot), to_place_N3, to_place_N3, up_N3]
        )
        placing = np.where(self.phase_N == Phase.INSERT, Phase.PLACE, self.phase_N)
        move_N3: FloatArray = move_by_phase[placing, np.arange(len(self.phase_N))]
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
        move_N3 = self._to_place(snapshot)
        underside_N, above_rim_N = self._underside(snapshot), self._above_rim(snapshot)
        lift_speed_N = np.clip(
            (underside_N - self._rest_z_N - LIFT_BEFORE_MOVING_M) / (LIFT_AT_FULL_SPEED_M - LIFT_BEFORE_MOVING_M),
            0.0,
            1.0,
        )
        rim_speed_N = np.where(
            np.linalg.norm(move_N3[:, :2], axis=1) < RIM_ZONE_M, np.clip(above_rim_N / RIM_MARGIN_M, 0.0, 1.0), 1.0
        )
        pass_over_N, pass_speed_N = self._passing(snapshot, move_N3)
        speed_N = np.minimum(np.minimum(lift_speed_N, rim_speed_N), pass_speed_N)
        sideways_N31 = (speed_N / GAIN * ACTION_METRES)[:, None]
        move_N3[:, :2] = np.clip(move_N3[:, :2], -sideways_N31, sideways_N31)
        # Out from under a drawer first, low over the table.
        escape_N2 = self._planner.overhang(snapshot)
        escaping_N1 = np.any(escape_N2 != 0.0, axis=1)[:, None]
        move_N3[:, :2] = np.where(escaping_N1, escape_N2 * ESCAPE_M, move_N3[:, :2])
        clear_N = np.maximum(pass_over_N, self._rest_z_N + LIFT_AT_FULL_SPEED_M) - underside_N
        lift_N = np.maximum(LIFT_ABOVE_RIM_M - above_rim_N, clear_N)
        low_N = self._rest_z_N + LIFT_BEFORE_MOVING_M - underside_N
        move_N3[:, 2] = np.where(escaping_N1[:, 0], low_N, lift_N)
        return move_N3

    def _passing(self, snapshot: Snapshot, to_place_N3: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Height at which the object passes over what is taller than the rim on its way, and how fast it may go now."""
        planner = self._planner
        pos_N3, _ = self._reference(snapshot)
        from_N12 = snapshot.object_pos_NO3[:, None, planner.target_row, :2]
        way_N12 = to_place_N3[:, None, :2]
        offset_NO2 = planner.obstacle_xy(snapshot) - from_N12
        length_N1 = np.maximum(np.linalg.norm(way_N12, axis=2), 1e-6)
        share_NO = np.clip((offset_NO2 * way_N12).sum(axis=2) / length_N1**2, 0.0, 1.0)
        miss_NO = np.linalg.norm(offset_NO2 - share_NO[..., None] * way_N12, axis=2)
        touch_O = planner.obstacle_radius_O + planner.shape.radius
        top_NO, underside_N = planner.obstacle_tops(snapshot), self._underside(snapshot)
        in_way_NO = (miss_NO < touch_O + PASSING_M) & (top_NO > (pos_N3[:, 2] + self._place.rim)[:, None])
        over_N: FloatArray = np.max(np.where(in_way_NO, top_NO + HOVER_MARGIN_M, -np.inf), axis=1, initial=-np.inf)
        close_NO = in_way_NO & (np.linalg.norm(offset_NO2, axis=2) < touch_O + BRAKING_M)
        allowed_NO = np.clip((underside_N[:, None] - top_NO) / RIM_MARGIN_M, 0.0, 1.0)
        speed_N: FloatArray = np.min(np.where(close_NO, allowed_NO, 1.0), axis=1, initial=1.0)
        return over_N, speed_N

    def _misaligned(self, snapshot: Snapshot) -> FloatArray:
        """Angle about the vertical by which the object has yet to turn, radians, shape (N,)."""
        place = self._place
        if place.align is None:
            return np.zeros(len(self.phase_N))
        row = self._planner.target_row
        of_hand = place.axis is None
        now_N33 = snapshot.gripper_mat_N33 if of_hand else snapshot.object_mat_NO33[:, row]
        now_N = opening_yaw(now_N33) if place.axis is None else opening_yaw(now_N33, place.axis)
        error_N = opening_yaw(self._reference(snapshot)[1], place.align) - now_N
        if place.whole_turn:
            return (error_N + np.pi) % (2 * np.pi) - np.pi
        return half_turn(error_N)

    def _turn(self, snapshot: Snapshot, grasps: Grasps) -> FloatArray:
        """Rotation part of the actions, shape (N, 3): on the way to the object, and where it must lie a certain way."""
        turn_N3 = np.zeros((len(self.phase_N), 3))
        to_grasp_N = half_turn(grasps.yaw_N - opening_yaw(snapshot.gripper_mat_N33))
        to_place_N = self._misaligned(snapshot)
        if to_place_N.any():
            # Turning drags the hand sideways, so it waits for height.
            to_place_N = np.where(self._carry(snapshot)[:, 2] < LIFTED_M, to_place_N, 0.0)
        going_N = self.phase_N <= Phase.DESCEND
        error_N = np.where(going_N, to_grasp_N, np.where(self.phase_N == Phase.CARRY, to_place_N, 0.0))
        turn_N3[:, 2] = np.where(np.abs(error_N) > TURN_DEADBAND_RADIANS, error_N, 0.0)
        righted_N = self.phase_N <= Phase.CARRY
        turn_N3 += np.where(righted_N[:, None], righting(snapshot.gripper_mat_N33), 0.0)
        return GAIN * turn_N3 / ACTION_RADIANS

    def _grip(self) -> FloatArray:
        """Closed from the grasp until the object is low enough: the release is part of the task."""
        holding_N = (self.phase_N >= Phase.CLOSE) & (self.phase_N <= Phase.PLACE) | (self.phase_N == Phase.INSERT)
        return np.where(holding_N, CLOSE, OPEN)
