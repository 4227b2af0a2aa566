"""A task of one's own, from a BDDL file alone: states, sentence, horizon, reward, and the commands that take it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from tests.helpers.unwrapped import libero_env, libero_envs
from tgrpo_envs.__main__ import main
from tgrpo_envs.bddl import read_problem
from tgrpo_envs.errors import BddlError, ConfigError, SceneError, SpecError
from tgrpo_envs.scene import load_scene
from tgrpo_envs.tasks import CUSTOM, bddl_path, get_task, task_from_file

ID = "tgrpo_envs:TGRPO-Custom-v0"

# Two fixtures, a drawer that starts open, and a ketchup in the way; test_task_file.py counts the lines.
KITCHEN = """(define (problem LIBERO_Kitchen_Tabletop_Manipulation)
  (:domain robosuite)
  (:language put the bowl on the stove and the butter into the open drawer)
  (:regions
    (stove_zone (:target kitchen_table) (:ranges ((-0.21 0.19 -0.19 0.21))))
    (cabinet_zone (:target kitchen_table) (:ranges ((-0.01 -0.31 0.01 -0.29))) (:yaw_rotation ((3.14159 3.14159))))
    (bowl_zone (:target kitchen_table) (:ranges ((-0.12 -0.05 -0.02 0.05))))
    (butter_zone (:target kitchen_table) (:ranges ((0.08 0.10 0.14 0.16))))
    (ketchup_zone (:target kitchen_table) (:ranges ((0.10 -0.06 0.16 0.0))))
    (cook_region (:target flat_stove_1))
    (bottom_region (:target wooden_cabinet_1)))
  (:fixtures
    kitchen_table - kitchen_table
    flat_stove_1 - flat_stove
    wooden_cabinet_1 - wooden_cabinet)
  (:objects
    akita_black_bowl_1 - akita_black_bowl
    butter_1 - butter
    ketchup_1 - ketchup)
  (:init
    (On flat_stove_1 kitchen_table_stove_zone)
    (On wooden_cabinet_1 kitchen_table_cabinet_zone)
    (Open wooden_cabinet_1_bottom_region)
    (On akita_black_bowl_1 kitchen_table_bowl_zone)
    (On butter_1 kitchen_table_butter_zone)
    (On ketchup_1 kitchen_table_ketchup_zone))
  (:goal
    (And (On akita_black_bowl_1 flat_stove_1_cook_region)
         (In butter_1 wooden_cabinet_1_bottom_region))))
