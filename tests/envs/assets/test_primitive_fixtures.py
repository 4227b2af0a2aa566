"""Every category of the primitive pack against LIBERO's own file: mass, extent, bodies, joints, sites, contacts."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from tgrpo_envs.assets import AssetPack, find_pack
from tgrpo_envs.assets.layout import object_file
from tgrpo_envs.assets.primitive import CATEGORIES

# Read off LIBERO's `articulated_objects/*.xml`: joint, MuJoCo type, axis, range, damping.
HINGE, SLIDE = int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)
DRAWERS = {
    f"{level}_level": (SLIDE, (0, 1, 0), (-0.16, 0.01), 50.0, f"cabinet_{level}")
    for level in ("top", "middle", "bottom")
}
LIBERO_JOINTS = {
    "wooden_cabinet": DRAWERS,
    "white_cabinet": DRAWERS,
    "microwave": {"microjoint": (HINGE, (0, 0, 1), (-2.094, 0.0), 0.5, "microdoorroot")},
    "flat_stove": {"button": (HINGE, (0, 0, 1), (-0.005, 2.1), 1.0, "button")},
}
# How far corners of the box around the solid shapes may be from LIBERO's (mm). LIBERO's rounds are irregular: their
# boxes do not lie on one circle, so that a regular ring of the same mean radius stands out by a few millimetres.
EXTENT_TOLERANCE_MM = {"porcelain_mug": 5.5, "red_coffee_mug": 5.6, "wine_bottle": 2.5, "plate": 2.1}
# Of the centre of mass (mm), for things that are carried: the share of a box that lies in another counts twice.
CENTRE_TOLERANCE_MM = 7.0
FIXTURES = {*LIBERO_JOINTS, "wine_rack", "wooden_two_layer_shelf", "desk_caddy"}


@pytest.fixture(scope="module")
def primitive() -> AssetPack:
    return find_pack("primitive")


def physics(path: Path) -> mujoco.MjModel:
    """An object without what it shows: masses from group 0, as robosuite's base file has it."""
    root = ET.parse(path).getroot()
    for parent in list(root.iter()):
        parent.attrib.pop("material", None)
        for child in list(parent):
            if child.tag == "asset" or child.get("mesh") is not None:
                parent.remove(child)
    spec = mujoco.MjSpec.from_string(ET.tostring(root, encoding="unicode"))
    spec.compiler.inertiagrouprange = [0, 0]
    return spec.compile()


def ours(pack: AssetPack, category: str) -> mujoco.MjModel:
    path = object_file(pack.folder, category)
    assert path is not None
    return physics(path)


