"""The primitive pack against LIBERO's measured facts: mass, extent, sites, resting pose; and how it is generated."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imageio.v3 as iio
import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from tgrpo_envs.assets import AssetPack, find_pack
from tgrpo_envs.assets.layout import WORKSPACES, object_file
from tgrpo_envs.assets.primitive import CATEGORIES, generate, generate_pack, render_files
from tgrpo_envs.bddl import read_problem
from tgrpo_envs.scene import load_scene
from tgrpo_envs.scene.states import official_states
from tgrpo_envs.tasks import bddl_path, get_task, list_tasks

# Measured once in LIBERO's pack under mujoco 3.3.2: total mass (g), low and high corner of the collision boxes in the
# body frame (mm), and the body origin's height (mm) in the official environment, ten control steps after an initial
# state of the benchmark.
LIBERO_FACTS = {
    "alphabet_soup": (25.85, (-31.3, -38.6, -34.9), (31.1, 37.6, 27.5), 38.4),
    "basket": (136.11, (-84.1, -78.5, 4.2), (85.4, 78.8, 145.7), -4.6),
    "bbq_sauce": (12.18, (-23.5, -14.6, -54.6), (23.5, 14.6, 52.5), 54.6),
    "butter": (5.25, (-38.1, -19.8, -8.7), (38.1, 19.8, 8.7), 8.7),
    "chocolate_pudding": (10.19, (-40.6, -23.2, -13.1), (39.6, 23.2, 14.3), 13.1),
    "cream_cheese": (6.19, (-40.6, -21.3, -8.9), (40.6, 21.3, 8.9), 8.9),
    "ketchup": (23.22, (-27.7, -72.4, -17.6), (28.6, 73.2, 19.1), 72.4),
    "milk": (31.67, (-26.4, -69.8, -26.3), (26.6, 61.4, 26.3), 69.7),
    "orange_juice": (31.67, (-26.6, -69.8, -26.3), (26.4, 61.4, 26.3), 69.7),
    "salad_dressing": (21.78, (-27.3, -72.7, -18.0), (25.4, 72.8, 17.6), 72.7),
    "tomato_sauce": (26.63, (-31.2, -38.6, -34.1), (31.0, 37.6, 27.5), 38.4),
}
# Heights (mm) and attitudes (w x y z) that the official initial states start from; some lie below the floor.
UPRIGHT_Y, TURNED_Y, TURNED_Z, HALF_TURN_Z = (0, 0, 1, 1), (1, 1, 1, 1), (1, 0, 0, 1), (0, 0, 0, 1)
OFFICIAL_START = {
    "alphabet_soup": (15, UPRIGHT_Y),
    "basket": (35, TURNED_Z),
    "bbq_sauce": (35, TURNED_Z),
    "butter": (-5, HALF_TURN_Z),
    "chocolate_pudding": (35, HALF_TURN_Z),
    "cream_cheese": (0, HALF_TURN_Z),
    "ketchup": (35, TURNED_Y),
    "milk": (35, TURNED_Y),
    "orange_juice": (35, TURNED_Y),
    "salad_dressing": (35, TURNED_Y),
    "tomato_sauce": (35, UPRIGHT_Y),
}
# z of bottom_site and top_site, x of horizontal_radius_site (mm): LIBERO's placement reads them.
LIBERO_SITES = {
    "alphabet_soup": (-40, 40, 25),
    "basket": (-60, 40, 25),
    "bbq_sauce": (-60, 60, 15),
    "butter": (-20, 20, 20),
    "chocolate_pudding": (-60, 40, 25),
    "cream_cheese": (-25, 25, 30),
    "ketchup": (-60, 40, 25),
    "milk": (-60, 40, 30),
    "orange_juice": (-60, 40, 25),
    "salad_dressing": (-60, 40, 25),
    "tomato_sauce": (-60, 40, 25),
}
PANDA_OPENING_MM = 80.0


@pytest.fixture(scope="module")
def primitive() -> AssetPack:
    return find_pack("primitive")


def compiled(pack: AssetPack, category: str) -> mujoco.MjModel:
    """One object alone, with mass from group 0 only, as robosuite's base file sets it."""
    path = object_file(pack.folder, category)
    assert path is not None
    spec = mujoco.MjSpec.from_file(str(path))
    spec.compiler.inertiagrouprange = [0, 0]
    return spec.compile()