"""


@pytest.fixture
def kitchen(tmp_path: Path) -> Path:
    return written(tmp_path, KITCHEN)


def written(folder: Path, text: str) -> Path:
    path = folder / "bowl_and_butter.bddl"
    path.write_text(text)
    return path


def made(path: Path, **settings: Any) -> gym.Env[Any, Any]:
    return gym.make(ID, **{"bddl": path, "assets": "primitive", "observe": "state", **settings})


def start(env: gym.Env[Any, Any], name: str, **how: Any) -> np.ndarray:
    env.reset(options={"init_states": name, **how.pop("options", {})}, **how)
    state_X: np.ndarray = libero_env(env).episodes.simulator.get_states().states_NX[0]
    return state_X


def test_libero_s_file_with_another_goal(tmp_path: Path) -> None:
    """Its file as it is but for the goal, the sentence and nothing else."""
    text = bddl_path(get_task("libero_object", 0)).read_text()
    text = text.replace(
        "(In alphabet_soup_1 basket_1_contain_region)",
        "(In milk_1 basket_1_contain_region) (On butter_1 cream_cheese_1)",
    ).replace("Pick the alphabet soup and place it in the basket", "Put the milk in the basket")
    path = tmp_path / "put_the_milk_in_the_basket.bddl"
    path.write_text(text)
    with made(path, horizon=60) as env:
        _, info = env.reset(seed=0)
        assert info["instruction"] == "put the milk in the basket"
        assert [name for name in libero_env(env).stage_names if name.startswith("place")] == [
            "place_milk_1",
            "place_butter_1",
        ]
        for _ in range(3):
            *_, info = env.step(env.action_space.sample())
        assert not info["success"]
        assert libero_env(env).horizon == 60
    assert task_from_file(path).horizon == 520


def test_a_kitchen_of_one_s_own_plays_and_pays(kitchen: Path) -> None:
    with made(kitchen) as env:
        env.reset(seed=0)
        unwrapped = libero_env(env)
        snapshot = unwrapped.episodes.simulator.snapshot
        bowl = snapshot.object_pos_NO3[0, unwrapped.episodes.scene.layout.object_row("akita_black_bowl_1")]
        assert (-0.12 <= bowl[0] <= -0.02) and (-0.05 <= bowl[1] <= 0.05)
        progress = []
        for _ in range(60):  # straight to the bowl
            layout, state = unwrapped.state_layout, unwrapped.episodes.observe()["state"][0]
            way = state[layout["akita_black_bowl_1/from_gripper"]]
            action = np.zeros(7, np.float32)
            action[:3], action[6] = np.clip(way / 0.05, -1, 1), -1
            _, _, terminated, truncated, info = env.step(action)
            progress.append(info["progress"])
            if terminated or truncated:
                break
        assert progress[-1] > 0.02
        assert info["stages"][unwrapped.stage_names.index("reach_akita_black_bowl_1")]


def test_states_are_drawn_and_fixed_from_the_file(kitchen: Path) -> None:
    with made(kitchen) as env, made(kitchen) as other:
        first, second = start(env, "train", seed=3), start(env, "train")
        assert np.array_equal(first, start(other, "train", seed=3))
        assert not np.array_equal(first, second)
        fixed = start(env, "heldout", options={"init_state_ids": [7]})
        assert np.array_equal(fixed, start(other, "heldout", options={"init_state_ids": [7]}))
        assert not np.array_equal(fixed, start(env, "heldout", options={"init_state_ids": [8]}))
        assert libero_env(env).num_init_states("heldout") == 200
        with pytest.raises(ConfigError, match=r"bowl_and_butter has no official initial states: LIBERO publishes"):
            env.reset(options={"init_states": "official"})
    with pytest.raises(ConfigError, match="no official initial states"):
        made(kitchen, init_states="official")


def test_a_vector_and_its_copy_play_on_when_the_file_is_gone(kitchen: Path) -> None:
    envs = libero_envs(gym.make_vec(ID, num_envs=2, bddl=str(kitchen), assets="primitive", observe="state"))
    kitchen.unlink()
    envs.reset(seed=0)
    twin = copy.deepcopy(envs)
    actions = np.zeros((2, 7), np.float32)
    for got, expected in zip(envs.step(actions)[0].values(), twin.step(actions)[0].values(), strict=True):
        assert np.array_equal(got, expected)
    assert envs.get_attr("task_description") == (read_problem(bddl_path(envs.task)).language,) * 2
    envs.close()
    twin.close()


def test_another_text_under_the_same_name_is_another_scene(kitchen: Path) -> None:
    before = load_scene(task_from_file(kitchen), "primitive")
    written(kitchen.parent, KITCHEN.replace("(-0.12 -0.05 -0.02 0.05)", "(-0.10 -0.05 -0.02 0.05)"))
    after = load_scene(task_from_file(kitchen), "primitive")
    assert before.folder != after.folder
    assert before.task.name == after.task.name == "bowl_and_butter"
    assert load_scene(before.task, "primitive").record == before.record  # the text it was, not the file as it is
    assert after.task == task_from_file(kitchen)
    assert before.task.suite == CUSTOM


_ON_THE_TABLE = ("butter_1 kitchen_table_butter", "ketchup_1 kitchen_table_ketchup")
_ZONE = "((-0.08 -0.001 -0.07 0.001))"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"((0.10 -0.06 0.16 0.0))": _ZONE, "((-0.12 -0.05 -0.02 0.05))": _ZONE}, "apart.$"),
        (
            {f"(On {name}_zone)": f"(In {name.split()[0]} wooden_cabinet_1_bottom_region)" for name in _ON_THE_TABLE},
            "over each other in one fixture may never find any: butter_1 and ketchup_1 in or on wooden_cabinet_1",
        ),
    ],
)
def test_regions_without_room_end_with_a_sentence(changed: dict[str, str], named: str, tmp_path: Path) -> None:
    """On the table LIBERO's own reset would try for ever, in the drawer it would wait for somebody at a debugger."""
    text = KITCHEN
    for old, new in changed.items():
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(SceneError, match=f"no room for all objects of bowl_and_butter in 5 resets; make .*{named}"):
        made(written(tmp_path, text)).reset()


