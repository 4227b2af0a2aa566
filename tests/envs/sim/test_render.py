"""Pictures: upright, of the right environment, the same from any thread; and what is said where OpenGL is missing."""

from __future__ import annotations

import ctypes.util
import subprocess
import sys
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest

from tgrpo_envs.assets import find_pack
from tgrpo_envs.errors import RenderError, UnknownNameError
from tgrpo_envs.scene import Scene, load_scene, sample_train_states
from tgrpo_envs.scene.build import official_env
from tgrpo_envs.sim import opengl
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.tasks import get_task

N = 3
SIZE = 64
ALL = np.ones(N, dtype=bool)
CAMERAS = ("agentview", "wrist")
TASK = get_task("libero_object", 0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(TASK, "primitive")


@pytest.fixture(scope="module")
def simulator(scene: Scene) -> Iterator[Simulator]:
    simulator = Simulator(scene, N, num_threads=2, cameras=CAMERAS, image_size=SIZE)
    simulator.reset(sample_train_states(scene, np.random.default_rng(0), N), ALL)
    yield simulator
    simulator.close()


def blank() -> dict[str, np.ndarray]:
    return {camera: np.zeros((N, SIZE, SIZE, 3), np.uint8) for camera in CAMERAS}


def pictures(simulator: Simulator) -> dict[str, np.ndarray]:
    images = blank()
    simulator.render(images, ALL)
    return images


def test_pictures_are_upright(scene: Scene, simulator: Simulator) -> None:
    """An object carried up moves up in the agentview, and one moved to the robot's left (+y) moves to the right."""
    entry = next(entry for entry in scene.record.objects if entry.name == "basket_1")
    assert entry.qpos_address is not None
    states = sample_train_states(scene, np.random.default_rng(0), N)
    at = 1 + entry.qpos_address
    states.states_NX[:, at : at + 3] = [[0.0, 0.0, 0.1], [0.0, 0.0, 0.3], [0.0, 0.2, 0.1]]
    simulator.reset(states, ALL, settle=False)
    images = pictures(simulator)["agentview"].astype(int)
    states.states_NX[:, at + 2] = -5.0
    simulator.reset(states, ALL, settle=False)
    changed = np.abs(images - pictures(simulator)["agentview"]).sum(axis=-1) > 60
    rows, columns = zip(*(np.argwhere(picture).mean(axis=0) for picture in changed), strict=True)
    assert rows[1] < rows[0] - 3
    assert abs(columns[1] - columns[0]) < 6
    assert columns[2] > columns[0] + 3


def test_every_picture_is_its_own_environments(scene: Scene, simulator: Simulator) -> None:
    states = sample_train_states(scene, np.random.default_rng(1), N)
    simulator.reset(states, ALL)
    batch = pictures(simulator)
    assert not np.array_equal(batch["agentview"][0], batch["agentview"][1])
    again = pictures(simulator)
    alone = Simulator(scene, 1, cameras=CAMERAS, image_size=SIZE)
    for row in range(N):
        alone.reset(states.take(np.array([row])), ALL[:1])
        images = {camera: np.zeros((1, SIZE, SIZE, 3), np.uint8) for camera in CAMERAS}
        alone.render(images, ALL[:1])
        for camera in CAMERAS:
            assert np.array_equal(images[camera][0], batch[camera][row])
            assert np.array_equal(again[camera][row], batch[camera][row])
    alone.close()


def test_only_masked_rows_are_drawn(simulator: Simulator) -> None:
    images = blank()
    simulator.render(images, np.array([False, True, False]))
    drawn = images["wrist"].reshape(N, -1).any(axis=1)
    assert drawn.tolist() == [False, True, False]


def test_wrong_arrays_and_cameras_are_refused(simulator: Simulator) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'agentview'"):
        simulator.render({"agentvew": blank()["agentview"]}, ALL)
    with pytest.raises(UnknownNameError, match=r"'wrist', .*'frontview'") as unknown:
        simulator.render({"qqq": blank()["agentview"]}, ALL)
    assert str(unknown.value).count("'agentview'") == 1
    with pytest.raises(RenderError, match="uint8"):
        simulator.render({"agentview": np.zeros((N, 32, 32, 3), np.uint8)}, ALL)


def test_a_context_that_dies_gives_one_error_and_is_replaced(scene: Scene) -> None:
    simulator = Simulator(scene, 1, cameras=CAMERAS, image_size=SIZE, detail="exact")
    simulator.reset(sample_train_states(scene, np.random.default_rng(0), 1), ALL[:1])
    before, after = ({"wrist": np.zeros((1, SIZE, SIZE, 3), np.uint8)} for _ in range(2))
    simulator.render(before, ALL[:1])
    simulator._pool.map(lambda worker, row: simulator._own.renderer._gl._gl.free(), [0], own_thread=True)
    with pytest.raises(RenderError, match="died while drawing"):
        simulator.render(after, ALL[:1])
    simulator.render(after, ALL[:1])
    assert np.array_equal(before["wrist"], after["wrist"])
    simulator.close()


def test_pictures_equal_liberos(scene: Scene) -> None:
    """At detail `exact` every one of LIBERO's pixels; at `fast` the same picture but for shadows and small shapes."""
    env = official_env(
        TASK,
        find_pack("primitive").folder,
        has_offscreen_renderer=True,
        use_camera_obs=True,
        camera_heights=128,
        camera_widths=128,
    )
    env.seed(0)
    env.reset()
    states = sample_train_states(scene, np.random.default_rng(2), 1)
    observation = env.set_init_state(states.states_NX[0])
    expected = {
        "agentview": observation["agentview_image"][::-1],  # LIBERO's are upside down
        "wrist": observation["robot0_eye_in_hand_image"][::-1],
    }
    limits: tuple[tuple[Literal["exact", "fast"], float], ...] = (("exact", 0), ("fast", 3.0))
    for detail, limit in limits:
        simulator = Simulator(scene, 1, cameras=CAMERAS, image_size=128, detail=detail)
        simulator.reset(states, ALL[:1], settle=False)
        images = {camera: np.zeros((1, 128, 128, 3), np.uint8) for camera in CAMERAS}
        simulator.render(images, ALL[:1])
        simulator.close()
        for camera in CAMERAS:
            assert np.abs(images[camera][0].astype(int) - expected[camera]).mean() <= limit, (detail, camera)
    env.close()


@pytest.mark.parametrize(
    ("installed", "gpu", "wanted", "expected"),
    [
        ({"OSMesa", "EGL"}, False, "", "osmesa"),
        ({"OSMesa", "EGL"}, True, "", "egl"),
        ({"EGL"}, False, "", "egl"),
        ({"OSMesa"}, True, "", "osmesa"),
        ({"OSMesa", "EGL"}, True, "osmesa", "osmesa"),
        ({"OSMesa", "EGL"}, False, "glfw", "osmesa"),
    ],
)
def test_the_backend_is_chosen(
    monkeypatch: pytest.MonkeyPatch, installed: set[str], gpu: bool, wanted: str, expected: str
) -> None:
    choose(monkeypatch, installed, gpu, wanted)
    assert opengl._choice.__wrapped__()[0] == expected


def test_the_choice_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    choose(monkeypatch, {"OSMesa"}, False, "")
    opengl._choice.cache_clear()
    with caplog.at_level("INFO", logger="tgrpo_envs"):
        assert {opengl.backend() for _ in range(3)} == {"osmesa"}
    opengl._choice.cache_clear()
    assert [record.getMessage() for record in caplog.records] == [
        "Pictures are drawn by OpenGL through osmesa, in software."
    ]


def test_no_opengl_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, set(), False, "")
    with pytest.raises(RenderError, match="apt-get install -y libosmesa6"):
        opengl._choice.__wrapped__()


