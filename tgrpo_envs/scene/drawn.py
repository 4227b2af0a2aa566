"""The model that is drawn at detail `fast`: visual geoms that move together and look alike are one mesh.

Fewer geoms have fewer poses, and LIBERO's Panda alone has 58. Physics keeps the scene's own model. This one has its
bodies, cameras, lights and sites by the same numbers, but no joints and no collision shapes; `tgrpo_envs.sim.raster`
puts its geoms where the physics has their bodies.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import SceneError
from tgrpo_envs.scene.detail import reduced_faces
from tgrpo_envs.scene.textures import Texture, read_texture, shrink
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.render import visual_option
from tgrpo_envs.sim.snapshot import FloatArray
from tgrpo_envs.sim.visual import OPAQUE, rotation_matrix

_MESH = int(mujoco.mjtGeom.mjGEOM_MESH)
_GEOM = int(mujoco.mjtObj.mjOBJ_GEOM)
_FLAT_TEXTURE = int(mujoco.mjtTexture.mjTEXTURE_2D)
_COLOUR = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
_SHARPEST = 0.8  # a mesh without texture is lit by its faces' normals where a corner's deviates more (cosine)
_SAME_PLACE = 6  # decimals of metres
_SAME_NORMAL = 0.9  # cosine
_NO_TEXTURE = -1
_PALETTE = -2
_WHITE = (1.0, 1.0, 1.0, 1.0)


class _Look(NamedTuple):
    """What a picture needs to know about a surface; `texture` is the model's number, `_NO_TEXTURE` or `_PALETTE`."""

    rgba: tuple[float, ...]
    emission: float
    specular: float
    shininess: float
    reflectance: float
    texture: int = _NO_TEXTURE
    repeat: tuple[float, ...] = (1.0, 1.0)
    uniform: bool = False


@dataclass(frozen=True)
class _Corners:
    """Three corners of each face, in the frame of the body: places in metres, unit normals, texture coordinates."""

    places_C3: FloatArray
    normals_C3: FloatArray
    texcoords_C2: FloatArray | None


class _Item(NamedTuple):
    """One geom of the drawn model: of which body, what shape, where in the body, which corners if it is a mesh."""

    body: int
    type: int
    size: FloatArray
    pos: FloatArray
    quat: FloatArray
    radius: float
    look: _Look
    corners: _Corners | None


class _Mounting(NamedTuple):
    """Where each body sits in the body that carries it: the next one upwards that can move."""

    carrier_B: NDArray[np.int64]
    pos_B3: FloatArray
    mat_B33: FloatArray


def make_drawn_model(model: mujoco.MjModel, loose: Collection[int], rows_B: NDArray[np.integer]) -> mujoco.MjModel:
    """The model to draw in place of `model`, which is not changed.

    Args:
        model: The scene's model.
        loose: Bodies without joints that are moved all the same: fixtures.
        rows_B: What a segmentation shows of each body. Bodies that differ in it are not merged.

    Raises:
        SceneError: MuJoCo refuses the model that was made.
    """
    mounting = _mountings(model, loose)
    items: list[_Item | None] = []
    groups: dict[tuple[int, int, _Look], list[tuple[int, _Look]]] = {}
    for shown in _shown_geoms(model):
        geom, look = int(shown.objid), _look(model, shown)
        if not _can_merge(model, shown, look):
            items.append(_single(model, geom, look))
            continue
        body = int(model.geom_bodyid[geom])
        shared = look if look.texture >= 0 else look._replace(rgba=_WHITE, texture=_PALETTE)
        groups.setdefault((int(mounting.carrier_B[body]), int(rows_B[body]), shared), []).append((geom, look))
    palette = sorted({look.rgba for members in groups.values() if _is_motley(members) for _, look in members})
    merged = [_merged(model, mounting, look, members, palette) for (_, _, look), members in groups.items()]
    return _compile(model, [item for item in (*items, *merged) if item is not None], palette)


def _mountings(model: mujoco.MjModel, loose: Collection[int]) -> _Mounting:
    carrier_B = np.arange(model.nbody)
    pos_B3, mat_B33 = np.zeros((model.nbody, 3)), np.tile(np.eye(3), (model.nbody, 1, 1))
    for body in range(1, model.nbody):  # parents come before their children
        if model.body_jntnum[body] or model.body_mocapid[body] >= 0 or body in loose:
            continue
        parent = model.body_parentid[body]
        carrier_B[body] = carrier_B[parent]
        pos_B3[body] = pos_B3[parent] + mat_B33[parent] @ model.body_pos[body]
        mat_B33[body] = mat_B33[parent] @ rotation_matrix(model.body_quat[body])
    return _Mounting(carrier_B, pos_B3, mat_B33)


