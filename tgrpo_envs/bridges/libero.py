"""What VLAs for LIBERO were trained on, from what our environments give: turned pictures, the state, the gripper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.sim.controller import GRIPPER_SPEED, SUBSTEPS
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import FloatArray

STATE_SIZE = 8
_HAND = "robot0_right_hand"
"""Its quaternion is LIBERO's `robot0_eef_quat`; the grip site, which `proprio` has, is turned by 90 degrees to it."""
_GRIP_FROM_HAND = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def turned(pictures_NHWC: NDArray[np.generic]) -> NDArray[Any]:
    """LIBERO's raw pictures turned by 180 degrees, as VLAs see them: our upright ones with left and right changed.

    Args:
        pictures_NHWC: Upright pictures (N, H, W, 3).
    """
    return np.ascontiguousarray(pictures_NHWC[:, :, ::-1])


def axis_angle(quaternions_N4: FloatArray) -> FloatArray:
    """Rotation vectors (N, 3) of quaternions (N, 4; x, y, z, w), not folded: a negative w gives angles beyond pi.

    A hand that points down is turned by nearly pi, so the quaternion's sign decides which of two opposite vectors comes
    out. Policies were trained on LIBERO's choice, which this keeps.
    """
    w_N = np.clip(quaternions_N4[:, 3], -1.0, 1.0)
    sines_N = np.sqrt(1.0 - w_N**2)
    scale_N = np.divide(2.0 * np.arccos(w_N), sines_N, out=np.zeros_like(sines_N), where=sines_N > 0.0)
    return np.asarray(quaternions_N4[:, :3] * scale_N[:, None])


def state(simulator: Simulator, rows: Sequence[int]) -> FloatArray:
    """LIBERO's numbers: `robot0_eef_pos` (3, metres), axis-angle of `robot0_eef_quat` (3), `robot0_gripper_qpos` (2).

    Args:
        simulator: Its environments as they are now.
        rows: Which of them.

    Returns:
        (n, 8) float64.
    """
    snapshot, chosen = simulator.snapshot, list(rows)
    vectors_n3 = axis_angle(hand_quaternions(simulator, rows))
    return np.concatenate([snapshot.gripper_pos_N3[chosen], vectors_n3, snapshot.finger_qpos_N2[chosen]], axis=1)


def hand_quaternions(simulator: Simulator, rows: Sequence[int]) -> FloatArray:
    """LIBERO's `robot0_eef_quat` (n, 4; x, y, z, w), its sign as MuJoCo has it."""
    hand = simulator.scene.model.body(_HAND).id
    return np.array([simulator.datas[row].xquat[hand] for row in rows])[:, [1, 2, 3, 0]]


def proprio(state_8: FloatArray, gripper_command: float) -> NDArray[np.float32]:
    """Our `proprio` (12,) of LIBERO's state.

    Args:
        state_8: As `state` gives it.
        gripper_command: The last action's, -1 open to 1 closed; LIBERO's state does not say it.
    """
    vector_3 = state_8[3:6]
    angle = float(np.linalg.norm(vector_3))
    x, y, z = vector_3 / angle if angle > 0.0 else vector_3
    cross_33 = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    hand_33 = np.eye(3) + np.sin(angle) * cross_33 + (1.0 - np.cos(angle)) * cross_33 @ cross_33
    grip_33 = hand_33 @ _GRIP_FROM_HAND
    numbers = [*state_8[:3], *grip_33[:, 0], *grip_33[:, 1], *state_8[6:], gripper_command]
    return np.array(numbers, dtype=np.float32)


def gripper_after(command: float, actions_CA: FloatArray) -> float:
    """The gripper's command, -1 open to 1 closed, after some control steps: it moves by steps towards what is asked.

    Args:
        command: Before them.
        actions_CA: (C, 7), one row a control step.
    """
    for wanted in np.sign(np.asarray(actions_CA)[:, 6]).tolist():
        for _ in range(SUBSTEPS):
            command = min(max(command + GRIPPER_SPEED * wanted, -1.0), 1.0)
    return command


def gripper_from_openvla(actions_CA: FloatArray) -> FloatArray:
    """Actions with LIBERO's gripper, -1 open or +1 closed, in place of OpenVLA's, 0 closed to 1 open."""
    actions_CA = actions_CA.copy()
    actions_CA[..., 6] = -np.sign(2.0 * actions_CA[..., 6] - 1.0)
    return actions_CA
