"""The skill of moving a fixture's joint: drawers, a microwave's door and a stove's knob, by one and the same motion.

The hand goes to a point beside the moving part, to the part itself, closes where it should grip, and then follows the
path that the part's joint allows, a little ahead of the joint.
"""

from __future__ import annotations

import numpy as np

from tgrpo_envs.expert.fixtures import Motion
from tgrpo_envs.expert.motion import (
    ACTION_METRES,
    ACTION_RADIANS,
    ACTION_SIZE,
    CLOSE,
    GAIN,
    OPEN,
    Latch,
    Phase,
    rotation_vector,
)
from tgrpo_envs.expert.shapes import Vector
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout

AT_ENTRY_M, AT_ENTRY_RADIANS = 0.03, 0.20
# Where something is in the way, this much later a coarser arrival will do.
ENTRY_PATIENCE, NEAR_ENTRY_M = 50, 0.07
SLIPPED_M = 0.09
AT_CONTACT_M = 0.008
CONTACT_PATIENCE = 25
CLOSING_STEPS = 8
# Backwards out of the part, then up and away.
BACKING_STEPS, RETREAT_STEPS = 10, 18
# On the way to the entry the hand is this much higher for each metre that is left, at most TRAVEL_M.
SLOPE, TRAVEL_M = 1.0, 0.12
# Position of the grip site (N, 3) and its rotation (N, 3, 3).
Pose = tuple[FloatArray, FloatArray]
HALF_TURN = np.diag([-1.0, -1.0, 1.0])