def _shown_geoms(model: mujoco.MjModel) -> list[Any]:
    """MuJoCo's own account of the geoms it would draw: colours and materials are resolved there."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    scene = mujoco.MjvScene(model, maxgeom=2 * model.ngeom + model.nsite + 100)
    camera, everything = mujoco.MjvCamera(), mujoco.mjtCatBit.mjCAT_ALL
    mujoco.mjv_updateScene(model, data, visual_option(), mujoco.MjvPerturb(), camera, everything, scene)
    return [geom for geom in scene.geoms[: scene.ngeom] if geom.objtype == _GEOM]


def _look(model: mujoco.MjModel, shown: Any) -> _Look:
    look = _Look(
        rgba=tuple(map(float, shown.rgba)),
        emission=float(shown.emission),
        specular=float(shown.specular),
        shininess=float(shown.shininess),
        reflectance=float(shown.reflectance),
    )
    material = int(model.geom_matid[shown.objid])
    if material < 0 or (texture := int(model.mat_texid[material, _COLOUR])) < 0:
        return look
    repeat = tuple(map(float, model.mat_texrepeat[material]))
    return look._replace(texture=texture, repeat=repeat, uniform=bool(model.mat_texuniform[material]))


def _can_merge(model: mujoco.MjModel, shown: Any, look: _Look) -> bool:
    """Whether the surface stays as it is in another frame and beside others."""
    if shown.type != _MESH or look.rgba[3] < OPAQUE:
        return False
    has_texcoords = model.mesh_texcoordadr[model.geom_dataid[shown.objid]] >= 0
    is_flat = look.texture >= 0 and model.tex_type[look.texture] == _FLAT_TEXTURE
    return look.texture < 0 or (is_flat and has_texcoords and not look.uniform)


def _is_motley(members: Sequence[tuple[int, _Look]]) -> bool:
    """Whether plain geoms of several colours come together, so that a texture has to colour them."""
    return members[0][1].texture < 0 and len({look.rgba for _, look in members}) > 1


def _single(model: mujoco.MjModel, geom: int, look: _Look) -> _Item | None:
    """A geom as it is, but for its faces; None where it is too small for one to be left."""
    corners = _corners(model, int(model.geom_dataid[geom])) if model.geom_type[geom] == _MESH else None
    if corners is not None and not len(corners.places_C3):
        return None
    return _Item(
        body=int(model.geom_bodyid[geom]),
        type=int(model.geom_type[geom]),
        size=model.geom_size[geom].copy(),
        pos=model.geom_pos[geom].copy(),
        quat=model.geom_quat[geom].copy(),
        radius=float(model.geom_rbound[geom]),
        look=look,
        corners=corners,
    )


def _merged(
    model: mujoco.MjModel,
    mounting: _Mounting,
    look: _Look,
    members: Sequence[tuple[int, _Look]],
    palette: Sequence[tuple[float, ...]],
) -> _Item | None:
    """One mesh of geoms that share a carrier and a look, around the centre of their box, in the first one's body.

    None where all are too small for a face to be left.
    """
    body = int(model.geom_bodyid[members[0][0]])
    is_motley = _is_motley(members)
    places, normals, texcoords = [], [], []
    for geom, own in members:
        corners = _corners(model, int(model.geom_dataid[geom]))
        at = int(model.geom_bodyid[geom])
        turn_33 = mounting.mat_B33[body].T @ mounting.mat_B33[at]
        shift_3 = mounting.mat_B33[body].T @ (mounting.pos_B3[at] - mounting.pos_B3[body])
        mat_33 = turn_33 @ rotation_matrix(model.geom_quat[geom])
        places.append(corners.places_C3 @ mat_33.T + turn_33 @ model.geom_pos[geom] + shift_3)
        normals.append(corners.normals_C3 @ mat_33.T)
        texcoords_C2 = corners.texcoords_C2
        if is_motley:
            middle = (palette.index(own.rgba) + 0.5) / len(palette)
            texcoords_C2 = np.tile([middle, 0.5], (len(corners.places_C3), 1))
        # Without any, MuJoCo would look for sharp corners again: nothing else tells it that there are none.
        texcoords.append(np.zeros((len(corners.places_C3), 2)) if texcoords_C2 is None else texcoords_C2)
    places_C3 = np.concatenate(places)
    if not len(places_C3):
        return None
    centre_3 = (places_C3.min(axis=0) + places_C3.max(axis=0)) / 2
    places_C3 -= centre_3
    normals_C3 = _smooth(places_C3, np.concatenate(normals))
    if look.texture == _PALETTE and not is_motley:
        look = members[0][1]
    return _Item(
        body=body,
        type=_MESH,
        size=np.abs(places_C3).max(axis=0),
        pos=centre_3,
        quat=np.array([1.0, 0.0, 0.0, 0.0]),
        radius=float(np.linalg.norm(places_C3, axis=1).max()),
        look=look,
        corners=_Corners(places_C3, normals_C3, np.concatenate(texcoords)),
    )


def _smooth(places_C3: FloatArray, normals_C3: FloatArray) -> FloatArray:
    """Normals at one place that hardly differ become one, so that faces share their corners there.

    Every corner that differs in anything is projected and lit by itself.
    """
    _, place_C = np.unique(np.round(places_C3, _SAME_PLACE), axis=0, return_inverse=True)
    smooth_C3 = normals_C3.copy()
    order_C = np.argsort(place_C.ravel(), kind="stable")
    for corners in np.split(order_C, np.flatnonzero(np.diff(place_C.ravel()[order_C])) + 1):
        left = corners
        while len(left):
            is_near = normals_C3[left] @ normals_C3[left[0]] >= _SAME_NORMAL
            near, left = left[is_near], left[~is_near]
            mean_3 = normals_C3[near].sum(axis=0)
            smooth_C3[near] = mean_3 / np.linalg.norm(mean_3)
    return smooth_C3


def _corners(model: mujoco.MjModel, mesh: int) -> _Corners:
    """A mesh's faces in its own frame, lit as MuJoCo lights them."""
    corner_C, normal_C, texcoord_C = (table.ravel() for table in reduced_faces(model, mesh))
    places_C3 = model.mesh_vert[model.mesh_vertadr[mesh] + corner_C].astype(np.float64)
    normals_C3 = model.mesh_normal[model.mesh_normaladr[mesh] + normal_C].astype(np.float64)
    first = model.mesh_texcoordadr[mesh]
    if first < 0:
        a_F3, b_F3, c_F3 = places_C3[0::3], places_C3[1::3], places_C3[2::3]
        across_F3 = np.cross(b_F3 - a_F3, c_F3 - a_F3)
        across_F3 /= np.maximum(np.linalg.norm(across_F3, axis=1), 1e-30)[:, None]
        across_C3 = np.repeat(across_F3, 3, axis=0)
        is_sharp_C = (normals_C3 * across_C3).sum(axis=1) < _SHARPEST
        normals_C3[is_sharp_C] = across_C3[is_sharp_C]
        return _Corners(places_C3, normals_C3, None)
    return _Corners(places_C3, normals_C3, model.mesh_texcoord[first + texcoord_C].astype(np.float64))


