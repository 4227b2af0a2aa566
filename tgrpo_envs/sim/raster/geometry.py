"""Triangles and surfaces of a drawn model, as arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.raster.shapes import Floats, Shape, builtin_shape

Ints = NDArray[np.int64]
NO_TEXTURE = -1
_FAINT = 1 / 1024  # of a highlight; eight bits do not show it
_SHININESS = 128.0  # OpenGL's exponent of MuJoCo's 1
_PLAIN = {"emission": 0.0, "specular": 0.5, "shininess": 0.5, "reflectance": 0.0}  # MuJoCo's, without a material
_SHOWN_SITES = (0, 1, 2)  # groups of sites that MuJoCo shows


class Geometry(NamedTuple):
    """G things, first the model's geoms and then its sites, with V corners and F triangles in all.

    Attributes:
        place_V3: Corners in the frame of their thing, metres.
        normal_V3: Unit normals there.
        texcoord_V3: Texture coordinates; a direction if the texture is a cube map.
        corner_F3: Rows of the corners of each triangle, counter-clockwise from outside.
        first_corner_G, first_face_G: Where each thing's rows begin; one more entry ends the last.
        centre_G3, radius_G: A ball around each thing, in its frame, metres.
        texture_G: Row of its texture, or `NO_TEXTURE`; of a cube map the first of six.
        is_cube_G: Whether the texture is a cube map.
        emission_G, specular_G, shininess_G, reflectance_G: Its material, as OpenGL takes it.
        dull_G: Below this cosine no highlight is left that eight bits could show.
    """

    place_V3: Floats
    normal_V3: Floats
    texcoord_V3: Floats
    corner_F3: NDArray[np.uint32]
    first_corner_G: Ints
    first_face_G: Ints
    centre_G3: Floats
    radius_G: Floats
    texture_G: Ints
    is_cube_G: NDArray[np.bool_]
    emission_G: Floats
    specular_G: Floats
    shininess_G: Floats
    reflectance_G: Floats
    dull_G: Floats


def read_geometry(model: mujoco.MjModel, texture_rows: list[int]) -> Geometry:
    """The geoms and sites of a drawn model (`tgrpo_envs.scene.drawn`).

    Args:
        model: The drawn model.
        texture_rows: Row of `Textures` at which each of its textures begins.

    Raises:
        RenderError: It has a shape that cannot be drawn.
    """
    meshes = [_thing(model, geom) for geom in range(model.ngeom)] + [_site(model, site) for site in range(model.nsite)]
    tables, corners = [mesh[0] for mesh in meshes], [mesh[1] for mesh in meshes]
    first_corner_G = np.cumsum([0, *(len(table) for table in tables)])
    table_VX = np.concatenate(tables).astype(np.float32)
    shifted = [corner + first for corner, first in zip(corners, first_corner_G[:-1], strict=True)]
    middles = [(t[:, :3].min(axis=0) + t[:, :3].max(axis=0)) / 2 if len(t) else np.zeros(3) for t in tables]
    radii = [np.linalg.norm(t[:, :3] - m, axis=1).max(initial=0.0) for t, m in zip(tables, middles, strict=True)]
    looks = [_material(model, geom) for geom in range(model.ngeom)] + [_PLAIN] * model.nsite
    textures = [_texture(model, geom) for geom in range(model.ngeom)] + [NO_TEXTURE] * model.nsite
    flat = int(mujoco.mjtTexture.mjTEXTURE_2D)
    shininess_G = np.array([_SHININESS * look["shininess"] for look in looks], np.float32)
    return Geometry(
        place_V3=np.ascontiguousarray(table_VX[:, :3]),
        normal_V3=np.ascontiguousarray(table_VX[:, 3:6]),
        texcoord_V3=np.ascontiguousarray(table_VX[:, 6:9]),
        corner_F3=np.concatenate(shifted).astype(np.uint32),
        first_corner_G=first_corner_G.astype(np.int64),
        first_face_G=np.cumsum([0, *(len(corner) for corner in corners)]).astype(np.int64),
        centre_G3=np.array(middles, np.float32).reshape(-1, 3),
        radius_G=np.array(radii, np.float32),
        texture_G=np.array([texture_rows[t] if t >= 0 else t for t in textures], np.int64),
        is_cube_G=np.array([t >= 0 and model.tex_type[t] != flat for t in textures], bool),
        emission_G=np.array([look["emission"] for look in looks], np.float32),
        specular_G=np.array([look["specular"] for look in looks], np.float32),
        shininess_G=shininess_G,
        reflectance_G=np.array([look["reflectance"] for look in looks], np.float32),
        dull_G=(_FAINT ** (1 / np.maximum(shininess_G, 1e-3))).astype(np.float32),
    )


def _thing(model: mujoco.MjModel, geom: int) -> tuple[Floats, NDArray[np.int64]]:
    """Corners that differ (place, normal, texture coordinates) and their rows for each triangle."""
    size_3 = _full_size(int(model.geom_type[geom]), model.geom_size[geom])
    if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
        return _mesh(model, geom, size_3)
    shape = _scaled(int(model.geom_type[geom]), size_3)
    return _shared(shape, _generated(model, geom, shape.places_C3, size_3))


def _site(model: mujoco.MjModel, site: int) -> tuple[Floats, NDArray[np.int64]]:
    if model.site_group[site] not in _SHOWN_SITES:
        return np.zeros((0, 9), np.float32), np.zeros((0, 3), np.int64)
    shape = _scaled(int(model.site_type[site]), _full_size(int(model.site_type[site]), model.site_size[site]))
    return _shared(shape, np.zeros_like(shape.places_C3))


def _shared(shape: Shape, texcoords_C3: Floats) -> tuple[Floats, NDArray[np.int64]]:
    table_CX = np.concatenate([shape.places_C3, shape.normals_C3, texcoords_C3], axis=1).astype(np.float32)
    table_VX, corner_C = np.unique(table_CX, axis=0, return_inverse=True)
    return table_VX, corner_C.reshape(-1, 3)


def _mesh(model: mujoco.MjModel, geom: int, size_3: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """A mesh whose faces name place, normal and texture coordinates by one number, as drawn models have them."""
    mesh = int(model.geom_dataid[geom])
    faces = slice(model.mesh_faceadr[mesh], model.mesh_faceadr[mesh] + model.mesh_facenum[mesh])
    place, normal, first = (
        int(table[mesh]) for table in (model.mesh_vertadr, model.mesh_normaladr, model.mesh_texcoordadr)
    )
    count = int(model.mesh_vertnum[mesh])
    places_V3, normals_V3 = model.mesh_vert[place : place + count], model.mesh_normal[normal : normal + count]
    if first >= 0:
        texcoords_V3 = np.zeros_like(places_V3)
        texcoords_V3[:, :2] = model.mesh_texcoord[first : first + count]
    else:
        texcoords_V3 = _generated(model, geom, places_V3, size_3)
    return np.concatenate([places_V3, normals_V3, texcoords_V3], axis=1), model.mesh_face[faces]


def _scaled(kind: int, size_3: Floats) -> Shape:
    """A shape of MuJoCo's in metres."""
    shape = builtin_shape(kind, size_3)
    if kind == mujoco.mjtGeom.mjGEOM_PLANE:
        return shape
    normals_C3 = shape.normals_C3 / size_3
    normals_C3 /= np.linalg.norm(normals_C3, axis=1, keepdims=True)
    return Shape(shape.places_C3 * size_3, normals_C3)