def choose(monkeypatch: pytest.MonkeyPatch, installed: set[str], gpu: bool, wanted: str) -> None:
    monkeypatch.setenv("MUJOCO_GL", wanted)
    monkeypatch.delenv("PYOPENGL_PLATFORM", raising=False)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: name if name in installed else None)
    monkeypatch.setattr(opengl, "has_gpu", lambda: gpu)


@pytest.mark.parametrize("wanted", ["", pytest.param("osmesa", marks=pytest.mark.osmesa), "egl", "glfw"])
def test_pictures_whatever_mujoco_gl_says(scene: Scene, wanted: str) -> None:
    program = """
import numpy as np
from pathlib import Path
import sys
from tgrpo_envs.scene import open_scene, official_states
from tgrpo_envs.sim.simulator import Simulator
scene = open_scene(Path(sys.argv[1]))
simulator = Simulator(scene, 2, num_threads=2, cameras=("agentview",), image_size=32, detail="exact")
images = {"agentview": np.zeros((2, 32, 32, 3), np.uint8)}
simulator.reset(official_states(scene).take(np.arange(2)), np.ones(2, bool), settle=False)
simulator.render(images, np.ones(2, bool))
assert images["agentview"].std() > 10
simulator.close()
"""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **({"MUJOCO_GL": wanted} if wanted else {})}
    command = [sys.executable, "-c", program, str(scene.folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