def _compile(model: mujoco.MjModel, items: Sequence[_Item], palette: Sequence[tuple[float, ...]]) -> mujoco.MjModel:
    """A frame of the right sizes that MuJoCo makes, filled in place with what shall be drawn."""
    used = {item.look.texture for item in items if item.look.texture >= 0}
    used |= set(np.flatnonzero(model.tex_type == int(mujoco.mjtTexture.mjTEXTURE_SKYBOX)).tolist())
    textures = {texture: shrink(read_texture(model, texture)) for texture in sorted(used)}
    if palette:
        colours = np.array([[round(255 * level) for level in rgba[:3]] for rgba in palette], np.uint8)
        textures[_PALETTE] = Texture(_FLAT_TEXTURE, colours[None])
    looks = list(dict.fromkeys(item.look for item in items))
    meshes = [_shared_corners(item.corners) for item in items if item.corners is not None]
    spec = _frame(model, items, meshes, looks, list(textures.values()))
    try:
        drawn = spec.compile()
    except ValueError as error:
        raise SceneError(f"MuJoCo cannot compile the model that is drawn at detail 'fast' ({error}).") from error
    _fill_meshes(drawn, meshes)
    for number, texture in enumerate(textures.values()):
        texture.write(drawn, number)
    numbers = {texture: number for number, texture in enumerate(textures)}
    for material, look in enumerate(looks):
        drawn.mat_rgba[material] = look.rgba
        drawn.mat_emission[material], drawn.mat_specular[material] = look.emission, look.specular
        drawn.mat_shininess[material], drawn.mat_reflectance[material] = look.shininess, look.reflectance
        drawn.mat_texid[material, _COLOUR] = numbers.get(look.texture, _NO_TEXTURE)
        drawn.mat_texrepeat[material], drawn.mat_texuniform[material] = look.repeat, look.uniform
    for geom in range(drawn.ngeom):
        item = items[int(drawn.geom(geom).name)]
        drawn.geom_pos[geom], drawn.geom_quat[geom], drawn.geom_size[geom] = item.pos, item.quat, item.size
        drawn.geom_rbound[geom], drawn.geom_rgba[geom] = item.radius, item.look.rgba
        drawn.geom_matid[geom] = looks.index(item.look)
    _copy_view(model, drawn)
    return drawn


@dataclass(frozen=True)
class _Mesh:
    """Corners that faces share."""

    places_V3: NDArray[np.float32]
    normals_V3: NDArray[np.float32]
    texcoords_V2: NDArray[np.float32] | None
    faces_F3: NDArray[np.int32]


