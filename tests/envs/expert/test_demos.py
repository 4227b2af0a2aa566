"""Recorded demonstrations: LIBERO's layout to the letter, exact replay, pictures the way LIBERO stores them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.expert import demos
from tgrpo_envs.expert.demos import RecordingReport, record_demonstrations
from tgrpo_envs.scene import InitStates, load_scene
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.tasks import bddl_path, get_task

TASK, SEED, SIZE, NUM_DEMOS = 0, 5, 32, 3


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> RecordingReport:
    path = tmp_path_factory.mktemp("demos") / "new_folder" / "soup_demo.hdf5"
    return record_demonstrations(
        "libero_object", TASK, NUM_DEMOS, path, seed=SEED, image_size=SIZE, assets="primitive", progress=False
    )


def test_the_report_counts_what_is_in_the_file(report: RecordingReport) -> None:
    with h5py.File(report.path) as file:
        lengths = [len(file[f"data/demo_{index}/actions"]) for index in range(NUM_DEMOS)]
        assert file["data"].attrs["num_demos"] == NUM_DEMOS == len(file["data"]) == report.num_demos
        assert file["data"].attrs["total"] == sum(lengths)
    assert report.mean_steps == np.mean(lengths)
    assert f"{NUM_DEMOS}/{NUM_DEMOS + report.num_failures} episodes" in str(report)


def test_groups_and_datasets_are_liberos_by_name_type_and_shape(report: RecordingReport) -> None:
    """The list is that of a published LIBERO file (e.g. libero_object/*_demo.hdf5), plus our three additions."""
    with h5py.File(report.path) as file:
        demo = file["data/demo_1"]
        steps = int(demo.attrs["num_samples"])
        width = demo["states"].shape[1]
        picture = (steps, SIZE, SIZE, 3)
        expected = {
            "actions": ("float64", (steps, 7)),
            "dones": ("uint8", (steps,)),
            "rewards": ("uint8", (steps,)),
            "robot_states": ("float64", (steps, 9)),
            "states": ("float64", (steps, width)),
            "obs/agentview_rgb": ("uint8", picture),
            "obs/eye_in_hand_rgb": ("uint8", picture),
            "obs/ee_ori": ("float64", (steps, 3)),
            "obs/ee_pos": ("float64", (steps, 3)),
            "obs/ee_states": ("float64", (steps, 6)),
            "obs/gripper_states": ("float64", (steps, 2)),
            "obs/joint_states": ("float64", (steps, 7)),
        }
        ours = {"expert_actions": ("float64", (steps, 7)), "obs/proprio": ("float32", (steps, 12))}
        found: dict[str, tuple[str, tuple[int, ...]]] = {}
        demo.visititems(
            lambda name, item: found.update({name: (str(item.dtype), item.shape)} if hasattr(item, "dtype") else {})
        )
        assert found == expected | ours


def test_attributes_tell_libero_tools_which_task_this_is(report: RecordingReport) -> None:
    task = get_task("libero_object", TASK)
    with h5py.File(report.path) as file:
        attributes = dict(file["data"].attrs)
    problem, env_args = json.loads(attributes["problem_info"]), json.loads(attributes["env_args"])
    assert problem["language_instruction"] == task.instruction
    assert problem["problem_name"] == env_args["problem_name"] == "libero_floor_manipulation"
    assert env_args["bddl_file"] == attributes["bddl_file_name"] == f"bddl_files/libero_object/{task.name}.bddl"
    assert attributes["bddl_file_content"] == bddl_path(task).read_text()
    assert attributes["tag"] == "libero-v1"
    assert attributes["macros_image_convention"] == "opengl"


def test_executing_the_actions_reproduces_every_state_exactly(report: RecordingReport) -> None:
    scene = load_scene(get_task("libero_object", TASK), "primitive")
    simulator = Simulator(scene, 1)
    everyone = np.ones(1, dtype=bool)
    with h5py.File(report.path) as file:
        for demo in file["data"].values():
            init = InitStates(demo.attrs["reset_state"][None], demo.attrs["fixture_poses"][None])
            simulator.reset(init, everyone)
            for action_A, state_X in zip(demo["actions"][()], demo["states"][()], strict=True):
                np.testing.assert_array_equal(simulator.get_states().states_NX[0], state_X)
                assert not simulator.step(action_A[None], everyone).any()
            np.testing.assert_array_equal(demo.attrs["init_state"], demo["states"][0])
    simulator.close()


def test_pictures_show_the_moment_before_the_action_upside_down(report: RecordingReport) -> None:
    scene = load_scene(get_task("libero_object", TASK), "primitive")
    simulator = Simulator(scene, 1, cameras=("agentview", "wrist"), image_size=SIZE)
    images = {camera: np.zeros((1, SIZE, SIZE, 3), np.uint8) for camera in ("agentview", "wrist")}
    everyone = np.ones(1, dtype=bool)
    with h5py.File(report.path) as file:
        demo = file["data/demo_0"]
        simulator.reset(InitStates(demo.attrs["reset_state"][None], demo.attrs["fixture_poses"][None]), everyone)
        for step in range(20):
            simulator.render(images, everyone)
            np.testing.assert_array_equal(demo["obs/agentview_rgb"][step], images["agentview"][0, ::-1])
            np.testing.assert_array_equal(demo["obs/eye_in_hand_rgb"][step], images["wrist"][0, ::-1])
            np.testing.assert_array_equal(demo["obs/proprio"][step], simulator.proprio_NP[0])
            simulator.step(demo["actions"][step][None], everyone)
        assert images["agentview"].std() > 10
    simulator.close()


def test_fields_agree_with_each_other(report: RecordingReport) -> None:
    with h5py.File(report.path) as file:
        for demo in file["data"].values():
            obs = demo["obs"]
            np.testing.assert_array_equal(obs["ee_states"], np.hstack([obs["ee_pos"], obs["ee_ori"]]))
            np.testing.assert_array_equal(demo["robot_states"][:, :2], obs["gripper_states"])
            np.testing.assert_array_equal(demo["robot_states"][:, 2:5], obs["ee_pos"])
            np.testing.assert_allclose(np.linalg.norm(demo["robot_states"][:, 5:], axis=1), 1.0)
            np.testing.assert_allclose(obs["proprio"][:, :3], obs["ee_pos"], atol=1e-6)
            np.testing.assert_allclose(obs["proprio"][:, 9:11], obs["gripper_states"], atol=1e-6)
            # The last row is the one whose action brought success, in LIBERO's files and here.
            np.testing.assert_array_equal(np.flatnonzero(demo["rewards"]), [len(demo["actions"]) - 1])
            np.testing.assert_array_equal(demo["rewards"], demo["dones"])


def test_noise_is_on_the_executed_translation_only_and_labels_are_clean(report: RecordingReport) -> None:
    with h5py.File(report.path) as file:
        noise = [demo["actions"][()] - demo["expert_actions"][()] for demo in file["data"].values()]
        actions_TA = np.concatenate([demo["actions"][()] for demo in file["data"].values()])
    assert np.abs(actions_TA).max() <= 1.0
    assert all(np.abs(difference[:, :3]).max() > 0.0 for difference in noise)
    assert all(np.abs(difference[:, 3:]).max() == 0.0 for difference in noise)
    assert max(difference[:, :3].std() for difference in noise) < 0.31


def test_the_file_does_not_depend_on_how_many_run_side_by_side(report: RecordingReport, tmp_path: Path) -> None:
    again = record_demonstrations(
        "libero_object", TASK, 2, tmp_path / "b.hdf5", seed=SEED, image_size=SIZE, assets="primitive",
        num_envs=1, progress=False,
    )  # fmt: skip
    with h5py.File(report.path) as first, h5py.File(again.path) as second:
        for index in range(2):
            for name in ("actions", "states", "obs/agentview_rgb", "obs/proprio"):
                np.testing.assert_array_equal(first[f"data/demo_{index}/{name}"], second[f"data/demo_{index}/{name}"])


@pytest.mark.parametrize(("name", "value"), [("num_demos", 0), ("num_envs", 0), ("max_noise", -0.1)])
def test_numbers_out_of_range_are_refused(name: str, value: float, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"num_demos": 1, "path": tmp_path / "x.hdf5", name: value}
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        record_demonstrations("libero_object", TASK, **settings, progress=False)


def test_an_expert_that_hardly_succeeds_is_an_error_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demos, "MAX_EPISODES_PER_DEMO", 1)  # one failed episode instead of five: a second, not five
    with pytest.raises(ConfigError, match="solved only 0 of 1 episodes"):
        record_demonstrations(
            "libero_object", TASK, 1, tmp_path / "x.hdf5", image_size=8, max_noise=1000.0, assets="primitive",
            progress=False,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_task_the_expert_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expert_tasks"):
        record_demonstrations("libero_goal", 9, 1, tmp_path / "x.hdf5", progress=False)