def collision_extent_mm(model: mujoco.MjModel) -> NDArray[np.float64]:
    """Low and high corner (2, 3) of the axis-aligned box around the collision boxes, in the body frame."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    solid = model.geom_group == 0
    assert (model.geom_type[solid] == mujoco.mjtGeom.mjGEOM_BOX).all()
    turn_N33, centre_N3 = data.geom_xmat[solid].reshape(-1, 3, 3), data.geom_xpos[solid]
    half_N3 = np.einsum("nij,nj->ni", np.abs(turn_N33), model.geom_size[solid])
    return 1000 * np.stack([(centre_N3 - half_N3).min(0), (centre_N3 + half_N3).max(0)])


def rest(model_path: Path, height_mm: float, attitude: tuple[int, ...]) -> tuple[NDArray[np.float64], float]:
    """Let one object go on the floor for half a second; its position (mm) then, and its rotation since (degrees)."""
    spec = mujoco.MjSpec.from_file(str(model_path))
    spec.compiler.inertiagrouprange = [0, 0]
    spec.option.cone, spec.option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, 20
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[3, 3, 0.1])
    spec.worldbody.bodies[0].add_joint(type=mujoco.mjtJoint.mjJNT_FREE)
    model = spec.compile()
    data = mujoco.MjData(model)
    start = np.asarray(attitude) / np.linalg.norm(attitude)
    data.qpos[:] = [0, 0, height_mm / 1000, *start]
    mujoco.mj_step(model, data, nstep=250)
    cosine = min(1.0, abs(float(start @ data.qpos[3:])))
    return 1000 * data.qpos[:3], float(np.degrees(2 * np.arccos(cosine)))


def test_the_primitive_pack_covers_all_130_tasks_and_nothing_else(primitive: AssetPack) -> None:
    needed: set[str] = set()
    tasks = list_tasks()
    for task in tasks:
        problem = read_problem(bddl_path(task))
        categories = {*problem.objects.values(), *problem.fixtures.values()}
        primitive.check(problem.name, categories)
        needed |= categories
    assert len(tasks) == 130
    assert len(needed) == 38
    assert set(primitive.contents) == set(CATEGORIES) == needed - WORKSPACES


@pytest.mark.parametrize("category", LIBERO_FACTS)
def test_an_object_weighs_and_measures_what_liberos_does(primitive: AssetPack, category: str) -> None:
    mass_g, low_mm, high_mm, _ = LIBERO_FACTS[category]
    model = compiled(primitive, category)
    assert 1000 * model.body_subtreemass[0] == pytest.approx(mass_g, abs=0.01)
    np.testing.assert_allclose(collision_extent_mm(model), (low_mm, high_mm), atol=1.1)


@pytest.mark.parametrize("category", LIBERO_FACTS)
def test_the_sites_are_where_libero_reads_them(primitive: AssetPack, category: str) -> None:
    model = compiled(primitive, category)
    sites = {model.site(i).name: 1000 * model.site_pos[i] for i in range(model.nsite)}
    bottom, top, radius = LIBERO_SITES[category]
    expected: dict[str, tuple[float, float, float]] = {
        "bottom_site": (0, 0, bottom),
        "top_site": (0, 0, top),
        "horizontal_radius_site": (radius, radius, 0),
    }
    if category == "basket":
        expected["contain_region"] = (0, 0, 71.85)
        half_mm = 1000 * model.site("contain_region").size
        np.testing.assert_allclose(half_mm, (61.08, 61.08, 69.49), atol=1e-3)
    assert sites.keys() == expected.keys()
    for name, position in expected.items():
        np.testing.assert_allclose(sites[name], position, atol=1e-3)


@pytest.mark.parametrize("category", LIBERO_FACTS)
def test_an_object_comes_to_rest_where_liberos_does(primitive: AssetPack, category: str) -> None:
    """From the official start, which may be 4 cm inside the floor, straight up or down to LIBERO's height."""
    path = object_file(primitive.folder, category)
    assert path is not None
    position_mm, tilt_deg = rest(path, *OFFICIAL_START[category])
    np.testing.assert_allclose(position_mm, (0, 0, LIBERO_FACTS[category][-1]), atol=0.3)
    assert tilt_deg < 0.1


@pytest.mark.parametrize("category", sorted(set(LIBERO_FACTS) - {"basket"}))
def test_the_gripper_can_close_on_it_in_the_official_attitude(primitive: AssetPack, category: str) -> None:
    """The fingers move along world y; at the grasp they need clearance on either side."""
    _, attitude = OFFICIAL_START[category]
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, np.asarray(attitude) / np.linalg.norm(attitude))
    low, high = collision_extent_mm(compiled(primitive, category))
    across = (np.abs(turn.reshape(3, 3)) @ (high - low))[1]
    assert across < PANDA_OPENING_MM - 10