class Articulate(Latch):
    """Moves one joint of a fixture, in N environments of one scene.

    Args:
        layout: Of the scene.
        fixture: BDDL instance that has the joint.
        motion: How.
        num_envs: N.

    Raises:
        UnknownNameError: The scene has no such fixture.
    """

    def __init__(self, layout: SnapshotLayout, fixture: str, motion: Motion, num_envs: int) -> None:
        super().__init__(num_envs)
        self._row = layout.object_row(fixture)
        self._joint = layout.joints.index(f"{fixture}_{motion.joint}")
        self._motion = motion
        self._flipped_N = np.zeros(num_envs, dtype=bool)

    def begin(self, snapshot: Snapshot, mask_N: BoolArray) -> None:
        """See `Skill`."""
        self.enter(mask_N, Phase.APPROACH)
        self.done_N = np.where(mask_N, self._past(snapshot, self._motion.enough), self.done_N)
        now_N33 = snapshot.gripper_mat_N33
        straight_N33 = self._pose(snapshot, self._position(snapshot), (0.0, 0.0, 0.0))[1]
        angles = [
            np.linalg.norm(rotation_vector(mat_N33 @ now_N33.transpose(0, 2, 1)), axis=1)
            for mat_N33 in (straight_N33, straight_N33 @ HALF_TURN)
        ]
        self._flipped_N = np.where(mask_N, angles[1] < angles[0], self._flipped_N)

    def act(self, snapshot: Snapshot, mask_N: BoolArray) -> FloatArray:
        """See `Skill`."""
        entry = self._pose(snapshot, self._position(snapshot), self._motion.entry)
        contact = self._pose(snapshot, self._position(snapshot), (0.0, 0.0, 0.0))
        self._advance(snapshot, entry, contact, mask_N)
        self.clock_N += mask_N
        pos_N3, mat_N33 = self._aim(snapshot, entry, contact)
        actions_N7 = np.zeros((len(mask_N), ACTION_SIZE))
        actions_N7[:, :3] = GAIN * (pos_N3 - snapshot.gripper_pos_N3) / ACTION_METRES
        error_N33 = mat_N33 @ snapshot.gripper_mat_N33.transpose(0, 2, 1)
        actions_N7[:, 3:6] = GAIN * rotation_vector(error_N33) / ACTION_RADIANS
        actions_N7[:, 6] = self._grip()
        return np.clip(actions_N7, -1.0, 1.0)

    def _aim(self, snapshot: Snapshot, entry: Pose, contact: Pose) -> Pose:
        """Where the hand should be now: by the phase, on the way in, at the part, ahead of it, or on the way out."""
        ahead = self._pose(snapshot, self._position(snapshot) + self._motion.lead, (0.0, 0.0, 0.0))
        above_entry_N3 = entry[0].copy()
        sideways_N = np.linalg.norm((entry[0] - snapshot.gripper_pos_N3)[:, :2], axis=1)
        above_entry_N3[:, 2] += np.clip(SLOPE * (sideways_N - AT_ENTRY_M), 0.0, TRAVEL_M)
        away_N3 = entry[0].copy()
        away_N3[:, 2] = np.where(
            self.clock_N > BACKING_STEPS, snapshot.gripper_pos_N3[:, 2] + ACTION_METRES, away_N3[:, 2]
        )
        phase_N, rows = self.phase_N, np.arange(len(self.phase_N))
        choice_N = np.select(
            [phase_N == Phase.APPROACH, phase_N == Phase.RETREAT, phase_N == Phase.ACTUATE], [0, 1, 3], 2
        )
        pos_N3 = np.stack([above_entry_N3, away_N3, contact[0], ahead[0]])[choice_N, rows]
        mat_N33 = np.stack([entry[1], entry[1], contact[1], ahead[1]])[choice_N, rows]
        return pos_N3, mat_N33

    def _advance(
        self,
        snapshot: Snapshot,
        entry: Pose,
        contact: Pose,
        mask_N: BoolArray,
    ) -> None:
        before_N = np.where(mask_N, self.phase_N, -1)
        turn_N3 = rotation_vector(entry[1] @ snapshot.gripper_mat_N33.transpose(0, 2, 1))
        entry_m_N = np.where(self.clock_N > ENTRY_PATIENCE, NEAR_ENTRY_M, AT_ENTRY_M)
        there_N = np.linalg.norm(entry[0] - snapshot.gripper_pos_N3, axis=1) < entry_m_N
        there_N &= np.linalg.norm(turn_N3, axis=1) < AT_ENTRY_RADIANS
        self.enter((before_N == Phase.APPROACH) & there_N, Phase.DESCEND)
        touching_N = np.linalg.norm(contact[0] - snapshot.gripper_pos_N3, axis=1) < AT_CONTACT_M
        touching_N |= self.clock_N >= CONTACT_PATIENCE
        self.enter((before_N == Phase.DESCEND) & touching_N, Phase.CLOSE if self._motion.grips else Phase.ACTUATE)
        self.enter((before_N == Phase.CLOSE) & (self.clock_N >= CLOSING_STEPS), Phase.ACTUATE)
        self.enter((before_N == Phase.ACTUATE) & self._past(snapshot, self._motion.goal), Phase.RETREAT)
        slipped_N = np.linalg.norm(contact[0] - snapshot.gripper_pos_N3, axis=1) > SLIPPED_M
        self.enter((before_N == Phase.ACTUATE) & slipped_N, Phase.APPROACH)
        self.done_N = self.done_N | ((before_N == Phase.RETREAT) & (self.clock_N >= RETREAT_STEPS))

    def _position(self, snapshot: Snapshot) -> FloatArray:
        return snapshot.joint_qpos_NJ[:, self._joint]

    def _past(self, snapshot: Snapshot, bound: float) -> BoolArray:
        past_N: BoolArray = (self._position(snapshot) - bound) * np.sign(self._motion.lead) > 0.0
        return past_N

    def _pose(self, snapshot: Snapshot, position_N: FloatArray, offset: Vector) -> Pose:
        """Where the hand is, (N, 3), and how it is turned, (N, 3, 3), when the joint is at `position_N`."""
        motion = self._motion
        turn_N33 = np.tile(np.eye(3), (len(position_N), 1, 1))
        point_N3 = np.tile(np.add(motion.contact, offset), (len(position_N), 1))
        if motion.slide is not None:
            point_N3 += position_N[:, None] * np.asarray(motion.slide)
        else:
            turn_N33[:, 0, 0] = turn_N33[:, 1, 1] = np.cos(position_N)
            turn_N33[:, 1, 0], turn_N33[:, 0, 1] = np.sin(position_N), -np.sin(position_N)
            point_N3 = np.asarray(motion.pivot) + np.einsum("nij,nj->ni", turn_N33, point_N3 - motion.pivot)
        mat_N33 = snapshot.object_mat_NO33[:, self._row]
        pos_N3 = snapshot.object_pos_NO3[:, self._row] + np.einsum("nij,nj->ni", mat_N33, point_N3)
        hand_N33 = mat_N33 @ turn_N33 @ _hand(motion.pointing, motion.opening)
        return pos_N3, np.where(self._flipped_N[:, None, None], hand_N33 @ HALF_TURN, hand_N33)

    def _grip(self) -> FloatArray:
        if not self._motion.grips:
            return np.full(len(self.phase_N), CLOSE)
        holding_N = (self.phase_N == Phase.CLOSE) | (self.phase_N == Phase.ACTUATE)
        return np.where(holding_N, CLOSE, OPEN)


def _hand(pointing: Vector, opening: Vector) -> FloatArray:
    """Rotation matrix of the grip site whose fingers point and open along these directions."""
    third = np.asarray(pointing) / np.linalg.norm(pointing)
    first = np.asarray(opening) - third * np.dot(opening, third)
    first = first / np.linalg.norm(first)
    return np.stack([first, np.cross(third, first), third], axis=1)