def solid_corners_mm(model: mujoco.MjModel) -> NDArray[np.float64]:
    """Low and high corner of the box around all boxes that touch, in the frame of the body `object`."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    touching = (model.geom_contype | model.geom_conaffinity) != 0
    solid = (model.geom_group == 0) & touching & (model.geom_type == mujoco.mjtGeom.mjGEOM_BOX)
    turn_33, origin_3 = data.body("object").xmat.reshape(3, 3), data.body("object").xpos
    turn_N33 = np.einsum("ji,njk->nik", turn_33, data.geom_xmat[solid].reshape(-1, 3, 3))
    half_N3 = np.einsum("nij,nj->ni", np.abs(turn_N33), model.geom_size[solid])
    centre_N3 = (data.geom_xpos[solid] - origin_3) @ turn_33
    return 1000 * np.stack([(centre_N3 - half_N3).min(0), (centre_N3 + half_N3).max(0)])


def centre_of_mass_mm(model: mujoco.MjModel) -> NDArray[np.float64]:
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    centre_3: NDArray[np.float64] = 1000 * (data.subtree_com[0] - data.body("object").xpos)
    return centre_3


@pytest.mark.parametrize("category", CATEGORIES)
def test_joints_are_liberos(primitive: AssetPack, category: str) -> None:
    model = ours(primitive, category)
    found = {
        model.joint(i).name: (
            int(model.jnt_type[i]),
            tuple(model.jnt_axis[i]),
            tuple(model.jnt_range[i]),
            model.dof_damping[i],
            model.body(model.jnt_bodyid[i]).name,
        )
        for i in range(model.njnt)
    }
    assert found == LIBERO_JOINTS.get(category, {})
    assert model.jnt_limited.all()


@pytest.mark.libero
@pytest.mark.parametrize("category", CATEGORIES)
def test_side_by_side_with_liberos_file(primitive: AssetPack, category: str) -> None:
    path = object_file(find_pack("libero").folder, category)
    assert path is not None
    model, official = ours(primitive, category), physics(path)
    assert model.body_subtreemass[0] == pytest.approx(official.body_subtreemass[0], rel=1e-3)
    tolerance = EXTENT_TOLERANCE_MM.get(category, 1.9)
    np.testing.assert_allclose(solid_corners_mm(model), solid_corners_mm(official), atol=tolerance)
    if category not in FIXTURES:
        np.testing.assert_allclose(centre_of_mass_mm(model), centre_of_mass_mm(official), atol=CENTRE_TOLERANCE_MM)
    compare_bodies(model, official)
    compare_joints(model, official)
    compare_sites(model, official)
    compare_contacts(model, official)


def compare_bodies(model: mujoco.MjModel, official: mujoco.MjModel) -> None:
    names = [model.body(i).name for i in range(model.nbody)]
    assert names == [official.body(i).name for i in range(official.nbody)]
    np.testing.assert_array_equal(model.body_parentid, official.body_parentid)
    # The position of the body `object` itself is overwritten by its joint or by LIBERO's placement.
    inner = [i for i, name in enumerate(names) if name != "object"]
    np.testing.assert_allclose(model.body_pos[inner], official.body_pos[inner], atol=1e-6)
    np.testing.assert_allclose(model.body_quat[inner], official.body_quat[inner], atol=1e-6)


def compare_joints(model: mujoco.MjModel, official: mujoco.MjModel) -> None:
    assert [model.joint(i).name for i in range(model.njnt)] == [official.joint(i).name for i in range(official.njnt)]
    for field in ("jnt_type", "jnt_axis", "jnt_pos", "jnt_range", "jnt_limited", "jnt_bodyid", "jnt_stiffness"):
        np.testing.assert_array_equal(getattr(model, field), getattr(official, field))
    for field in ("dof_damping", "dof_frictionloss", "dof_armature"):
        np.testing.assert_array_equal(getattr(model, field), getattr(official, field))
    # What moves has LIBERO's inertia too.
    moving = sorted(set(model.jnt_bodyid))
    np.testing.assert_allclose(model.body_mass[moving], official.body_mass[moving], rtol=1e-6)
    np.testing.assert_allclose(model.body_ipos[moving], official.body_ipos[moving], atol=2e-5)
    np.testing.assert_allclose(model.body_inertia[moving], official.body_inertia[moving], rtol=0.02)


def compare_sites(model: mujoco.MjModel, official: mujoco.MjModel) -> None:
    names = {official.site(i).name for i in range(official.nsite)}
    assert {model.site(i).name for i in range(model.nsite)} == names
    for name in names:
        site, other = model.site(name), official.site(name)
        assert model.body(site.bodyid[0]).name == official.body(other.bodyid[0]).name
        np.testing.assert_allclose(site.pos, other.pos, atol=1e-6)
        np.testing.assert_allclose(site.quat, other.quat, atol=1e-4)
        assert site.type == other.type
        if site.type == mujoco.mjtGeom.mjGEOM_BOX:
            np.testing.assert_allclose(site.size, other.size, atol=1e-6)
        assert (site.rgba[3] > 0) == (other.rgba[3] > 0)  # the stove's glow is meant to be seen


def compare_contacts(model: mujoco.MjModel, official: mujoco.MjModel) -> None:
    """The same sets of contact parameters body by body."""
    for body in range(model.nbody):
        for field in ("friction", "solref", "solimp", "margin", "contype", "conaffinity", "condim"):
            sets = []
            for either in (model, official):
                touching = (either.geom_contype | either.geom_conaffinity) != 0
                chosen = (either.geom_group == 0) & touching & (either.geom_bodyid == body)
                values = np.atleast_2d(getattr(either, f"geom_{field}").T).T
                sets.append({tuple(row) for row in values[chosen]})
            assert sets[0] == sets[1], (model.body(body).name, field)
