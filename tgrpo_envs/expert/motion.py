"""What all skills of the expert share: the scale of actions, phases, and how the hand is turned."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot

ACTION_METRES = 0.05
ACTION_RADIANS = 0.5
ACTION_SIZE = 7
OPEN, CLOSE = -1.0, 1.0

# Above 1 the arm brakes later; above about 2 it overshoots the grasp (measured at 20 Hz with robosuite's kp = 150).
GAIN = 1.5
# A hand tilted by less is left alone: turning commands let the arm sag.
TILT_DEADBAND_RADIANS = 0.15
COSINE_OF_UPRIGHT = 0.95


class Phase(IntEnum):
    """What an environment's arm is doing."""

    APPROACH = 0
    DESCEND = 1
    CLOSE = 2
    CARRY = 3
    PLACE = 4
    RELEASE = 5
    RETREAT = 6
    ACTUATE = 7
    INSERT = 8


class Skill(Protocol):
    """One step of a plan, for N environments at once; each environment has a latch and a clock of its own.

    Attributes:
        phase_N: The `Phase` of each environment.
        done_N: Where the skill has come to its end.
    """

    phase_N: NDArray[np.int64]
    done_N: BoolArray

    def begin(self, snapshot: Snapshot, mask_N: BoolArray) -> None:
        """Start anew where `mask_N` holds."""

    def act(self, snapshot: Snapshot, mask_N: BoolArray) -> FloatArray:
        """Actions (N, 7); only rows of `mask_N` are meant, and only their latches move."""


class Latch:
    """The phase and the clock of each environment.

    Args:
        num_envs: N.
    """

    def __init__(self, num_envs: int) -> None:
        self.phase_N = np.zeros(num_envs, dtype=np.int64)
        self.clock_N = np.zeros(num_envs, dtype=np.int64)
        self.done_N = np.zeros(num_envs, dtype=bool)

    def enter(self, mask_N: BoolArray, phase: Phase) -> None:
        """Start a phase where `mask_N` holds."""
        self.phase_N[mask_N] = phase
        self.clock_N[mask_N] = 0


def rotation_vector(mat_N33: FloatArray) -> FloatArray:
    """Axis times angle of rotation matrices, shape (N, 3), radians; half a turn has no axis and gives a small one."""
    skew_N3 = 0.5 * np.stack(
        [
            mat_N33[:, 2, 1] - mat_N33[:, 1, 2],
            mat_N33[:, 0, 2] - mat_N33[:, 2, 0],
            mat_N33[:, 1, 0] - mat_N33[:, 0, 1],
        ],
        axis=1,
    )
    cosine_N = np.clip((np.trace(mat_N33, axis1=1, axis2=2) - 1) / 2, -1.0, 1.0)
    angle_N, sine_N = np.arccos(cosine_N), np.linalg.norm(skew_N3, axis=1)
    vector_N3: FloatArray = skew_N3 * (angle_N / np.maximum(sine_N, 1e-6))[:, None]
    return vector_N3


def righting(gripper_mat_N33: FloatArray) -> FloatArray:
    """Rotation vector that brings a tilted hand back to pointing down, shape (N, 3); 0 within the dead band."""
    points_N3 = gripper_mat_N33[:, :, 2]
    axis_N3 = np.cross(points_N3, (0.0, 0.0, -1.0))
    sine_N = np.linalg.norm(axis_N3, axis=1)
    angle_N = np.arctan2(sine_N, -points_N3[:, 2])
    scale_N = np.where(angle_N > TILT_DEADBAND_RADIANS, angle_N / np.maximum(sine_N, 1e-6), 0.0)
    vector_N3: FloatArray = axis_N3 * scale_N[:, None]
    return vector_N3


def is_upright(gripper_mat_N33: FloatArray) -> BoolArray:
    """Where the hand points down closely enough to be lowered, shape (N,)."""
    upright_N: BoolArray = -gripper_mat_N33[:, 2, 2] > COSINE_OF_UPRIGHT
    return upright_N
