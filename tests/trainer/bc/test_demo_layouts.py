"""Demonstration files of other programs: every row gets the action of its own moment, or the file is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.helpers.demo_layouts import PICTURES, Contents, Demo, lay_out, read_marked, wrong_rows
from tgrpo_envs.assets import find_pack
from tgrpo_envs.errors import CheckpointError
from tgrpo_envs.expert.demos import record_demonstrations
from tgrpo_envs.parity.side_by_side import Pair
from tgrpo_envs.scene import InitStates, load_scene
from tgrpo_envs.scene.build import official_env
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.tasks import get_task
from tgrpo_trainer.bc.dataset import DemoDataset, load_demonstrations
from tgrpo_trainer.bc.demo_layout import FLIPS
from tgrpo_trainer.config import Pictures

SIZE = 32


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three demonstrations by the scripted expert."""
    path = tmp_path_factory.mktemp("recorded") / "demos.hdf5"
    record_demonstrations("libero_object", 0, 3, path, image_size=SIZE, assets="primitive", progress=False)
    return path


@pytest.fixture
def demos(recorded: Path) -> list[Demo]:
    return read_marked(recorded)


def load(path: Path, **options: Any) -> DemoDataset:
    return load_demonstrations(path, action_chunk=3, image_size=SIZE, instruction="x", **options)


@pytest.mark.parametrize("pictures", FLIPS)
@pytest.mark.parametrize(("layout", "rows"), [("no_noops", "before"), ("libero", "after")])
def test_files_without_a_word_are_told_apart_by_what_moves(
    demos: list[Demo], tmp_path: Path, layout: str, rows: str, pictures: Pictures
) -> None:
    dataset = load(lay_out(demos, layout, pictures).write(tmp_path / "demos.hdf5"))
    assert dataset.layout == f"rows {rows} their actions, pictures {pictures}"
    steps = sum(len(demo["actions"]) for demo in demos)
    assert len(dataset) == (steps if rows == "before" else steps - 7 * len(demos))
    assert wrong_rows(dataset, demos, "actions") == 0


@pytest.mark.parametrize("layout", ["ours", "no_noops", "libero"])
def test_one_demonstration_is_enough(demos: list[Demo], tmp_path: Path, layout: str) -> None:
    for demo in demos:
        contents = lay_out([demo], layout)
        dataset = load(contents.write(tmp_path / "demos.hdf5"))
        assert wrong_rows(dataset, demos, "expert_actions" if layout == "ours" else "actions") == 0


@pytest.mark.parametrize("layout", ["no_noops", "libero"])
def test_rebuilt_proprioception_is_what_the_environment_gave(demos: list[Demo], tmp_path: Path, layout: str) -> None:
    """Ours is stored beside LIBERO's fields, so what is rebuilt from those has a known answer."""
    given = np.concatenate([demo["obs/proprio"][6:-1] if layout == "libero" else demo["obs/proprio"] for demo in demos])
    rebuilt = load(lay_out(demos, layout).write(tmp_path / "demos.hdf5")).proprio_MP.numpy()
    np.testing.assert_allclose(rebuilt, given, atol=2e-6)


def test_ee_states_alone_hold_position_and_orientation(demos: list[Demo], tmp_path: Path) -> None:
    whole = load(lay_out(demos, "no_noops").write(tmp_path / "whole.hdf5"))
    contents = lay_out(demos, "no_noops")
    for demo in contents.demos.values():
        del demo["obs/ee_pos"], demo["obs/ee_ori"]
    assert (load(contents.write(tmp_path / "demos.hdf5")).proprio_MP == whole.proprio_MP).all()


def test_a_camera_stored_another_way_up_is_turned_by_itself(demos: list[Demo], tmp_path: Path) -> None:
    """Some programs flip the main camera only."""
    contents = lay_out(demos, "no_noops")
    for demo in contents.demos.values():
        demo["obs/agentview_rgb"] = demo["obs/agentview_rgb"][:, ::-1]
    dataset = load(contents.write(tmp_path / "demos.hdf5"))
    assert dataset.layout == "rows before their actions, pictures upright and opengl"
    assert wrong_rows(dataset, demos, "actions") == 0


@pytest.mark.parametrize(("layout", "said"), [("libero", "before its action"), ("no_noops", "after its action")])
def test_an_attribute_that_contradicts_the_motion_is_refused(
    demos: list[Demo], tmp_path: Path, layout: str, said: str
) -> None:
    contents = lay_out(demos, layout)
    contents.attributes["observation_row"] = said
    with pytest.raises(CheckpointError, match=r"motion in data/demo_0 says .* attribute observation_row"):
        load(contents.write(tmp_path / "demos.hdf5"))


def test_so_is_an_option(demos: list[Demo], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"says that they came before; .*--sft\.demo-rows"):
        load(lay_out(demos, "no_noops").write(tmp_path / "demos.hdf5"), rows="after")


@pytest.mark.parametrize("shift", [-3, -2, -1, 2, 3])
def test_actions_moved_against_their_rows_are_refused(demos: list[Demo], tmp_path: Path, shift: int) -> None:
    contents = lay_out(demos, "ours")
    for demo in contents.demos.values():
        for name in ("actions", "expert_actions"):
            demo[name] = np.roll(demo[name], shift, axis=0)
    with pytest.raises(CheckpointError, match="answers other rows' actions"):
        load(contents.write(tmp_path / "demos.hdf5"))


