"""The model that is drawn at detail `fast`: what is merged, and that everything stays in its place and colour."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers.opengl_drawn import posed
from tgrpo_envs.scene.drawn import make_drawn_model
from tgrpo_envs.scene.textures import Texture, shrink

# Corners of a tetrahedron whose faces look outwards.
MESH = '<mesh name="{}" vertex="0 0 0  0.1 0 0  0 0.1 0  0 0 0.1" face="0 2 1  0 1 3  0 3 2  1 2 3"/>'
XML = f"""
<mujoco>
  <asset>{MESH.format("one")}{MESH.format("two")}</asset>
  <worldbody>
    <camera name="eye" pos="0 0 2"/>
    <light pos="0 0 3"/>
    <body name="arm" pos="1 0 0"><freejoint/>
      <geom type="mesh" mesh="one" group="1" rgba="1 0 0 1" contype="0" conaffinity="0"/>
      <geom type="sphere" size="0.1" group="0"/>
      <site name="hidden" rgba="1 0 0 -1"/>
      <body name="hand" pos="0 0 0.5" quat="0 0 0 1">
        <geom type="mesh" mesh="two" group="1" rgba="0 1 0 1" contype="0" conaffinity="0"/>
        <geom type="mesh" mesh="two" group="1" rgba="0 1 0 0.5" contype="0" conaffinity="0"/>
        <geom type="box" size="0.1 0.2 0.3" group="1" rgba="0 0 1 1" contype="0" conaffinity="0"/>
      </body>
    </body>
    <body name="shelf" pos="0 1 0">
      <geom type="mesh" mesh="one" group="1" rgba="1 0 0 1" contype="0" conaffinity="0"/>
    </body>
    <body name="table">
      <geom type="mesh" mesh="one" group="1" rgba="1 0 0 1" contype="0" conaffinity="0"/>
    </body>
  </worldbody>
</mujoco>
"""
ARM, HAND, SHELF, TABLE = 1, 2, 3, 4


@pytest.fixture
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(XML)


def rows(model: mujoco.MjModel) -> NDArray[np.int32]:
    return np.zeros(model.nbody, dtype=np.int32)


def corners(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> set[tuple[float, ...]]:
    """Where the corners of a mesh are in the world, to a micrometre."""
    mesh = int(model.geom_dataid[geom])
    first = model.mesh_vertadr[mesh]
    inside_V3 = model.mesh_vert[first : first + model.mesh_vertnum[mesh]]
    places_V3 = inside_V3 @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]
    return {tuple(place) for place in (np.round(places_V3, 6) + 0.0).tolist()}


def test_what_moves_together_is_one_mesh_in_its_place(model: mujoco.MjModel) -> None:
    drawn = make_drawn_model(model, {SHELF}, rows(model))
    # arm and hand; the transparent one; the box; the shelf, which may be moved; the table
    assert sorted(zip(drawn.geom_bodyid.tolist(), drawn.geom_type.tolist(), strict=True)) == [
        (ARM, 7), (HAND, 6), (HAND, 7), (SHELF, 7), (TABLE, 7),
    ]  # fmt: skip
    data = mujoco.MjData(model)
    data.qpos[:] = [0.3, 0.2, 0.1, 0.5, 0.5, -0.5, 0.5]
    model.body_pos[SHELF] = [7.0, 0.0, 0.0]  # as fixtures are placed
    mujoco.mj_forward(model, data)
    pose = posed(drawn, data)
    (merged,) = np.flatnonzero(drawn.geom_bodyid == ARM).tolist()
    assert corners(drawn, pose, merged) == corners(model, data, 0) | corners(model, data, 2)
    (shelf,) = np.flatnonzero(drawn.geom_bodyid == SHELF).tolist()
    assert corners(drawn, pose, shelf) == corners(model, data, 5)
    (box,) = np.flatnonzero(drawn.geom_type == 6)
    np.testing.assert_allclose(pose.geom_xpos[box], data.geom_xpos[4], atol=1e-12)
    np.testing.assert_allclose(pose.geom_xmat[box], data.geom_xmat[4], atol=1e-12)
    assert drawn.geom_size[box].tolist() == [0.1, 0.2, 0.3]


def test_each_face_keeps_its_colour(model: mujoco.MjModel) -> None:
    drawn = make_drawn_model(model, {SHELF}, rows(model))
    (geom,) = np.flatnonzero(drawn.geom_bodyid == ARM)
    texture = int(drawn.mat_texid[drawn.geom_matid[geom], 1])
    width = int(drawn.tex_width[texture])
    texels = drawn.tex_data[drawn.tex_adr[texture] :][: 3 * width].reshape(width, 3)
    first = int(drawn.mesh_texcoordadr[drawn.geom_dataid[geom]])
    count = int(drawn.mesh_vertnum[drawn.geom_dataid[geom]])
    across = drawn.mesh_texcoord[first : first + count, 0] * width - 0.5
    np.testing.assert_allclose(across, np.round(across), atol=1e-5)  # in the middle of a texel, where nothing blends
    found = {tuple(texels[round(column)]) for column in across.tolist()}
    assert found == {(255, 0, 0), (0, 255, 0)}


def test_bodies_that_a_segmentation_tells_apart_stay_apart(model: mujoco.MjModel) -> None:
    drawn = make_drawn_model(model, {SHELF}, np.array([0, 1, 2, 3, 4], dtype=np.int32))
    assert sorted(drawn.geom_bodyid.tolist()) == [ARM, HAND, HAND, HAND, SHELF, TABLE]


def test_what_is_too_small_to_have_a_face_left_is_not_drawn() -> None:
    """As a part of LIBERO's microwave, 0.4 mm across; opaque or not."""
    speck = MESH.format("speck").replace("<mesh", '<mesh scale="0.004 0.004 0.004" inertia="shell"')
    geoms = "".join(
        f'<body><geom type="mesh" mesh="{mesh}" group="1" rgba="1 0 0 {alpha}" contype="0" conaffinity="0"/></body>'
        for mesh, alpha in (("speck", 1), ("speck", 0.5), ("one", 1))
    )
    xml = f"<mujoco><asset>{MESH.format('one')}{speck}</asset><worldbody>{geoms}</worldbody></mujoco>"
    small = mujoco.MjModel.from_xml_string(xml)
    drawn = make_drawn_model(small, {1, 2, 3}, rows(small))
    assert drawn.geom_bodyid.tolist() == [3]


def test_the_model_is_not_changed(model: mujoco.MjModel) -> None:
    before, after = (np.empty(mujoco.mj_sizeModel(model), np.uint8) for _ in range(2))
    mujoco.mj_saveModel(model, None, before)
    make_drawn_model(model, {SHELF}, rows(model))
    mujoco.mj_saveModel(model, None, after)
    assert np.array_equal(before, after)


def test_large_textures_are_halved_by_means() -> None:
    texels = np.zeros((2048, 2048, 3), np.uint8)
    texels[0::2, 0::2] = 200  # one of each four
    small = shrink(Texture(0, texels))
    assert small.texels.shape == (1024, 1024, 3)
    assert (small.texels == 50).all()
    odd = Texture(0, np.zeros((1035, 1035, 3), np.uint8))
    assert shrink(odd).texels.shape == odd.texels.shape