@pytest.mark.parametrize("category", CATEGORIES)
def test_drawn_shapes_neither_touch_nor_weigh_and_a_body_is_one_draw_call(primitive: AssetPack, category: str) -> None:
    model = compiled(primitive, category)
    drawn, solid = model.geom_group == 1, model.geom_group == 0
    assert (drawn | solid).all()
    assert not model.geom_contype[drawn].any()
    assert not model.geom_conaffinity[drawn].any()
    assert (model.geom_contype | model.geom_conaffinity)[solid].all()
    assert len(set(model.geom_bodyid[drawn])) == drawn.sum()
    assert model.mesh_facenum.sum() < 1000
    assert solid.sum() <= (5 if category in LIBERO_FACTS else 36)


def test_a_cans_outline_is_a_regular_octagon(primitive: AssetPack) -> None:
    """Whatever the direction, a can is between its radius and 1/cos(22.5 deg) of it away from its axis."""
    model = compiled(primitive, "alphabet_soup")
    solid = model.geom_group == 0
    corners = np.array(
        [(x, z) for half in model.geom_size[solid] for x in (half[0], -half[0]) for z in (half[1], -half[1])]
    )
    directions = np.linspace(0, 2 * np.pi, 720)
    reach = (corners @ np.stack([np.cos(directions), np.sin(directions)])).max(0)
    radius = 0.0312
    assert reach.min() == pytest.approx(radius, abs=2e-5)
    assert reach.max() == pytest.approx(radius / np.cos(np.pi / 8), abs=2e-5)


# Between them these two have all ten groceries; the others are variations.
@pytest.mark.parametrize(
    "index", [0, 9, *(pytest.param(index, marks=pytest.mark.slow) for index in range(1, 9))], ids=str
)
def test_libero_builds_the_task_and_its_official_states_fit(index: int) -> None:
    scene = load_scene(get_task("libero_object", index), "primitive")
    states_NX = official_states(scene).states_NX
    assert states_NX.shape == (50, 1 + scene.model.nq + scene.model.nv)
    for name in scene.problem.objects:
        body = scene.model.body(f"{name}_main")
        assert scene.model.joint(body.jntadr[0]).name == f"{name}_joint0"
    assert scene.model.site("basket_1_contain_region").bodyid == scene.model.body("basket_1_main").id


def test_the_pack_is_the_same_in_another_process(primitive: AssetPack) -> None:
    code = "from tgrpo_envs.assets.primitive.generate import pack_digest; print(pack_digest())"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == primitive.digest
    for name, content in render_files().items():
        assert (primitive.folder / name).read_bytes() == content


def test_many_that_generate_at_once_agree_and_leave_nothing_behind(tmp_path: Path) -> None:
    for trial in range(5):
        parent, start = tmp_path / str(trial), threading.Barrier(8)

        def generate(_: int, parent: Path = parent, start: threading.Barrier = start) -> Path:
            start.wait()
            return generate_pack(parent)

        with ThreadPoolExecutor(8) as pool:
            folders = set(pool.map(generate, range(8)))
        assert [entry for entry in parent.iterdir() if not entry.name.endswith(".txt")] == list(folders)


def test_a_pack_that_exists_is_found_without_rendering_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = generate_pack(tmp_path)
    (note,) = tmp_path.glob("*.txt")
    with monkeypatch.context() as patch:
        patch.setattr(generate, "pack_digest", lambda: pytest.fail("rendered"))
        assert generate_pack(tmp_path) == folder
    for damage in ("primitive-0", "..", ""):  # a pack that was deleted, and nonsense
        note.write_text(damage)
        assert generate_pack(tmp_path) == folder
        assert note.read_text() == folder.name
    monkeypatch.setattr(generate, "_sources_digest", lambda: "changed")
    monkeypatch.setattr(generate, "pack_digest", lambda: "changed")
    assert generate_pack(tmp_path) == tmp_path / "primitive-changed"


def test_the_textures_are_pictures(primitive: AssetPack) -> None:
    floor = iio.imread(primitive.folder / "textures/light-gray-floor-tile.png")
    wall = iio.imread(primitive.folder / "textures/light-gray-plaster.png")
    assert floor.shape == (64, 64, 3)
    assert wall.shape == (4, 4, 3)
    assert len(np.unique(wall.reshape(-1, 3), axis=0)) == 1
    assert floor.std() > 5  # planks and seams, not one colour
