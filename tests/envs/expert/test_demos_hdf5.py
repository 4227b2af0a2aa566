"""The HDF5 writer alone: orientations as robosuite reports them, and files that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tgrpo_envs.errors import CheckpointError
from tgrpo_envs.expert.hdf5 import (
    HAND_IN_GRIP,
    DatasetInfo,
    Demonstration,
    atomic_file,
    hand_quaternions,
    hand_rotation_vectors,
    write_dataset,
)

INFO = DatasetInfo("libero_floor_manipulation", "pick it up", "bddl_files/a/b.bddl", "(define)", 4, "primitive", 0)


def demonstration(steps: int = 5) -> Demonstration:
    rng = np.random.default_rng(0)
    return Demonstration(
        actions_TA=rng.uniform(-1, 1, (steps, 7)),
        expert_actions_TA=rng.uniform(-1, 1, (steps, 7)),
        states_TX=np.arange(steps * 30.0).reshape(steps, 30),
        grip_pos_T3=rng.normal(size=(steps, 3)),
        grip_mat_T33=np.repeat(np.eye(3)[None], steps, axis=0),
        proprio_TP=np.zeros((steps, 12), np.float32),
        agentview_THWC=rng.integers(0, 256, (steps, 4, 4, 3), dtype=np.uint8),
        wrist_THWC=rng.integers(0, 256, (steps, 4, 4, 3), dtype=np.uint8),
        reset_state_X=np.zeros(30),
        fixture_poses_F7=np.zeros((0, 7)),
    )


def test_start_pose_gives_the_numbers_robosuite_reports() -> None:
    """LIBERO-Object after settling, read off the official environment: grip site matrix and robot0_eef_quat."""
    sine = 2 * 0.9995966 * 0.0284001
    cosine = np.sqrt(1 - sine**2)
    grip = np.array([[0.0, cosine, -sine], [1.0, 0.0, 0.0], [0.0, -sine, -cosine]])
    np.testing.assert_allclose(hand_quaternions(grip[None]), [[0.9995966, 0.0, -0.0284001, 0.0]], atol=1e-6)


def test_rotation_vectors_are_the_same_rotation_as_the_hand() -> None:
    rng = np.random.default_rng(1)
    vectors_T3 = rng.normal(size=(50, 3))
    vectors_T3 *= (np.linspace(0.1, 3.1, 50) / np.linalg.norm(vectors_T3, axis=1))[:, None]
    hands_T33 = np.stack([rodrigues(vector) for vector in vectors_T3])
    back_T3 = hand_rotation_vectors(hands_T33 @ HAND_IN_GRIP.T)
    np.testing.assert_allclose(np.stack([rodrigues(vector) for vector in back_T3]), hands_T33, atol=1e-9)


def test_orientations_do_not_jump_where_a_quaternion_changes_sign() -> None:
    """The hand points down, so the angle is pi, where an axis-angle that forgets continuity flips its sign."""
    tilts = np.linspace(-0.2, 0.2, 41)
    hands_T33 = np.stack([rodrigues(np.array([np.pi, 0.0, 0.0])) @ rodrigues(np.array([t, 0.0, t])) for t in tilts])
    vectors_T3 = hand_rotation_vectors(hands_T33 @ HAND_IN_GRIP.T)
    assert np.abs(np.diff(vectors_T3, axis=0)).max() < 0.05


def test_demonstrations_that_come_one_by_one_are_all_written(tmp_path: Path) -> None:
    lengths = write_dataset(tmp_path / "a" / "demo.hdf5", INFO, (demonstration(steps) for steps in (3, 4)))
    assert lengths == [3, 4]
    with h5py.File(tmp_path / "a" / "demo.hdf5") as file:
        assert sorted(file["data"]) == ["demo_0", "demo_1"]
        assert file["data"].attrs["total"] == 7
        stored = file["data/demo_0"]
        given = demonstration(3)
        np.testing.assert_array_equal(stored["obs/agentview_rgb"], given.agentview_THWC[:, ::-1])
        np.testing.assert_array_equal(stored["obs/joint_states"], given.states_TX[:, 1:8])
        np.testing.assert_array_equal(stored["obs/gripper_states"], given.states_TX[:, 8:10])
        np.testing.assert_array_equal(stored["expert_actions"], given.expert_actions_TA)


def test_nothing_to_write_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="at least one"):
        write_dataset(tmp_path / "demo.hdf5", INFO, [])
    assert list(tmp_path.iterdir()) == []


def test_a_failure_half_way_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "demo.hdf5"
    write_dataset(path, INFO, [demonstration()])
    before = path.read_bytes()

    def breaking() -> Iterator[Demonstration]:
        yield demonstration()
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        write_dataset(path, INFO, breaking())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_being_written_is_not_there_yet(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "demo.hdf5"):
        assert not (tmp_path / "demo.hdf5").exists()
    assert (tmp_path / "demo.hdf5").exists()


def rodrigues(vector: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(vector)
    x, y, z = vector / max(angle, 1e-300)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn_33: np.ndarray = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turn_33
