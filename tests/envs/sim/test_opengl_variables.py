"""OpenGL that the variables name and that is not here: one sentence about the variable, and only where it is needed."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tgrpo_envs.errors import RenderError
from tgrpo_envs.sim import opengl

VARIABLES = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "MUJOCO_EGL_DEVICE_ID")
QUIETLY = ("-W", "ignore")  # which is said where there are no cameras
PROGRAM = """
import sys
import gymnasium as gym
from tgrpo_envs.errors import TgrpoError
try:
    env = gym.make("tgrpo_envs:TGRPO-LiberoObject-v0", assets="primitive", image_size=32, detail=sys.argv[1])
    env.reset(seed=0)
    print(env.step(env.action_space.sample())[0]["proprio"].shape)
    env.close()
except TgrpoError as error:
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(2)
"""
NO_OSMESA = ctypes.util.find_library("OSMesa") is None
WRONG = [
    ({"MUJOCO_GL": "foo"}, "MUJOCO_GL='foo'"),
    ({"MUJOCO_GL": "off"}, "MUJOCO_GL='off'"),
    ({"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "glx"}, "PYOPENGL_PLATFORM='glx'"),
    ({"MUJOCO_GL": "osmesa", "PYOPENGL_PLATFORM": "egl"}, "PYOPENGL_PLATFORM='egl'"),
    ({"PYOPENGL_PLATFORM": "wgl"}, "PYOPENGL_PLATFORM='wgl'"),
    ({"MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "99"}, "MUJOCO_EGL_DEVICE_ID='99'"),
    ({"MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "abc"}, "MUJOCO_EGL_DEVICE_ID='abc'"),
    ({"MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "-1"}, "MUJOCO_EGL_DEVICE_ID='-1'"),
    ({"PYOPENGL_PLATFORM": "egl", "MUJOCO_EGL_DEVICE_ID": ""}, "MUJOCO_EGL_DEVICE_ID=''"),
    pytest.param({"MUJOCO_GL": "osmesa"}, "MUJOCO_GL", marks=pytest.mark.skipif(not NO_OSMESA, reason="it is here")),
    pytest.param(
        {"PYOPENGL_PLATFORM": "osmesa"},
        "PYOPENGL_PLATFORM",
        marks=pytest.mark.skipif(not NO_OSMESA, reason="it is here"),
    ),
]


def run(variables: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run(
        [sys.executable, *command], env={**kept, **variables}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("variables", "named"), WRONG)
def test_opening_says_which_variable_is_wrong(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    monkeypatch.setattr(opengl, "_choice", opengl._choice.__wrapped__)
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # and as it was afterwards, whatever is set on the way
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RenderError) as caught:
        opengl._open(32)
    assert named in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("variables", [WRONG[0][0], WRONG[6][0]])
def test_drawing_exactly_ends_in_that_sentence(variables: dict[str, str]) -> None:
    done = run(variables, "-c", PROGRAM, "exact")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("variables", [WRONG[6][0], {"MUJOCO_GL": "osmesa"}])
def test_fast_pictures_need_no_opengl(variables: dict[str, str]) -> None:
    done = run(variables, *QUIETLY, "-c", PROGRAM, "fast")
    assert (done.returncode, done.stdout, done.stderr) == (0, "(12,)\n", "")


def test_building_a_scene_needs_no_opengl(tmp_path: Path) -> None:
    done = run({"MUJOCO_GL": "foo", "TGRPO_CACHE": str(tmp_path)}, *QUIETLY, "-c", PROGRAM, "fast")
    assert (done.returncode, done.stdout, done.stderr) == (0, "(12,)\n", "")


def test_a_command_ends_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "idle.py").write_text("def act(observation, instruction): return [0.0] * 7\n")
    command = ("evaluate", "idle:act", "--out", f"{tmp_path}/out", "--tasks", "0", "--assets", "primitive")
    done = run({"MUJOCO_GL": "foo", "PYTHONPATH": str(tmp_path)}, "-m", "tgrpo_envs", *command)
    assert done.returncode == 2
    assert "MUJOCO_GL='foo'" in done.stderr and "Traceback" not in done.stderr


def test_pyopengls_own_variable_is_a_choice() -> None:
    """MuJoCo would refuse a library other than the one that PyOpenGL was told to take."""
    assert run({"PYOPENGL_PLATFORM": "egl"}, "-c", PROGRAM, "exact").stdout == "(12,)\n"
