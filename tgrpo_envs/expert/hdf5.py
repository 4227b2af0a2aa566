"""LIBERO's demonstration format, written: one HDF5 file per task, ``data/demo_<i>`` per episode.

Names, shapes and number types are those of the published LIBERO datasets (``scripts/create_dataset.py`` there).
What differs: a row holds the observation *before* its action, where LIBERO's holds the one after it (the attribute
`observation_row` says so; docs/demonstrations.md has the layouts); images have the size that was asked for; there is no
`model_file`, since scenes are kept compiled; and there are additions (`expert_actions`, `obs/proprio`, `reset_state`,
`fixture_poses`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs import files
from tgrpo_envs.errors import CheckpointError
from tgrpo_envs.extras import needs_extra
from tgrpo_envs.sim.snapshot import FloatArray

with needs_extra("demos"):
    import h5py

# Rows of a flattened MuJoCo state: time, then qpos, which begins with the seven arm and the two finger joints.
ARM_JOINTS = slice(1, 8)
FINGER_JOINTS = slice(8, 10)
# LIBERO reports the orientation of the Panda's hand, a quarter turn about the approach axis from its grip site.
HAND_IN_GRIP = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
LIBERO_TAG = "libero-v1"


@dataclass(frozen=True)
class Demonstration:
    """One successful episode of T control steps; row t is the moment before action t.

    Attributes:
        actions_TA: Executed actions, noise included.
        expert_actions_TA: What the expert asked for at the same moments: the labels to learn from.
        states_TX: Flattened MuJoCo states (time, qpos, qvel).
        grip_pos_T3: Position of the grip site, metres.
        grip_mat_T33: Its rotation matrix.
        proprio_TP: The environments' own proprioception vector.
        agentview_THWC: Upright images.
        wrist_THWC: Upright images.
        reset_state_X: The initial state as it was before settling.
        fixture_poses_F7: Position and quaternion (w first) of the fixtures.
    """

    actions_TA: FloatArray
    expert_actions_TA: FloatArray
    states_TX: FloatArray
    grip_pos_T3: FloatArray
    grip_mat_T33: FloatArray
    proprio_TP: NDArray[np.float32]
    agentview_THWC: NDArray[np.uint8]
    wrist_THWC: NDArray[np.uint8]
    reset_state_X: FloatArray
    fixture_poses_F7: FloatArray


@dataclass(frozen=True)
class DatasetInfo:
    """What a file says about its task.

    Attributes:
        problem_name: LIBERO's problem class, lower case, e.g. ``libero_floor_manipulation``.
        language_instruction: The task's sentence.
        bddl_file_name: ``bddl_files/<suite>/<task>.bddl``.
        bddl_file_content: Its text.
        image_size: Side of the square images, pixels.
        asset_pack: Which shapes were simulated.
        seed: Of the recording.
    """

    problem_name: str
    language_instruction: str
    bddl_file_name: str
    bddl_file_content: str
    image_size: int
    asset_pack: str
    seed: int


@contextmanager
def atomic_file(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file that appears at `path` complete or not at all."""
    with files.atomic_file(path) as partial, h5py.File(partial, "w") as file:
        yield file


def write_dataset(path: Path, info: DatasetInfo, demonstrations: Iterable[Demonstration]) -> list[int]:
    """Write one task's demonstrations, one at a time as they come.

    Args:
        path: Where the file should be; replaced if it exists, its folder made if it does not.
        info: The file's attributes.
        demonstrations: At least one.

    Returns:
        The length of each demonstration, control steps.

    Raises:
        CheckpointError: There was nothing to write.
    """
    lengths: list[int] = []
    with atomic_file(path) as file:
        data = file.create_group("data")
        for name, value in _attributes(info).items():
            data.attrs[name] = value
        for index, demonstration in enumerate(demonstrations):
            _write_demonstration(data.create_group(f"demo_{index}"), demonstration)
            lengths.append(len(demonstration.actions_TA))
        if not lengths:
            raise CheckpointError(f"No demonstrations to write to {path}; record at least one.")
        data.attrs["num_demos"] = len(lengths)
        data.attrs["total"] = sum(lengths)
    return lengths


def hand_rotation_vectors(grip_mat_T33: FloatArray) -> FloatArray:
    """LIBERO's ``ee_ori``: the hand's orientation as axis times angle in [0, 2 pi), shape (T, 3), radians."""
    quaternions_T4 = hand_quaternions(grip_mat_T33)
    half_angle_T = np.arccos(np.clip(quaternions_T4[:, 3], -1.0, 1.0))
    sine_T = np.sin(half_angle_T)
    factor_T = np.divide(2.0 * half_angle_T, sine_T, out=np.zeros_like(sine_T), where=sine_T > 0.0)
    return quaternions_T4[:, :3] * factor_T[:, None]


