"""Demonstrations as episodes: stored states, outcome and fixtures, and what is said of files that cannot be shown."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tgrpo_envs.__main__ import main
from tgrpo_envs.errors import CheckpointError, StateError
from tgrpo_envs.expert.demos import record_demonstrations
from tgrpo_envs.recording.demonstration import read_episode
from tgrpo_envs.scene import load_scene
from tgrpo_envs.tasks import get_task

DRAWER = 0  # of libero_goal: it has fixtures, a cabinet among them


def record(path: Path, suite: str, task: int) -> Path:
    record_demonstrations(
        suite, task, 1, path, seed=5, image_size=16, max_noise=0.0, assets="primitive", progress=False
    )
    return path


@pytest.fixture(scope="module")
def soup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("demos") / "soup.hdf5", "libero_object", 0)


@pytest.fixture(scope="module")
def drawer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("demos") / "drawer.hdf5", "libero_goal", DRAWER)


@pytest.mark.parametrize("name", ["soup", "drawer"])
def test_a_demonstration_is_the_episode_it_was_recorded_from(name: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(name)
    episode = read_episode(path)
    with h5py.File(path) as file:
        demo = file["data/demo_0"]
        assert np.array_equal(episode.actions_TA, demo["actions"])
        assert np.array_equal(episode.states_MX[:-1], demo["states"])
        assert np.array_equal(episode.fixtures_F7, demo.attrs["fixture_poses"])
        # A stored state is shown with fresh kinematics, the file has those of the last substep: 2 ms before.
        assert np.abs(episode.snapshots.gripper_pos_N3[:-1] - demo["obs/ee_pos"]).max() < 2e-3
    assert episode.success
    assert not episode.goal_MC[:-1].all(axis=1).any()  # it ended where the goal held
    assert episode.info.pack == "primitive"


def test_the_commands_show_it(soup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved, page = tmp_path / "again.npz", tmp_path / "soup.html"
    steps = len(read_episode(soup))
    assert main(["play", "--episode", str(soup), "--save", str(saved)]) == 0
    played = capsys.readouterr().out
    assert f"success after {steps} of at most 280 control steps, return 1.000" in played
    assert main(["play", "--episode", str(saved)]) == 0
    assert capsys.readouterr().out.strip() in played  # one format becomes the other
    assert main(["rewards", "show", str(soup), "--out", str(page), "--image-size", "16"]) == 0
    assert "Pick up the alphabet soup" in page.read_text()


def test_liberos_own_files_name_fixtures_in_the_model_and_the_task_by_the_file(drawer: Path, tmp_path: Path) -> None:
    task = get_task("libero_goal", DRAWER)
    path = tmp_path / f"{task.name}_demo.hdf5"
    path.write_bytes(drawer.read_bytes())
    scene = load_scene(task, "primitive")
    with h5py.File(path, "a") as file:
        del file["data"].attrs["bddl_file_name"]
        attributes = file["data/demo_0"].attrs
        poses_F7 = attributes["fixture_poses"]
        del attributes["fixture_poses"]
        bodies = "".join(
            f'<body name="{scene.model.body(body).name}" pos="{" ".join(map(str, pose_7[:3]))}" '
            f'quat="{" ".join(map(str, pose_7[3:]))}"/>'
            for body, pose_7 in zip(scene.fixture_bodies, poses_F7.tolist(), strict=True)
        )
        attributes["model_file"] = f"<mujoco><worldbody>{bodies}</worldbody></mujoco>"
    episode = read_episode(path)
    assert np.array_equal(episode.fixtures_F7, poses_F7)
    assert episode.success
    with h5py.File(path, "a") as file:
        file["data/demo_0"].attrs["model_file"] = "<mujoco/>"
    with pytest.raises(StateError, match="where the fixtures stand"):
        read_episode(path)


def test_what_cannot_be_shown_is_one_sentence(soup: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no demonstration 7 .*--demo"):
        read_episode(soup, demo=7)
    unnamed, damaged, other = (tmp_path / f"{name}.hdf5" for name in ("unnamed", "damaged", "other"))
    for path in (unnamed, other):
        path.write_bytes(soup.read_bytes())
    with h5py.File(unnamed, "a") as file:
        del file["data"].attrs["bddl_file_name"]
    with pytest.raises(CheckpointError, match="which task it is of"):
        read_episode(unnamed)
    damaged.write_bytes(soup.read_bytes()[:200])
    with pytest.raises(StateError, match="cannot be read as HDF5"):
        read_episode(damaged)
    with h5py.File(other, "a") as file:
        file["data"].attrs["bddl_file_name"] = "bddl_files/libero_goal/turn_on_the_stove.bddl"
    with pytest.raises(StateError, match="the scene needs"):
        read_episode(other)
