"""LIBERO's controller (robosuite's OSC_POSE and gripper ramp) as MuJoCo's control callback, free of the interpreter.

Beside it, chosen by a word of the control block: OSC_POSE with absolute goals, and robosuite's JOINT_POSITION.

MuJoCo calls `mjcb_control(model, data)` in every substep after positions and velocities are known and before
actuation, which is where robosuite runs its controller in Python. Here that function is compiled by numba, so one
control step is one `mj_step(nstep=25)` that holds no lock.

Each mjData has a control block (`tgrpo_envs.sim.control_block`): goals, constants and the addresses of the mjData
arrays that the controller reads. `data.userdata` holds a mark and the block's address; models without that mark are
left alone, so other simulations in the process are not touched.

numba's cache follows this file only, so everything the callback calls or reads stays in it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
from numba import carray, cfunc, njit, types
from numba.core.extending import intrinsic

from tgrpo_envs.sim.engine import mujoco

ARM = 7  # joints of the Panda arm; the first degrees of freedom of every LIBERO model
SUBSTEPS = 25  # physics steps (500 Hz) in a control step (20 Hz)

KP = 150.0  # stiffness in task space, robosuite's controllers/config/osc_pose.json
KD = 2.0 * np.sqrt(KP)
NULL_KP = 10.0  # stiffness of the posture task, robosuite's control_utils.nullspace_torques
NULL_KD = 2.0 * np.sqrt(NULL_KP)
JOINT_KP = 50.0  # stiffness of JOINT_POSITION, robosuite's controllers/config/joint_position.json
JOINT_KD = 2.0 * np.sqrt(JOINT_KP)
MAX_STEP = 0.05  # metres, or radians of a joint, per control step
MAX_ROTATION = 0.5  # radians per control step
GRIPPER_SPEED = 0.01  # share of the gripper's half range per substep, robosuite's PandaGripper

# Words (8 bytes) of a control block. The first ones are integers, the rest are floats.
PHASE = 0
SUBSTEP = 1
QPOS, QVEL, ANCHOR, AXIS, SITE_POS, SITE_MAT, INERTIA, BIAS, CTRL = range(2, 11)
CONTROL = 11  # one of the four below
LARGEST_STEP = 12  # the largest delta of a position or joint
LARGEST_ROTATION = 13
ACTION = 16  # of the arm, six numbers or seven
GRIPPER_ACTION = 23
GOAL_POS = 24
GOAL_MAT = 27
POSTURE = 36
TORQUE_LOW = 43
TORQUE_HIGH = 50
GRIPPER = 57
FINGER_CENTRE = 58
FINGER_HALF = 60
CHOLESKY = 64  # 7 x 7, lower triangle of the arm's inertia, factored
JACOBIAN = 113  # 6 x 7
WHITENED = 155  # 7 x 6, the Jacobian's transpose divided by the factor
TASK = 197  # 6 x 6, inverse of the inertia seen at the gripper
WORK = 233  # 6 x 6, a factor
WRENCH = 269  # 6
GOAL_JOINTS = 275  # 7
BLOCK_SIZE = 284

# Values of PHASE.
OFF = 0  # leave the controls alone
RUN = 1
FIRST = 2  # the first control step after a reset

# Values of CONTROL, in the order of `tgrpo_envs.sim.control.CONTROLS`.
POSE_DELTA, POSE, JOINT_DELTA, JOINT = range(4)

USERDATA_SIZE = 2
USERDATA_MARK = 7.2057594037e76  # an arbitrary number that no other program writes first
_USERDATA_STATE = int(mujoco.mjtState.mjSTATE_USERDATA)

_library_path = next(Path(mujoco.__file__).parent.glob("libmujoco*"))
llvmlite.binding.load_library_permanently(str(_library_path))
MUJOCO_LIBRARY = ctypes.CDLL(str(_library_path))

_pointer = types.uintp
_mj_state_size = types.ExternalFunction("mj_stateSize", types.int32(types.voidptr, types.uint32))
_mj_get_state = types.ExternalFunction("mj_getState", types.void(types.voidptr, types.voidptr, _pointer, types.uint32))


def _float_pointer(_typing: Any, _address: Any) -> tuple[Any, Callable[..., Any]]:
    signature = types.CPointer(types.float64)(types.int64)
    return signature, lambda context, builder, sig, args: builder.inttoptr(
        args[0], context.get_value_type(sig.return_type)
    )


def _int_pointer(_typing: Any, _address: Any) -> tuple[Any, Callable[..., Any]]:
    signature = types.CPointer(types.int64)(types.int64)
    return signature, lambda context, builder, sig, args: builder.inttoptr(
        args[0], context.get_value_type(sig.return_type)
    )


_floats_at: Any = intrinsic(_float_pointer)
_ints_at: Any = intrinsic(_int_pointer)


@njit(inline="always")
def _factor(a, size, offset, stride, out):  # type: ignore[no-untyped-def]
    """Cholesky factor of the block of `a` that starts at (offset, offset); a pivot lost to rounding becomes 0."""
    for i in range(size):
        for j in range(i + 1):
            total = a[(offset + i) * stride + offset + j]
            for k in range(j):
                total -= out[i * size + k] * out[j * size + k]
            if i != j:
                pivot = out[j * size + j]
                out[i * size + j] = total / pivot if pivot > 0.0 else 0.0
            else:
                out[i * size + i] = np.sqrt(total) if total > 0.0 else 0.0


@njit(inline="always")
def _solve(factor, size, x):  # type: ignore[no-untyped-def]
    """Solve ``L L' y = x`` in place; directions whose pivot is 0 get 0, as a pseudo-inverse would."""
    for i in range(size):
        for k in range(i):
            x[i] -= factor[i * size + k] * x[k]
        pivot = factor[i * size + i]
        x[i] = x[i] / pivot if pivot > 0.0 else 0.0
    for i in range(size - 1, -1, -1):
        for k in range(i + 1, size):
            x[i] -= factor[k * size + i] * x[k]
        pivot = factor[i * size + i]
        x[i] = x[i] / pivot if pivot > 0.0 else 0.0


