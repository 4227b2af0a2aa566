"""Depth, segmentation, other cameras and no pictures at all, against rays cast through the pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

import tgrpo_envs  # noqa: F401 - registers the ids
from tgrpo_envs.errors import RenderError, UnknownNameError
from tgrpo_envs.scene import Scene, load_scene, official_states
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.tasks import get_task

SIZE = 64
ONE = np.ones(1, dtype=bool)
ENV_ID = "TGRPO-LiberoObject-v0"
VISUAL = np.array([0, 1, 0, 0, 0, 0], dtype=np.uint8)
CHECKED = [(row, column) for row in range(2, SIZE, 5) for column in range(2, SIZE, 5)]


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(get_task("libero_object", 0), "primitive")


@pytest.fixture(scope="module", params=["exact", "fast"])
def simulator(scene: Scene, request: pytest.FixtureRequest) -> Iterator[Simulator]:
    simulator = Simulator(scene, 1, image_size=SIZE, detail=request.param)
    simulator.reset(official_states(scene).take(np.array([0])), ONE)
    yield simulator
    simulator.close()


def whole(simulator: Simulator) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """All that is drawn of the first environment, where it is: rays read what data of a smaller model has not."""
    model = simulator.scene.exact_model
    data = mujoco.MjData(model)
    data.qpos[:] = simulator.datas[0].qpos
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    return model, data


def cast(model: mujoco.MjModel, data: mujoco.MjData, camera: str, row: float, column: float) -> tuple[int, float]:
    """What the ray through a pixel's centre meets: body, and depth along the camera's axis (metres)."""
    number = model.camera(camera).id
    reach = math.tan(math.radians(model.cam_fovy[number]) / 2)
    x, y = ((2 * (i + 0.5) / SIZE - 1) * reach for i in (column, row))
    inside_3 = np.array([x, -y, -1.0])
    ray_3 = data.cam_xmat[number].reshape(3, 3) @ inside_3
    geom = np.array([-1], dtype=np.int32)
    depth = mujoco.mj_ray(model, data, data.cam_xpos[number], ray_3, VISUAL, 1, -1, geom)
    return (int(model.geom_bodyid[geom[0]]) if geom[0] >= 0 else 0), depth  # the ray advances 1 along the axis


@pytest.mark.parametrize(("camera", "official"), [("agentview", "agentview"), ("wrist", "robot0_eye_in_hand")])
def test_depth_and_segmentation_are_those_of_rays(simulator: Simulator, camera: str, official: str) -> None:
    colours, alone = np.zeros((2, 1, SIZE, SIZE, 3), np.uint8)
    depth = np.zeros((1, SIZE, SIZE), np.float32)
    rows = np.zeros((1, SIZE, SIZE), np.int32)
    simulator.render({camera: colours, f"{camera}_depth": depth, f"{camera}_segmentation": rows}, ONE)
    simulator.render({camera: alone}, ONE)
    assert np.array_equal(colours, alone)
    names = simulator.segmentation_names
    model, data = whole(simulator)
    agree, near = [], []
    for row, column in CHECKED:
        body, expected = cast(model, data, official, row, column)
        agree.append(names[rows[0, row, column]] == owner(model, body))
        # With multisampling the depth is that of some point of the pixel, not of its centre.
        around = [cast(model, data, official, row + i, column + j)[1] for i in (-0.5, 0.5) for j in (-0.5, 0.5)]
        if min(expected, *around) >= 0:  # else a ray meets nothing
            slack = 0.005 + 0.01 * expected
            near.append(min(expected, *around) - slack < depth[0, row, column] < max(expected, *around) + slack)
    assert np.mean(agree) > 0.93  # the others lie on edges
    assert np.mean(near) > 0.93
    assert len(np.unique(rows)) > 3


def owner(model: mujoco.MjModel, body: int) -> str:
    """LIBERO names the bodies of an object after it, and those of the robot robot0, gripper0 and mount0."""
    root = model.body(model.body_rootid[body]).name
    if root.startswith("robot0"):
        return "robot"
    return root.removesuffix("_main") if root.endswith("_main") else "background"


def test_any_camera_of_the_scene(simulator: Simulator) -> None:
    pictures = {
        name: np.zeros((1, SIZE, SIZE, 3), np.uint8) for name in ("agentview", "frontview", "robot0_eye_in_hand")
    }
    simulator.render(pictures, ONE)
    wrist = {"wrist": np.zeros((1, SIZE, SIZE, 3), np.uint8)}
    simulator.render(wrist, ONE)
    assert np.array_equal(wrist["wrist"], pictures["robot0_eye_in_hand"])
    assert pictures["frontview"].std() > 10
    assert not np.array_equal(pictures["frontview"], pictures["agentview"])


def test_pictures_as_observations() -> None:
    kwargs: dict[str, Any] = {
        "assets": "primitive",
        "image_size": 32,
        "cameras": ("frontview",),
        "depth": True,
        "segmentation": True,
    }
    envs = gym.make_vec(ENV_ID, num_envs=2, **kwargs)
    observations, _ = envs.reset(seed=0)
    assert observations in envs.observation_space
    assert set(observations) == {"frontview", "frontview_depth", "frontview_segmentation", "proprio"}
    assert observations["frontview_depth"].dtype == np.float32
    assert 0.1 < observations["frontview_depth"].min() < 3.0
    assert observations["frontview_segmentation"].max() > 1
    envs.close()


def test_detail_off_draws_nothing() -> None:
    env = gym.make(ENV_ID, assets="primitive", detail="off", render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    assert set(observation) == {"proprio"}
    with pytest.raises(RenderError, match="detail='off'"):
        env.render()
    env.close()


def test_an_unknown_camera_is_named_with_the_scenes() -> None:
    env = gym.make(ENV_ID, assets="primitive", cameras=("frontvew",))
    with pytest.raises(UnknownNameError, match="Did you mean 'frontview'"):
        env.reset()
    env.close()


def test_two_threads_draw_what_one_draws() -> None:
    """One environment's cameras are drawn side by side; fixtures are put elsewhere by the second reset."""
    scene = load_scene(get_task("libero_goal", 0), "primitive")
    shapes = {
        "": ((SIZE, SIZE, 3), np.uint8),
        "_depth": ((SIZE, SIZE), np.float32),
        "_segmentation": ((SIZE, SIZE), np.int32),
    }
    pictures: list[list[dict[str, NDArray[Any]]]] = []
    for threads in (1, 2):
        simulator = Simulator(scene, 1, num_threads=threads, cameras=("agentview", "wrist"), image_size=SIZE)
        pictures.append([])
        for state in (0, 1):
            init = official_states(scene).take(np.array([state]))
            init.fixtures_NF7[..., 0] += 0.03 * state
            images = {
                f"{camera}{kind}": np.zeros((1, *shape), dtype)
                for camera in ("agentview", "wrist")
                for kind, (shape, dtype) in shapes.items()
            }
            simulator.reset(init, ONE, images=images)
            simulator.step(np.full((1, 7), 0.5), ONE, images)
            pictures[-1].append(images)
        simulator.close()
    for one, two in zip(*pictures, strict=True):
        for key, image in one.items():
            np.testing.assert_array_equal(image, two[key], err_msg=key)
    first, second = pictures[0]
    assert (first["agentview"] != second["agentview"]).mean() > 0.05