def test_commands_take_the_file(kitchen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rewards", "compile", "--bddl", str(kitchen)]) == 0
    spec = tmp_path / "stages.json"
    spec.write_text(capsys.readouterr().out)
    with made(kitchen, reward=spec) as env, made(kitchen) as usual:
        env.reset()
        usual.reset()
        assert libero_env(env).stage_names == libero_env(usual).stage_names
    assert main(["rewards", "prompt", "--bddl", str(kitchen)]) == 0
    text = capsys.readouterr().out
    assert "akita_black_bowl_1" in text
    assert "ketchup_1" in text
    path = written(tmp_path, KITCHEN.replace("(In butter_1 wooden_cabinet_1_bottom_region)", "(On butter_1 ketchup_1)"))
    assert main(["demos", "--bddl", str(path), "--out", str(tmp_path / "d.hdf5")]) == 2
    assert "has no skill for the goal (on butter_1 ketchup_1)" in capsys.readouterr().err


def test_other_mistakes_are_one_sentence(kitchen: Path) -> None:
    with pytest.raises(BddlError, match=r"nowhere.bddl: cannot be read as a text file"):
        made(kitchen.with_name("nowhere.bddl"))
    with pytest.raises(ConfigError, match="give bddl=FILE"):
        gym.make(ID, assets="primitive", observe="state")
    with pytest.raises(ConfigError, match="TGRPO-Custom-v0"):
        gym.make("tgrpo_envs:TGRPO-LiberoObject-v0", bddl=kitchen, assets="primitive", observe="state")
    with pytest.raises(ConfigError, match="one task file, and task=3 left out"):
        made(kitchen, task=3)
    with pytest.raises(SpecError, match="llm"):
        made(kitchen, reward="llm").reset()


def test_episodes_demonstrations_and_specs_of_the_file_are_read_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The expert solves a grasp of a file of one's own; the record says which task it is of, and no more."""
    monkeypatch.chdir(tmp_path)
    text = bddl_path(get_task("libero_object", 0)).read_text(encoding="utf-8")
    Path("soup.bddl").write_text(text)
    own = ("--bddl", "soup.bddl")
    assert main(["play", *own, "--assets", "primitive", "--save", "episode.npz", "--init-states", "heldout"]) == 0
    assert "custom/soup on primitive: success" in capsys.readouterr().out
    assert main(["play", "--episode", "episode.npz"]) == 2
    assert "It is of soup, a task of your own; say with --bddl" in capsys.readouterr().err
    Path("other.bddl").write_text(text)
    assert main(["play", "--episode", "episode.npz", "--bddl", "other.bddl"]) == 2
    assert "It is of soup, and other.bddl poses other" in capsys.readouterr().err
    assert main(["play", "--episode", "episode.npz", *own]) == 0
    assert main(["rewards", "show", "episode.npz", *own]) == 0
    assert (
        main(["demos", *own, "--assets", "primitive", "--num-demos", "1", "--image-size", "16", "--out", "d.hdf5"]) == 0
    )
    capsys.readouterr()
    assert main(["play", "--episode", "d.hdf5", *own]) == 0
    assert "custom/soup on primitive: success" in capsys.readouterr().out
    Path("edited").mkdir()
    Path("edited/soup.bddl").write_text(text.replace("(In alphabet_soup_1", "(In milk_1"))
    assert main(["rewards", "show", "episode.npz", "--bddl", "edited/soup.bddl"]) == 2
    assert "It was recorded under another text of soup.bddl" in capsys.readouterr().err
    assert main(["rewards", "compile", *own]) == 0
    Path("stages.json").write_text(capsys.readouterr().out)
    assert main(["rewards", "lint", "stages.json", *own]) == 0
    assert main(["rewards", "lint", "stages.json"]) == 2
    assert "say with --bddl" in capsys.readouterr().err


@pytest.mark.slow
def test_a_spec_of_the_file_is_certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("soup.bddl").write_text(bddl_path(get_task("libero_object", 0)).read_text(encoding="utf-8"))
    assert main(["rewards", "certify", "--bddl", "soup.bddl"]) == 0
    certificate = json.loads(Path("soup.compiled.certificate.json").read_text())
    assert (certificate["verdict"], certificate["bddl_digest"]) == ("passed", task_from_file("soup.bddl").bddl_digest)