@njit
def rotation_from_axis_angle(x, y, z, out):  # type: ignore[no-untyped-def]
    """Rotation matrix of an axis-angle vector with the single-precision rounding of robosuite's `quat2mat`.

    Without that rounding trajectories would leave LIBERO's by 1e-8 instead of 1e-15.
    """
    angle = np.sqrt(x * x + y * y + z * z)
    s = np.sin(angle / 2.0)
    qw, qx = np.float32(np.cos(angle / 2.0)), np.float32(x / angle * s)
    qy, qz = np.float32(y / angle * s), np.float32(z / angle * s)
    n = np.float32(np.float64(qw * qw) + np.float64(qx * qx) + np.float64(qy * qy) + np.float64(qz * qz))
    scale = np.sqrt(2.0 / np.float64(n))
    qw, qx = np.float32(qw * scale), np.float32(qx * scale)
    qy, qz = np.float32(qy * scale), np.float32(qz * scale)
    out[0] = 1.0 - np.float64(qy * qy) - np.float64(qz * qz)
    out[1] = np.float64(np.float32(qx * qy) - np.float32(qz * qw))
    out[2] = np.float64(np.float32(qx * qz) + np.float32(qy * qw))
    out[3] = np.float64(np.float32(qx * qy) + np.float32(qz * qw))
    out[4] = 1.0 - np.float64(qx * qx) - np.float64(qz * qz)
    out[5] = np.float64(np.float32(qy * qz) - np.float32(qx * qw))
    out[6] = np.float64(np.float32(qx * qz) - np.float32(qy * qw))
    out[7] = np.float64(np.float32(qy * qz) + np.float32(qx * qw))
    out[8] = 1.0 - np.float64(qx * qx) - np.float64(qy * qy)