def _shared_corners(corners: _Corners) -> _Mesh:
    columns = [corners.places_C3, corners.normals_C3]
    if corners.texcoords_C2 is not None:
        columns.append(corners.texcoords_C2)
    table_CX = np.concatenate(columns, axis=1).astype(np.float32)
    table_VX, number_C = np.unique(table_CX, axis=0, return_inverse=True)
    texcoords_V2 = np.ascontiguousarray(table_VX[:, 6:]) if corners.texcoords_C2 is not None else None
    return _Mesh(table_VX[:, :3], table_VX[:, 3:6], texcoords_V2, number_C.reshape(-1, 3).astype(np.int32))


def _frame(
    model: mujoco.MjModel,
    items: Sequence[_Item],
    meshes: Sequence[_Mesh],
    looks: Sequence[_Look],
    textures: Sequence[Texture],
) -> mujoco.MjSpec:
    """What MuJoCo compiles: the right number of everything, with the right number of corners and texels."""
    spec = mujoco.MjSpec()
    for number, texture in enumerate(textures):
        builtin = mujoco.mjtBuiltin.mjBUILTIN_FLAT
        height = -(-texture.texels.size // 3)
        spec.add_texture(name=str(number), type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=builtin, width=1, height=height)
    for number in range(len(looks)):
        spec.add_material(name=str(number))
    for number, mesh in enumerate(meshes):
        texcoords = {} if mesh.texcoords_V2 is None else {"usertexcoord": mesh.texcoords_V2.ravel()}
        spec.add_mesh(
            name=str(number),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
            uservert=mesh.places_V3.ravel(),
            userface=mesh.faces_F3.ravel(),
            **texcoords,
        )
    bodies = [spec.worldbody, *(spec.worldbody.add_body() for _ in range(1, model.nbody))]
    mesh_number = 0
    for number, item in enumerate(items):
        shape = {"meshname": str(mesh_number)} if item.corners is not None else {"size": item.size}
        mesh_number += item.corners is not None
        bodies[item.body].add_geom(
            name=str(number), type=mujoco.mjtGeom(item.type), group=1, contype=0, conaffinity=0, material="0", **shape
        )
    for site in range(model.nsite):
        bodies[model.site_bodyid[site]].add_site()
    for camera in range(model.ncam):
        bodies[model.cam_bodyid[camera]].add_camera(name=model.camera(camera).name)
    for light in range(model.nlight):
        bodies[model.light_bodyid[light]].add_light()
    return spec


def _fill_meshes(drawn: mujoco.MjModel, meshes: Sequence[_Mesh]) -> None:
    """MuJoCo has moved each mesh to its centre of mass and made up its normals, one a vertex."""
    for number, mesh in enumerate(meshes):
        first, normal, face = (
            int(table[number]) for table in (drawn.mesh_vertadr, drawn.mesh_normaladr, drawn.mesh_faceadr)
        )
        counts = (drawn.mesh_vertnum[number], drawn.mesh_normalnum[number], drawn.mesh_facenum[number])
        if counts != (len(mesh.places_V3), len(mesh.places_V3), len(mesh.faces_F3)):
            raise SceneError(f"MuJoCo made {counts} vertices, normals and faces of a mesh with {mesh.faces_F3.shape}.")
        drawn.mesh_vert[first : first + counts[0]] = mesh.places_V3
        drawn.mesh_normal[normal : normal + counts[1]] = mesh.normals_V3
        rows = slice(face, face + counts[2])
        drawn.mesh_face[rows] = drawn.mesh_facenormal[rows] = drawn.mesh_facetexcoord[rows] = mesh.faces_F3
        if mesh.texcoords_V2 is not None:
            first = int(drawn.mesh_texcoordadr[number])
            drawn.mesh_texcoord[first : first + counts[0]] = mesh.texcoords_V2


def _copy_view(model: mujoco.MjModel, drawn: mujoco.MjModel) -> None:
    """Cameras, lights, sites and settings of the picture, by the same numbers."""
    for name in dir(model):
        if name.startswith(("cam_", "light_", "site_")) and not name.endswith("_user"):
            value, target = getattr(model, name), getattr(drawn, name)
            if name.endswith("_bodyid") and not np.array_equal(value, target):
                raise SceneError(f"MuJoCo has numbered {name} anew.")
            target[:] = value
    drawn.site_matid[:] = -1
    for group in ("global_", "quality", "headlight", "map", "scale", "rgba"):
        _copy_fields(getattr(model.vis, group), getattr(drawn.vis, group))
    _copy_fields(model.stat, drawn.stat)


def _copy_fields(source: Any, target: Any) -> None:
    for name in dir(source):
        if not name.startswith("_"):
            setattr(target, name, getattr(source, name))