def hand_quaternions(grip_mat_T33: FloatArray) -> FloatArray:
    """The hand's orientation as LIBERO's ``robot0_eef_quat``: x, y, z, w, shape (T, 4).

    The sign is chosen so that consecutive rows do not jump, beginning with a positive largest component.
    """
    mat_T33 = grip_mat_T33 @ HAND_IN_GRIP
    # The quaternion is the eigenvector of this symmetric matrix with the largest eigenvalue (Bar-Itzhack 2000).
    xx, yy, zz = mat_T33[:, 0, 0], mat_T33[:, 1, 1], mat_T33[:, 2, 2]
    xy, yx, xz = mat_T33[:, 0, 1], mat_T33[:, 1, 0], mat_T33[:, 0, 2]
    zx, yz, zy = mat_T33[:, 2, 0], mat_T33[:, 1, 2], mat_T33[:, 2, 1]
    symmetric_T44 = np.moveaxis(
        np.array(
            [
                [xx - yy - zz, xy + yx, xz + zx, zy - yz],
                [xy + yx, yy - xx - zz, yz + zy, xz - zx],
                [xz + zx, yz + zy, zz - xx - yy, yx - xy],
                [zy - yz, xz - zx, yx - xy, xx + yy + zz],
            ]
        ),
        2,
        0,
    )
    quaternions_T4 = np.linalg.eigh(symmetric_T44)[1][:, :, -1]
    largest = np.argmax(np.abs(quaternions_T4[0]))
    quaternions_T4[0] *= np.sign(quaternions_T4[0, largest])
    flips_T = np.sign(np.sum(quaternions_T4[1:] * quaternions_T4[:-1], axis=1))
    quaternions_T4[1:] *= np.cumprod(np.where(flips_T < 0, -1.0, 1.0))[:, None]
    return quaternions_T4


def _attributes(info: DatasetInfo) -> dict[str, str | int]:
    problem = {
        "problem_name": info.problem_name,
        "domain_name": "robosuite",
        "language_instruction": info.language_instruction,
    }
    env_kwargs = {
        "robots": ["Panda"],
        "controller": "OSC_POSE",
        "control_freq": 20,
        "bddl_file_name": info.bddl_file_name,
        "camera_names": ["robot0_eye_in_hand", "agentview"],
        "camera_heights": info.image_size,
        "camera_widths": info.image_size,
    }
    env_args = {
        "type": 1,
        "env_name": info.problem_name,
        "problem_name": info.problem_name,
        "bddl_file": info.bddl_file_name,
        "env_kwargs": env_kwargs,
    }
    return {
        "env_name": info.problem_name,
        "problem_info": json.dumps(problem),
        "macros_image_convention": "opengl",
        "bddl_file_name": info.bddl_file_name,
        "bddl_file_content": info.bddl_file_content,
        "env_args": json.dumps(env_args),
        "tag": LIBERO_TAG,
        "observation_row": "before its action",
        "asset_pack": info.asset_pack,
        "seed": info.seed,
    }


def _write_demonstration(group: h5py.Group, demonstration: Demonstration) -> None:
    steps = len(demonstration.actions_TA)
    states_TX, grip_pos_T3 = demonstration.states_TX, demonstration.grip_pos_T3
    last_T = np.zeros(steps, dtype=np.uint8)
    last_T[-1] = 1
    hand_quat_T4 = hand_quaternions(demonstration.grip_mat_T33)
    hand_vector_T3 = hand_rotation_vectors(demonstration.grip_mat_T33)

    group.create_dataset("actions", data=demonstration.actions_TA)
    group.create_dataset("expert_actions", data=demonstration.expert_actions_TA)
    group.create_dataset("states", data=states_TX)
    group.create_dataset("robot_states", data=np.hstack([states_TX[:, FINGER_JOINTS], grip_pos_T3, hand_quat_T4]))
    group.create_dataset("rewards", data=last_T)
    group.create_dataset("dones", data=last_T)

    obs = group.create_group("obs")
    obs.create_dataset("agentview_rgb", data=_upside_down(demonstration.agentview_THWC))
    obs.create_dataset("eye_in_hand_rgb", data=_upside_down(demonstration.wrist_THWC))
    obs.create_dataset("gripper_states", data=states_TX[:, FINGER_JOINTS])
    obs.create_dataset("joint_states", data=states_TX[:, ARM_JOINTS])
    obs.create_dataset("ee_states", data=np.hstack([grip_pos_T3, hand_vector_T3]))
    obs.create_dataset("ee_pos", data=grip_pos_T3)
    obs.create_dataset("ee_ori", data=hand_vector_T3)
    obs.create_dataset("proprio", data=demonstration.proprio_TP)

    group.attrs["num_samples"] = steps
    group.attrs["init_state"] = states_TX[0]
    group.attrs["reset_state"] = demonstration.reset_state_X
    group.attrs["fixture_poses"] = demonstration.fixture_poses_F7


def _upside_down(images_THWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """LIBERO stores images in OpenGL's orientation: the first row is the bottom of the scene."""
    return np.ascontiguousarray(images_THWC[:, ::-1])