@njit
def _set_goal(f, site_pos, site_mat, first):  # type: ignore[no-untyped-def]
    """The pose to reach from this control step on (robosuite's `OperationalSpaceController.set_goal`).

    A zero rotation keeps the former goal rotation. In the first step after a reset robosuite still holds the pose of
    the reset, which `GOAL_POS` carries then.
    """
    for k in range(3):
        start = f[GOAL_POS + k] if first else site_pos[k]
        f[GOAL_POS + k] = start + min(max(f[ACTION + k], -1.0), 1.0) * f[LARGEST_STEP]
    x = min(max(f[ACTION + 3], -1.0), 1.0) * f[LARGEST_ROTATION]
    y = min(max(f[ACTION + 4], -1.0), 1.0) * f[LARGEST_ROTATION]
    z = min(max(f[ACTION + 5], -1.0), 1.0) * f[LARGEST_ROTATION]
    if x == 0.0 and y == 0.0 and z == 0.0:
        return
    turn = f[WORK : WORK + 9]
    rotation_from_axis_angle(x, y, z, turn)
    for i in range(3):
        for j in range(3):
            f[GOAL_MAT + 3 * i + j] = (
                turn[3 * i] * site_mat[j] + turn[3 * i + 1] * site_mat[3 + j] + turn[3 * i + 2] * site_mat[6 + j]
            )


@njit
def _set_pose(f):  # type: ignore[no-untyped-def]
    """The same with ``use_delta=False``: the action is the pose to reach."""
    x, y, z = f[ACTION + 3], f[ACTION + 4], f[ACTION + 5]
    goal = f[GOAL_MAT : GOAL_MAT + 9]
    if x == 0.0 and y == 0.0 and z == 0.0:
        for k in range(9):
            goal[k] = 1.0 if k % 4 == 0 else 0.0
    else:
        rotation_from_axis_angle(x, y, z, goal)
    for k in range(3):
        f[GOAL_POS + k] = f[ACTION + k]


@njit
def _set_joints(f, qpos, absolute):  # type: ignore[no-untyped-def]
    """The joint positions to reach (robosuite's `JointPositionController.set_goal`)."""
    for k in range(ARM):
        delta = min(max(f[ACTION + k], -1.0), 1.0) * f[LARGEST_STEP]
        f[GOAL_JOINTS + k] = f[ACTION + k] if absolute else qpos[k] + delta


@njit
def _jacobian(axis, anchor, site_pos, out):  # type: ignore[no-untyped-def]
    """Columns of the arm's hinges in the grip site's Jacobian: three rows of translation, three of rotation."""
    for k in range(ARM):
        ax, ay, az = axis[3 * k], axis[3 * k + 1], axis[3 * k + 2]
        rx, ry, rz = site_pos[0] - anchor[3 * k], site_pos[1] - anchor[3 * k + 1], site_pos[2] - anchor[3 * k + 2]
        out[k], out[ARM + k], out[2 * ARM + k] = ay * rz - az * ry, az * rx - ax * rz, ax * ry - ay * rx
        out[3 * ARM + k], out[4 * ARM + k], out[5 * ARM + k] = ax, ay, az


