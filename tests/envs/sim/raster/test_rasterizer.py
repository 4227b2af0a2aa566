"""The rasterizer beside MuJoCo's OpenGL on the same drawn model: colours, depth, segmentation, mirrors, glass."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers.opengl_drawn import opengl_pictures
from tgrpo_envs.scene import Scene, load_scene, official_states
from tgrpo_envs.sim.pictures import Kind, Picture
from tgrpo_envs.sim.raster.rasterizer import Rasterizer
from tgrpo_envs.tasks import get_task

SIZE = 96
KINDS: tuple[Kind, ...] = ("rgb", "depth", "segmentation")
PACKS = ["primitive", pytest.param("libero", marks=pytest.mark.libero)]
# Planes and boxes; a mirror (LIBERO's stove) and a drawer; two lamps, a sun and a glass.
TASKS = [("libero_object", 0), ("libero_goal", 0), ("libero_10", 2)]


def begun(suite: str, task: int, pack: str) -> tuple[Scene, mujoco.MjModel, mujoco.MjData]:
    """A task in its first official state."""
    scene = load_scene(get_task(suite, task), pack)
    states = official_states(scene).take(np.array([0]))
    model = mujoco.MjModel.__copy__(scene.model)
    bodies = list(scene.fixture_bodies)
    model.body_pos[bodies], model.body_quat[bodies] = states.fixtures_NF7[0, :, :3], states.fixtures_NF7[0, :, 3:]
    data = mujoco.MjData(model)
    data.qpos[:] = states.states_NX[0, 1 : 1 + model.nq]
    mujoco.mj_forward(model, data)
    return scene, model, data


def drawn(rasterizer: Rasterizer, model: mujoco.MjModel, data: mujoco.MjData, camera: str) -> dict[str, Any]:
    images = {
        Picture(camera, kind): np.zeros(Picture(camera, kind).shape(SIZE), Picture(camera, kind).dtype)
        for kind in KINDS
    }
    rasterizer.draw(model, data, images)
    return {picture.kind: image for picture, image in images.items()}


@pytest.mark.parametrize("camera", ["agentview", "wrist", "frontview"])
@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize(("suite", "task"), TASKS)
def test_pictures_are_those_of_opengl(suite: str, task: int, pack: str, camera: str) -> None:
    """Colours differ by a rounding; what else differs are pixels on edges."""
    scene, model, data = begun(suite, task, pack)
    expected = opengl_pictures(scene, data, model, camera, SIZE)
    found = drawn(Rasterizer(model, scene.record, scene.drawing, scene.fixture_bodies), model, data, camera)
    more_HW3 = found["rgb"].astype(int) - expected["rgb"]
    assert np.abs(more_HW3).mean() < 0.5 and abs(more_HW3.mean()) < 0.2
    assert np.mean(np.abs(more_HW3) > 16) < 0.01
    assert np.mean(np.abs(found["depth"] / expected["depth"] - 1) > 1e-3) < 0.002
    assert np.mean(found["segmentation"] != expected["segmentation"]) < 0.002
    assert len(np.unique(found["segmentation"])) > 2


def test_what_is_kept_of_a_still_camera_changes_nothing() -> None:
    """A rasterizer that has drawn other states, another size and another camera draws as a new one does."""
    scene, model, data = begun("libero_goal", 0, "primitive")
    used = Rasterizer(model, scene.record, scene.drawing, scene.fixture_bodies)
    for camera in ("agentview", "wrist"):
        drawn(used, model, data, camera)
    small = {Picture("agentview", "rgb"): np.zeros((32, 32, 3), np.uint8)}
    used.draw(model, data, small)
    model.body_pos[list(scene.fixture_bodies)] += [0.02, 0.03, 0.0]
    data.qpos[:9] += 0.1
    mujoco.mj_forward(model, data)
    for camera in ("agentview", "wrist"):
        new = drawn(Rasterizer(model, scene.record, scene.drawing, scene.fixture_bodies), model, data, camera)
        for kind, image in drawn(used, model, data, camera).items():
            np.testing.assert_array_equal(image, new[kind])


def test_a_burner_that_is_on_is_drawn() -> None:
    """Its site is hidden by alpha until then."""
    scene, model, data = begun("libero_goal", 7, "primitive")
    rasterizer = Rasterizer(model, scene.record, scene.drawing, scene.fixture_bodies)
    ((sites,),) = [tuple(scene.record.visible_sites.values())]
    pictures: list[NDArray[Any]] = []
    for alpha in (0.0, 1.0, 0.5):
        model.site_rgba[list(sites), 3] = alpha
        pictures.append(drawn(rasterizer, model, data, "agentview")["rgb"].astype(int))
        expected = opengl_pictures(scene, data, model, "agentview", SIZE)["rgb"]
        assert np.abs(pictures[-1] - expected).mean() < 1.0
    off, on, half = pictures
    is_lit = np.abs(on - off).max(axis=2) > 30
    assert 5 < is_lit.sum() < 400
    # Through glass twice, as MuJoCo draws it: a quarter of what lies behind is left.
    np.testing.assert_allclose(half[is_lit], (0.25 * off + 0.75 * on)[is_lit], atol=3)
