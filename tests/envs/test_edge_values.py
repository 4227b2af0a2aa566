"""Unusual values, orders of calls and files at the edges of environments and commands: taken, or refused in a line."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import tgrpo_envs  # noqa: F401 - registers the ids
from tgrpo_envs.__main__ import main
from tgrpo_envs.assets import find_pack
from tgrpo_envs.bddl import parse_problem, read_problem
from tgrpo_envs.command import run_command
from tgrpo_envs.env import LiberoEnv
from tgrpo_envs.errors import ActionError, AssetError, ConfigError, StateError
from tgrpo_envs.files import cache_dir
from tgrpo_envs.perturbation import Perturbation
from tgrpo_envs.scene import InitStates, load_scene
from tgrpo_envs.scene.perturb.distractors import _with_things
from tgrpo_envs.settings import EnvSettings
from tgrpo_envs.tasks import bddl_path, get_task, recorded_task, task_from_file
from tgrpo_envs.vector import LiberoVectorEnv

SMALL: dict[str, Any] = {"assets": "primitive", "detail": "off", "num_threads": 1}


@pytest.fixture(scope="module")
def bddl() -> str:
    return bddl_path(get_task("libero_object", 0)).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["demos", "--out", "d.hdf5", "--seed", "-1"], "seed=-1 must be a whole number of at least 0"),
        (["demos", "--out", "d.hdf5", "--num-demos", "0"], "num_demos=0 must be a whole number of at least 1"),
        (["demos", "--out", "d.hdf5", "--max-noise", "nan"], "max_noise=nan must be a finite number"),
        (["demos", "--out", "d.hdf5", "--max-noise", "inf"], "max_noise=inf must be a finite number"),
        (["demos", "--out", "d.hdf5", "--image-size", "0"], "image_size=0 must be a whole number from 1 to 1024"),
        (["demos", "--out", "d.hdf5", "--image-size", "20000"], "image_size=20000 must be a whole number from 1"),
        (["expert", "--episodes", "0"], "episodes=0 must be a whole number of at least 1"),
        (["expert", "--max-noise", "-1"], "max_noise=-1.0 must be a finite number of at least 0"),
        (["expert", "--seed", "-1"], "seed=-1 must be"),
        (["play", "--seed", "-1"], "--seed=-1 must be"),
        (["play", "--video", "run.2026"], "--video run.2026 is the name of no .mp4 file"),
        (["play", "--video", "run.mp4", "--image-size", "0"], "--image-size=0 must be"),
        (["parity", "--task", "0", "--steps", "0"], "steps=0 must be a whole number of at least 1"),
        (["parity", "--task", "0", "--states", "-1"], "states=-1 must be a whole number of at least 0"),
        (["assets", "--folder", "here"], "--folder here is where --download puts"),
        (["assets", "sheet", "--out", "sheet.psd"], "sheet.psd has an ending that is none of .webp, .png"),
        (["play", "--assets", "~no_such_user/assets"], "no home folder for '~no_such_user/assets'"),
    ],
)
def test_a_command_refuses_in_one_line_and_leaves_nothing(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_a_plot_is_refused_by_its_ending_before_it_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from tgrpo_envs.figure import two_plots

    with (
        pytest.raises(ConfigError, match="an ending that is none of"),
        two_plots(tmp_path / "a.xyz", height_in=1.0, width_ratios=(1.0, 1.0)),
    ):
        pytest.fail("it is drawn")


def test_a_home_that_nobody_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGRPO_CACHE", "~no_such_user/cache")
    with pytest.raises(ConfigError, match="without '~' with TGRPO_CACHE"):
        cache_dir()
    monkeypatch.delenv("TGRPO_CACHE")
    monkeypatch.setenv("TGRPO_LIBERO_ASSETS", "~no_such_user/assets")
    with pytest.raises(ConfigError, match="TGRPO_LIBERO_ASSETS"):
        find_pack("auto")


def test_letters_that_standard_output_lacks_are_escaped_and_a_closed_one_hears_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert run_command(lambda: "öffne") == 0
    assert raw.getvalue() == b"\\xf6ffne\n"
    monkeypatch.setattr(sys, "stdout", None)
    assert run_command(lambda: "öffne") == 0


def test_a_vector_environment_that_was_closed_is_opened_and_closed_again() -> None:
    envs = LiberoVectorEnv("libero_object", 2, render_mode="rgb_array", **SMALL)
    with pytest.raises(ConfigError, match=r"call reset\(\) first"):
        envs.render()
    for _ in range(2):
        envs.reset(seed=0)
        envs.close()
        assert envs.closed
        assert envs.episodes._simulator is None
        with pytest.raises(ConfigError, match=r"call reset\(\) first"):
            envs.step(np.zeros((2, 7)))
        with pytest.raises(ConfigError, match=r"call reset\(\) first"):
            envs.render()


def test_one_task_and_words_for_truth_are_refused() -> None:
    with pytest.raises(ConfigError, match="tasks=3 must be a list"):
        LiberoVectorEnv("libero_object", 2, tasks=3, **SMALL)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="copy"):
        LiberoVectorEnv("libero_object", 2, copy="no", **SMALL)  # type: ignore[arg-type]


def test_actions_of_one_environment_are_spoken_of_as_they_were_given() -> None:
    env = LiberoEnv("libero_object", **SMALL)
    env.reset(seed=0)
    with pytest.raises(ActionError, match=r"shape \(6,\); this environment takes \(7,\)"):
        env.step(np.zeros(6))
    with pytest.raises(ActionError, match=r"shape \(1, 7\); this environment takes \(7,\)"):
        env.step(np.zeros((1, 7)))
    env.close()


def test_a_perturbation_is_said_once() -> None:
    change = Perturbation("camera", 1, 0)
    with pytest.raises(ConfigError, match="perturb_level=3 is not what perturb=Perturbation"):
        EnvSettings("libero_object", perturb=change, perturb_level=3)
    assert EnvSettings("libero_object", perturb=change, perturb_level=1).perturbation == change
    assert EnvSettings("libero_object", perturb="camera", perturb_level=3).perturbation == Perturbation("camera", 3, 0)


@pytest.mark.parametrize("said", [{"perturb_level": 3}, {"perturb_seed": 1, "perturb": None}])
def test_a_change_without_its_kind_is_refused_and_records_of_settings_are_read(said: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"perturb_(level=3|seed=1) says which change of a kind, and perturb=None"):
        EnvSettings("libero_object", **said)
    whole = EnvSettings("libero_object").model_dump()  # names the usual level and seed
    assert (whole["perturb"], whole["perturb_level"], whole["perturb_seed"]) == (None, 2, 0)
    assert EnvSettings(**whole).perturbation is None


def test_things_are_added_to_sections_and_not_to_comments_that_name_them(bddl: str) -> None:
    text = f"; first (:objects one) and (:init; another\n{bddl}"
    problem = parse_problem(text)
    crowded = parse_problem(_with_things(text, problem, ["milk_carton"]))
    assert crowded.objects == {**problem.objects, "milk_carton_1": "milk_carton"}
    assert crowded.init[:-1] == problem.init


def test_a_task_file_may_begin_with_a_mark_and_its_name_with_a_dash(tmp_path: Path, bddl: str) -> None:
    path = tmp_path / "-my täsk (1).bddl"
    path.write_text(bddl, encoding="utf-8-sig")
    assert read_problem(path) == parse_problem(bddl)
    scene = load_scene(task_from_file(path), "primitive")
    assert scene.task.name == "-my täsk (1)"
    env = gym.make("TGRPO-Custom-v0", bddl=str(path), **SMALL)
    observation, info = env.reset(seed=0)
    assert observation["proprio"].shape == (12,)
    assert info["instruction"] == scene.task.instruction
    env.close()


def test_a_sheet_has_the_ending_of_a_picture_that_can_be_written(tmp_path: Path) -> None:
    from tgrpo_envs.recording.contact_sheet import draw_sheet

    with pytest.raises(AssetError, match="none of"):
        draw_sheet("primitive", tmp_path / "sheet.h5")


def test_the_cache_stays_where_it_was_when_the_process_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TGRPO_CACHE", "cache")
    assert cache_dir() == tmp_path / "cache"


def test_states_and_fixtures_of_unequal_number_are_refused() -> None:
    envs = LiberoVectorEnv("libero_object", 2, **SMALL)
    two = envs.episodes.fixed_states("heldout").take(np.array([0, 1]))
    for states in (InitStates(two.states_NX, two.fixtures_NF7[:1]), InitStates(two.states_NX[0], two.fixtures_NF7)):
        with pytest.raises(StateError, match="with one N"):
            envs.reset(options={"init_states": states})
    envs.close()


def test_a_task_file_beside_a_task_of_liberos_is_refused() -> None:
    with pytest.raises(ConfigError, match="It is of libero_object/"):
        recorded_task("libero_object", get_task("libero_object", 0).name, "mine.bddl")
