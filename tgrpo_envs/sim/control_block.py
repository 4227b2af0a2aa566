"""The controller's memory for one environment: made, attached to its mjData, reset, stepped and copied."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from tgrpo_envs.sim.control import CONTROLS, LIBEROS, Control
from tgrpo_envs.sim.controller import (
    ACTION,
    ANCHOR,
    ARM,
    AXIS,
    BIAS,
    BLOCK_SIZE,
    CONTROL,
    CTRL,
    FINGER_CENTRE,
    FINGER_HALF,
    FIRST,
    GOAL_MAT,
    GOAL_POS,
    GRIPPER,
    GRIPPER_ACTION,
    INERTIA,
    LARGEST_ROTATION,
    LARGEST_STEP,
    MAX_ROTATION,
    MAX_STEP,
    MUJOCO_LIBRARY,
    OFF,
    PHASE,
    POSTURE,
    QPOS,
    QVEL,
    RUN,
    SITE_MAT,
    SITE_POS,
    SUBSTEP,
    SUBSTEPS,
    TORQUE_HIGH,
    TORQUE_LOW,
    USERDATA_MARK,
)
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.snapshot import FloatArray

if TYPE_CHECKING:
    from tgrpo_envs.scene.records import RobotRecord

# What a controller remembers from one step to the next; the rest is constant, or computed anew.
EPISODE_WORDS = np.r_[PHASE, GOAL_POS : GOAL_POS + 3, GOAL_MAT : GOAL_MAT + 9, GRIPPER]

_mj_copy_data = MUJOCO_LIBRARY.mj_copyData
_mj_copy_data.argtypes, _mj_copy_data.restype = [ctypes.c_void_p] * 3, ctypes.c_void_p


def new_block(data: mujoco.MjData, robot: RobotRecord) -> FloatArray:
    """A control block for `data`, which must outlive it."""
    block: FloatArray = np.zeros(BLOCK_SIZE)
    words = block.view(np.int64)
    addresses = {
        QPOS: data.qpos,
        QVEL: data.qvel,
        ANCHOR: data.xanchor,
        AXIS: data.xaxis,
        SITE_POS: data.site_xpos[robot.grip_site],
        SITE_MAT: data.site_xmat[robot.grip_site],
        INERTIA: data.qM,
        BIAS: data.qfrc_bias,
        CTRL: data.ctrl,
    }
    for word, array in addresses.items():
        words[word] = array.ctypes.data
    block[POSTURE : POSTURE + ARM] = robot.init_qpos[:ARM]
    block[TORQUE_LOW : TORQUE_LOW + ARM] = robot.torque_low
    block[TORQUE_HIGH : TORQUE_HIGH + ARM] = robot.torque_high
    finger_range = np.array(robot.finger_range)
    block[FINGER_CENTRE : FINGER_CENTRE + 2] = finger_range.mean(axis=1)
    block[FINGER_HALF : FINGER_HALF + 2] = 0.5 * (finger_range[:, 1] - finger_range[:, 0])
    choose(block, LIBEROS)
    return block


def choose(block: FloatArray, control: Control) -> None:
    """Read actions in this way from the next control step on."""
    block.view(np.int64)[CONTROL] = CONTROLS.index(control.kind)
    block[LARGEST_STEP], block[LARGEST_ROTATION] = MAX_STEP * control.scale, MAX_ROTATION * control.scale


def attach(data: mujoco.MjData, block: FloatArray) -> None:
    """Point `data` at its block; needed again after `mj_resetData`, which clears the userdata."""
    data.userdata[0] = USERDATA_MARK
    data.userdata.view(np.int64)[1] = block.ctypes.data


def begin_episode(block: FloatArray, robot: RobotRecord) -> None:
    """The controller's state as robosuite's reset leaves it: goal at the reset pose, gripper command half way."""
    block.view(np.int64)[PHASE] = FIRST
    block[GOAL_POS : GOAL_POS + 3] = robot.eef_pos
    block[GOAL_MAT : GOAL_MAT + 9] = robot.eef_mat
    block[GRIPPER] = 0.0


def step(model: mujoco.MjModel, data: mujoco.MjData, block: FloatArray, action_A: FloatArray) -> None:
    """One control step (20 Hz); releases the interpreter lock.

    Args:
        model: A model the data fits; it may differ from the data's own in the poses of fixtures.
        data: The simulation, attached to `block`.
        block: Its control block.
        action_A: What the block's control asks of the arm, then the gripper's sign; see `sim.control`.
    """
    words = block.view(np.int64)
    _write(block, action_A)
    words[SUBSTEP] = 0
    words[PHASE] = max(words[PHASE], RUN)
    mujoco.mj_step(model, data, SUBSTEPS)
    words[PHASE] = RUN


def step_as_robosuite(model: mujoco.MjModel, data: mujoco.MjData, block: FloatArray, action_A: FloatArray) -> None:
    """The same control step with contacts solved as often as robosuite solves them: slower, for comparisons.

    robosuite runs MuJoCo's forward pass before its controller and again inside it (not in the first substep after a
    reset), with the controls of the substep before. Each solve starts from the result of the last.
    """
    words = block.view(np.int64)
    _write(block, action_A)
    words[SUBSTEP] = 0
    phase = max(words[PHASE], RUN)
    for substep in range(SUBSTEPS):
        words[PHASE] = OFF
        for _ in range(1 if phase == FIRST and substep == 0 else 2):
            mujoco.mj_forward(model, data)
        words[PHASE] = phase
        mujoco.mj_step(model, data)
    words[PHASE] = RUN


def _write(block: FloatArray, action_A: FloatArray) -> None:
    block[ACTION : ACTION + len(action_A) - 1] = action_A[:-1]
    block[GRIPPER_ACTION] = action_A[-1]


def copy_data(model: mujoco.MjModel, source: mujoco.MjData, target: mujoco.MjData) -> None:
    """MuJoCo's mj_copyData, which its Python package offers only as a constructor."""
    _mj_copy_data(target._address, model._address, source._address)


def copy_episode(
    model: mujoco.MjModel,
    source: tuple[mujoco.MjData, FloatArray],
    target: tuple[mujoco.MjData, FloatArray],
) -> None:
    """Make the simulation and controller `target` a copy of `source`, with everything a next step depends on."""
    copy_data(model, source[0], target[0])
    attach(*target)
    target[1][EPISODE_WORDS] = source[1][EPISODE_WORDS]
