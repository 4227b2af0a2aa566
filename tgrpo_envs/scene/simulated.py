"""The model that is simulated: LIBERO's without what is only looked at, so that it takes a few megabytes.

Nine tenths and more of a compiled scene are visual meshes, the trees of boxes around their triangles, and textures.
Nothing of them takes part in physics. Every body, geom, site, camera and light keeps its number and its values.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tgrpo_envs.errors import SceneError
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.snapshot import BoolArray

_MESH = int(mujoco.mjtGeom.mjGEOM_MESH)
_LOOKS = ("texture", "material")
# What differs or counts what differs. All else is copied, for what a compiler derives from masses, such as the weights
# of constraints, counts visual geoms where their file gives them a mass.
_OF_MESHES = ("mesh_", "mat_", "tex_", "bvh_", "names", "paths", "name_", "body_bvh")
_OF_SHAPES = {"geom_type", "geom_dataid", "geom_matid", "geom_size", "geom_rbound", "geom_aabb", "site_matid"}
_STATISTICS = ("center", "extent", "meaninertia", "meanmass", "meansize")


def make_simulated_model(xml: str, whole: mujoco.MjModel) -> mujoco.MjModel:
    """A scene's model without visual meshes, materials and textures; a small ball stands for each visual mesh.

    Args:
        xml: The scene's MJCF.
        whole: What it compiles to; the model's values are taken from it.

    Raises:
        SceneError: The MJCF has other geoms than the compiled model, or what collides would change.
    """
    root = ET.fromstring(xml)
    world = root.find("worldbody")
    geoms = [] if world is None else list(_geoms(world))
    if len(geoms) != whole.ngeom:
        raise SceneError(f"The generated MJCF has {len(geoms)} geoms and compiles to {whole.ngeom}.")
    collides_G = colliding(whole)
    kept: set[str] = set()
    for geom, element in enumerate(geoms):
        if (mesh := element.get("mesh")) is None:
            continue
        if whole.geom_type[geom] == _MESH and not collides_G[geom]:
            del element.attrib["mesh"]
            element.attrib |= {"type": "sphere", "size": "0.001"}
        else:  # it collides, or is a plain shape of the mesh's size
            kept.add(mesh)
    for assets in root.findall("asset"):
        for asset in list(assets):
            name = asset.get("name") or Path(asset.get("file", "")).stem
            if asset.tag in _LOOKS or (asset.tag == "mesh" and name not in kept):
                assets.remove(asset)
    for element in root.iter():
        element.attrib.pop("material", None)
    model = mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))
    _copy_values(whole, model, collides_G)
    return model


def colliding(model: mujoco.MjModel) -> BoolArray:
    """(G,) which geoms can touch anything; the others are only looked at."""
    collides_G: BoolArray = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    return collides_G


def _geoms(body: ET.Element) -> Iterator[ET.Element]:
    """As MuJoCo numbers them: a body's own, then those of the bodies in it."""
    yield from body.findall("geom")
    for inner in body.findall("body"):
        yield from _geoms(inner)


def _copy_values(whole: mujoco.MjModel, model: mujoco.MjModel, collides_G: BoolArray) -> None:
    for name in dir(whole):
        values = getattr(whole, name)
        if isinstance(values, np.ndarray) and not name.startswith(("_", *_OF_MESHES)) and name not in _OF_SHAPES:
            getattr(model, name)[:] = values
    for name in ("geom_size", "geom_rbound", "geom_aabb"):
        if not np.array_equal(getattr(whole, name)[collides_G], getattr(model, name)[collides_G]):
            raise SceneError(f"{name} of what collides differs without what is only looked at.")
    for name in _STATISTICS:
        setattr(model.stat, name, getattr(whole.stat, name))
