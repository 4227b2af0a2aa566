"""What an action can mean to the arm and the gripper: robosuite's controllers as LIBERO has them, and their bounds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tgrpo_envs.sim.snapshot import FloatArray

CONTROLS = ("pose_delta", "pose", "joint_delta", "joint")
POSITION_BOUND = 2.0  # metres from the world's origin, beyond any LIBERO table
ROTATION_BOUND = 2.0 * np.pi  # an axis-angle that is not folded
JOINT_LOW = (-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973)  # the Panda's, radians
JOINT_HIGH = (2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973)


@dataclass(frozen=True)
class Control:
    """How actions are read.

    Attributes:
        kind: ``pose_delta``: robosuite's OSC_POSE as LIBERO uses it, (3,) translation and (3,) rotation in [-1, 1] of
            up to 5 cm and 0.5 rad. ``pose``: the same with ``use_delta=False``, the grip site's position in the world
            (metres) and its orientation (axis-angle, radians). ``joint_delta``: robosuite's JOINT_POSITION, seven
            joints in [-1, 1] of up to 0.05 rad. ``joint``: the same with seven joint positions (radians).
        scale: Factor on those largest changes, robosuite's ``output_max``.
        gripper: The last number. ``signed``: robosuite's, its sign moves the fingers, -1 opens, 1 closes and 0 keeps
            the command. ``binary``: the data sets' 0 to 1; from a half on it opens, below it closes.
    """

    kind: str = "pose_delta"
    scale: float = 1.0
    gripper: str = "signed"

    @cached_property
    def low(self) -> FloatArray:
        """Smallest value of each number of an action."""
        low = {
            "pose": [-POSITION_BOUND] * 3 + [-ROTATION_BOUND] * 3,
            "joint": list(JOINT_LOW),
            "joint_delta": [-1.0] * 7,
        }
        return np.array([*low.get(self.kind, [-1.0] * 6), 0.0 if self.gripper == "binary" else -1.0])

    @cached_property
    def high(self) -> FloatArray:
        """Largest value of each."""
        high = -self.low if self.kind != "joint" else np.array([*JOINT_HIGH, 1.0])
        high[-1] = 1.0
        return high

    @property
    def size(self) -> int:
        """Numbers of an action, the gripper's last."""
        return len(self.low)

    def played(self, actions_NCA: FloatArray) -> FloatArray:
        """Actions within their bounds, the gripper as robosuite has it."""
        played_NCA = np.clip(actions_NCA, self.low, self.high)
        if self.gripper == "binary":
            played_NCA[..., -1] = np.where(played_NCA[..., -1] >= 0.5, -1.0, 1.0)
        return played_NCA


LIBEROS = Control()
"""LIBERO's own, which settles every episode before it begins."""