@njit
def _factor_inertia(inertia, out):  # type: ignore[no-untyped-def]
    """Cholesky factor of the arm's inertia; MuJoCo stores a chain's row from the diagonal towards the root."""
    for i in range(ARM):
        for j in range(i + 1):
            total = inertia[i * (i + 1) // 2 + i - j]
            for k in range(j):
                total -= out[i * ARM + k] * out[j * ARM + k]
            out[i * ARM + j] = total / out[j * ARM + j] if i != j else np.sqrt(total)


@njit
def _task_inertia(factor, jacobian, white, out):  # type: ignore[no-untyped-def]
    """Inverse of the inertia seen at the gripper, ``J M^-1 J'``, as the square of ``L^-1 J'`` (left in `white`)."""
    for i in range(ARM):
        for c in range(6):
            total = jacobian[c * ARM + i]
            for k in range(i):
                total -= factor[i * ARM + k] * white[k * 6 + c]
            white[i * 6 + c] = total / factor[i * ARM + i]
    for a in range(6):
        for b in range(a + 1):
            total = 0.0
            for k in range(ARM):
                total += white[k * 6 + a] * white[k * 6 + b]
            out[a * 6 + b] = total


@njit
def _set_wrench(f, qvel, site_pos, site_mat):  # type: ignore[no-untyped-def]
    """Force and torque at the gripper: spring to the goal and damper, each divided by its own inverse inertia."""
    jacobian, goal, work, wrench = f[JACOBIAN:], f[GOAL_MAT:], f[WORK:], f[WRENCH : WRENCH + 6]
    for c in range(6):
        velocity = 0.0
        for k in range(ARM):
            velocity += jacobian[c * ARM + k] * qvel[k]
        wrench[c] = -KD * velocity
    for c in range(3):
        a, b = (c + 1) % 3, (c + 2) % 3
        error = 0.0
        for k in range(3):
            error += site_mat[3 * a + k] * goal[3 * b + k] - site_mat[3 * b + k] * goal[3 * a + k]
        wrench[c] += KP * (f[GOAL_POS + c] - site_pos[c])
        wrench[3 + c] += KP * 0.5 * error
    _factor(f[TASK:], 3, 0, 6, work)
    _solve(work, 3, wrench[:3])
    _factor(f[TASK:], 3, 3, 6, work)
    _solve(work, 3, wrench[3:])


@njit
def _add_posture(f, qpos, qvel, inertia, torque):  # type: ignore[no-untyped-def]
    """Add the posture torque M a without what it does at the gripper: ``M a - J' (J M^-1 J')^-1 J a``."""
    jacobian, work = f[JACOBIAN:], f[WORK:]
    wrench, posture = f[WRENCH : WRENCH + 6], f[WHITENED : WHITENED + ARM]
    for k in range(ARM):
        posture[k] = NULL_KP * (f[POSTURE + k] - qpos[k]) - NULL_KD * qvel[k]
    for c in range(6):
        total = 0.0
        for k in range(ARM):
            total += jacobian[c * ARM + k] * posture[k]
        wrench[c] = total
    _factor(f[TASK:], 6, 0, 6, work)
    _solve(work, 6, wrench)
    for k in range(ARM):
        total = 0.0
        for j in range(ARM):
            low, high = min(j, k), max(j, k)
            total += inertia[high * (high + 1) // 2 + high - low] * posture[j]
        for c in range(6):
            total -= jacobian[c * ARM + k] * wrench[c]
        torque[k] += total


@njit
def _torques(f, words, site_pos, site_mat, bias, ctrl):  # type: ignore[no-untyped-def]
    """Torques of `OperationalSpaceController.run_controller`: task wrench, gravity, posture in the null space."""
    qpos, qvel = carray(_floats_at(words[QPOS]), (ARM,)), carray(_floats_at(words[QVEL]), (ARM,))
    anchor, axis = carray(_floats_at(words[ANCHOR]), (3 * ARM,)), carray(_floats_at(words[AXIS]), (3 * ARM,))
    inertia = carray(_floats_at(words[INERTIA]), (ARM * (ARM + 1) // 2,))
    jacobian, wrench = f[JACOBIAN:], f[WRENCH : WRENCH + 6]
    _jacobian(axis, anchor, site_pos, jacobian)
    _factor_inertia(inertia, f[CHOLESKY:])
    _task_inertia(f[CHOLESKY:], jacobian, f[WHITENED:], f[TASK:])
    _set_wrench(f, qvel, site_pos, site_mat)
    for k in range(ARM):
        total = 0.0
        for c in range(6):
            total += jacobian[c * ARM + k] * wrench[c]
        ctrl[k] = total + bias[k]
    _add_posture(f, qpos, qvel, inertia, ctrl)


@njit
def _joint_torques(f, words, bias, ctrl):  # type: ignore[no-untyped-def]
    """Torques of `JointPositionController.run_controller`: spring and damper of each joint, gravity."""
    qpos, qvel = carray(_floats_at(words[QPOS]), (ARM,)), carray(_floats_at(words[QVEL]), (ARM,))
    inertia = carray(_floats_at(words[INERTIA]), (ARM * (ARM + 1) // 2,))
    for k in range(ARM):
        total = bias[k]
        for j in range(ARM):
            low, high = min(j, k), max(j, k)
            wanted = JOINT_KP * (f[GOAL_JOINTS + j] - qpos[j]) - JOINT_KD * qvel[j]
            total += inertia[high * (high + 1) // 2 + high - low] * wanted
        ctrl[k] = total


@njit
def _control(f, words):  # type: ignore[no-untyped-def]
    site_pos, site_mat = carray(_floats_at(words[SITE_POS]), (3,)), carray(_floats_at(words[SITE_MAT]), (9,))
    bias, ctrl = carray(_floats_at(words[BIAS]), (ARM,)), carray(_floats_at(words[CTRL]), (ARM + 2,))
    if words[SUBSTEP] == 0:
        if words[CONTROL] == POSE_DELTA:
            _set_goal(f, site_pos, site_mat, words[PHASE] == FIRST)
        elif words[CONTROL] == POSE:
            _set_pose(f)
        else:
            _set_joints(f, carray(_floats_at(words[QPOS]), (ARM,)), words[CONTROL] == JOINT)
    if words[SUBSTEP] == 0 and words[PHASE] == FIRST:
        # robosuite computes this one torque from the pose of the reset, at rest and on its goal: gravity alone.
        for k in range(ARM):
            ctrl[k] = bias[k]
    elif words[CONTROL] >= JOINT_DELTA:
        _joint_torques(f, words, bias, ctrl)
    else:
        _torques(f, words, site_pos, site_mat, bias, ctrl)
    for k in range(ARM):
        ctrl[k] = min(max(ctrl[k], f[TORQUE_LOW + k]), f[TORQUE_HIGH + k])
    gripper = f[GRIPPER] + GRIPPER_SPEED * np.sign(f[GRIPPER_ACTION])
    f[GRIPPER] = min(max(gripper, -1.0), 1.0)
    ctrl[ARM] = f[FINGER_CENTRE] - f[FINGER_HALF] * f[GRIPPER]
    ctrl[ARM + 1] = f[FINGER_CENTRE + 1] + f[FINGER_HALF + 1] * f[GRIPPER]
    words[SUBSTEP] += 1


@cfunc(types.void(types.voidptr, types.voidptr), cache=True)
def _callback(model, data):  # type: ignore[no-untyped-def]
    if _mj_state_size(model, _USERDATA_STATE) != USERDATA_SIZE:
        return
    userdata = np.empty(USERDATA_SIZE)
    _mj_get_state(model, data, userdata.ctypes.data, _USERDATA_STATE)
    if userdata[0] != USERDATA_MARK:
        return
    address = userdata.view(np.int64)[1]
    words = carray(_ints_at(address), (BLOCK_SIZE,))
    if words[PHASE] != OFF:
        _control(carray(_floats_at(address), (BLOCK_SIZE,)), words)


_control_slot = ctypes.c_void_p.in_dll(MUJOCO_LIBRARY, "mjcb_control")


def install() -> None:
    """Make MuJoCo call the controller; harmless when it does already.

    The callback is one per process. One that another library installed is replaced: LIBERO and robosuite use none.
    """
    _control_slot.value = _callback.address