def test_one_demonstration_that_differs_from_the_others_is_named(demos: list[Demo], tmp_path: Path) -> None:
    contents = lay_out(demos, "no_noops")
    contents.demos["demo_1"] = lay_out(demos, "libero").demos["demo_1"]
    with pytest.raises(
        CheckpointError, match=r"mostly holds rows before .* motion in data/demo_1 says that they came aft"
    ):
        load(contents.write(tmp_path / "demos.hdf5"))


def test_clean_labels_moved_against_the_executed_actions_are_refused(demos: list[Demo], tmp_path: Path) -> None:
    contents = lay_out(demos, "ours")
    contents.demos["demo_2"]["expert_actions"] = np.roll(demos[2]["expert_actions"], 1, axis=0)
    with pytest.raises(CheckpointError, match=r"demo_2/expert_actions fits actions that stand -1 rows away"):
        load(contents.write(tmp_path / "demos.hdf5"))


def test_an_arm_that_stands_still_tells_nothing_and_the_option_does(demos: list[Demo], tmp_path: Path) -> None:
    contents = lay_out(demos, "no_noops")
    for demo in contents.demos.values():
        demo["obs/ee_pos"] = np.zeros_like(demo["obs/ee_pos"])
    path = contents.write(tmp_path / "demos.hdf5")
    with pytest.raises(CheckpointError, match=r"--sft\.demo-rows before .* --sft\.demo-rows after"):
        load(path)
    with pytest.raises(CheckpointError, match=r"--sft\.demo-pictures opengl .* upright, turned .* mirrored"):
        load(path, rows="before")
    before, after = (load(path, rows=rows, pictures="opengl").actions_MCA for rows in ("before", "after"))
    # The reader believes what it is told where nothing speaks against it: a label is the row's own action, or the next.
    assert (after[: len(demos[0]["actions"]) - 1, 0] == before[1 : len(demos[0]["actions"]), 0]).all()


def test_black_pictures_do_not_tell_their_way_up(demos: list[Demo], tmp_path: Path) -> None:
    contents = lay_out(demos, "libero")
    for demo in contents.demos.values():
        for name in PICTURES:
            demo[f"obs/{name}"] = np.zeros_like(demo[f"obs/{name}"])
    path = contents.write(tmp_path / "demos.hdf5")
    with pytest.raises(CheckpointError, match="too little moves in them"):
        load(path)
    assert load(path, pictures="opengl").layout == "rows after their actions, pictures opengl"
    contents.attributes["macros_image_convention"] = "opencv"
    assert load(contents.write(tmp_path / "demos.hdf5")).layout == "rows after their actions, pictures upright"


def test_pictures_that_contradict_their_attribute_are_refused_and_the_option_is_final(
    demos: list[Demo], tmp_path: Path
) -> None:
    contents = lay_out(demos, "no_noops", "turned")
    contents.attributes["macros_image_convention"] = "opengl"
    path = contents.write(tmp_path / "demos.hdf5")
    with pytest.raises(CheckpointError, match=r"stored opengl, but the agentview ones move otherwise"):
        load(path)
    assert wrong_rows(load(path, pictures="turned"), demos, "actions") == 0


@pytest.mark.slow
def test_what_liberos_own_environment_records_is_told_apart_too(recorded: Path, tmp_path: Path) -> None:
    """Its sensors are a substep late, its pictures are its own; laid out as OpenVLA and as LIBERO do."""
    import robosuite.utils.transform_utils as transforms

    scene = load_scene(get_task("libero_object", 0), "primitive")
    cameras: dict[str, Any] = {
        "camera_names": ["agentview", "robot0_eye_in_hand"],
        "camera_heights": 128,
        "camera_widths": 128,
    }
    official = official_env(
        scene.task, find_pack("primitive").folder, has_offscreen_renderer=True, use_camera_obs=True, **cameras
    )
    pair = Pair(scene, Simulator(scene, 1), official)
    seen, executed = [], []
    with h5py.File(recorded) as file:
        for demo in list(file["data"].values())[:2]:
            init = InitStates(demo.attrs["reset_state"][None], demo.attrs["fixture_poses"][None])
            pair.reset_official(init, settle=True)
            rows = [official.env._get_observations(force_update=True)]
            rows += [official.step(action_A.tolist())[0] for action_A in demo["actions"]]
            executed.append(demo["actions"][()])
            seen.append(
                {
                    "obs/agentview_rgb": np.stack([row["agentview_image"] for row in rows]),
                    "obs/eye_in_hand_rgb": np.stack([row["robot0_eye_in_hand_image"] for row in rows]),
                    "obs/gripper_states": np.stack([row["robot0_gripper_qpos"] for row in rows]),
                    "obs/ee_pos": np.stack([row["robot0_eef_pos"] for row in rows]),
                    "obs/ee_ori": np.stack([transforms.quat2axisangle(row["robot0_eef_quat"]) for row in rows]),
                }
            )
    pair.close()
    for moment, first, last, action in (("before", 0, -1, 0), ("after", 6, None, 5)):
        contents = Contents({})
        for index, (demo, actions_TA) in enumerate(zip(seen, executed, strict=True)):
            contents.demos[f"demo_{index}"] = {name: array[first:last] for name, array in demo.items()}
            contents.demos[f"demo_{index}"]["actions"] = actions_TA[action:]
        dataset = load(contents.write(tmp_path / f"{moment}.hdf5"))
        assert dataset.layout == f"rows {moment} their actions, pictures opengl"
        start = 0 if moment == "before" else 6
        np.testing.assert_allclose(dataset.actions_MCA[0, 0], executed[0][start], atol=1e-6)