def _full_size(kind: int, size_3: NDArray[np.float64]) -> Floats:
    """Half sides along the three axes; a plane's third is the distance of its lines."""
    a, b, c = (float(side) for side in size_3)
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        a, b, c = a, a, a
    elif kind in (mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_CAPSULE):
        a, b, c = a, a, b
    return np.array([a, b, c], np.float32)


def _texture(model: mujoco.MjModel, geom: int) -> int:
    material = int(model.geom_matid[geom])
    role = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
    return int(model.mat_texid[material, role]) if material >= 0 else NO_TEXTURE


def _material(model: mujoco.MjModel, geom: int) -> dict[str, float]:
    material = int(model.geom_matid[geom])
    if material < 0:
        return _PLAIN
    return {name: float(getattr(model, f"mat_{name}")[material]) for name in _PLAIN}


def _generated(model: mujoco.MjModel, geom: int, places_C3: Floats, size_3: Floats) -> Floats:
    """Texture coordinates that MuJoCo has OpenGL make from places."""
    texture, material = _texture(model, geom), int(model.geom_matid[geom])
    if texture < 0:
        return np.zeros_like(places_C3)
    scale_3 = size_3 if model.mat_texuniform[material] else np.ones(3, np.float32)
    is_metric = model.geom_type[geom] in (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_MESH)
    if model.tex_type[texture] != mujoco.mjtTexture.mjTEXTURE_2D:
        return places_C3 * scale_3 / (np.ones(3, np.float32) if is_metric else size_3)
    repeat_2 = model.mat_texrepeat[material].astype(np.float32) * scale_3[:2] / size_3[:2]
    texcoords_C3 = np.zeros_like(places_C3)
    texcoords_C3[:, 0] = 0.5 * repeat_2[0] * places_C3[:, 0] - 0.5
    texcoords_C3[:, 1] = -0.5 * repeat_2[1] * places_C3[:, 1] - 0.5
    return texcoords_C3
