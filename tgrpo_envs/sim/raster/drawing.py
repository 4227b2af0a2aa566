"""All that pictures of a drawn model share: triangles, textures, lights, and where things sit on bodies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.raster.geometry import NO_TEXTURE, Geometry, read_geometry
from tgrpo_envs.sim.raster.shapes import Floats
from tgrpo_envs.sim.raster.textures import Textures, read_textures
from tgrpo_envs.sim.snapshot import FloatArray
from tgrpo_envs.sim.visual import rotation_matrix

_MIRRORS = (int(mujoco.mjtGeom.mjGEOM_BOX), int(mujoco.mjtGeom.mjGEOM_PLANE))
_NO_CONE = -2.0  # a cosine that every direction exceeds


class Lights(NamedTuple):
    """L lights; the first is the camera's own. Colours are 0 to 1, and one that is off is black.

    `cutoff_L` is the cosine of half the cone's angle, below -1 where there is none.
    """

    ambient_L3: Floats
    diffuse_L3: Floats
    specular_L3: Floats
    attenuation_L3: Floats
    cutoff_L: Floats
    exponent_L: Floats
    is_directional_L: NDArray[np.bool_]


class Drawing(NamedTuple):
    """What a drawn model shows: G things, its geoms and then its sites. Nothing of it changes.

    Attributes:
        geometry: Triangles and surfaces.
        textures: Their textures.
        lights: Lights.
        sky: Row of the first of six textures around everything, or `NO_TEXTURE`.
        num_geoms: How many of the things are geoms.
        body_G, pos_G3, mat_G33: Body that carries each thing, and where the thing is in the body's frame.
        rgba_G4: Colours; those of sites change while the simulation runs.
        thing_F: Whose each triangle is.
        is_mirror_G: What can reflect, with its upper side.
        top_G: How far the upper side is above the thing's middle, metres.
    """

    geometry: Geometry
    textures: Textures
    lights: Lights
    sky: int
    num_geoms: int
    body_G: NDArray[np.int64]
    pos_G3: FloatArray
    mat_G33: FloatArray
    rgba_G4: Floats
    thing_F: NDArray[np.int32]
    is_mirror_G: NDArray[np.bool_]
    top_G: Floats


def read_drawing(model: mujoco.MjModel) -> Drawing:
    """The arrays of a drawn model (`tgrpo_envs.scene.drawn`).

    Raises:
        RenderError: It has a shape that cannot be drawn.
    """
    textures, texture_rows = read_textures(model)
    skies = np.flatnonzero(model.tex_type == int(mujoco.mjtTexture.mjTEXTURE_SKYBOX))
    geometry = read_geometry(model, texture_rows)
    is_box_G = np.concatenate([model.geom_type, np.full(model.nsite, -1)]) == _MIRRORS[0]
    can_reflect_G = np.concatenate([np.isin(model.geom_type, _MIRRORS), np.zeros(model.nsite, bool)])
    return Drawing(
        geometry=geometry,
        textures=textures,
        lights=_lights(model),
        sky=texture_rows[skies[0]] if len(skies) else NO_TEXTURE,
        num_geoms=model.ngeom,
        body_G=np.concatenate([model.geom_bodyid, model.site_bodyid]),
        pos_G3=np.concatenate([model.geom_pos, model.site_pos]),
        mat_G33=np.array([rotation_matrix(quat) for quat in (*model.geom_quat, *model.site_quat)]).reshape(-1, 3, 3),
        rgba_G4=np.concatenate([model.geom_rgba, model.site_rgba]).astype(np.float32),
        thing_F=np.repeat(np.arange(model.ngeom + model.nsite), np.diff(geometry.first_face_G)).astype(np.int32),
        is_mirror_G=can_reflect_G & (geometry.reflectance_G > 0),
        top_G=np.where(is_box_G, np.concatenate([model.geom_size, model.site_size])[:, 2], 0.0).astype(np.float32),
    )


def _lights(model: mujoco.MjModel) -> Lights:
    own = model.vis.headlight
    is_on_L = np.concatenate([[bool(own.active)], model.light_active.astype(bool)])
    colours = {
        name: np.concatenate([getattr(own, name)[None], getattr(model, f"light_{name}")]) * is_on_L[:, None]
        for name in ("ambient", "diffuse", "specular")
    }
    is_directional_L = np.concatenate([[True], model.light_directional.astype(bool)])
    attenuation_L3 = np.concatenate([[[1.0, 0.0, 0.0]], model.light_attenuation])
    attenuation_L3[is_directional_L] = (1.0, 0.0, 0.0)
    degrees_L = np.concatenate([[180.0], model.light_cutoff])
    cone_L = np.where(is_directional_L | (degrees_L > 90), _NO_CONE, np.cos(np.deg2rad(degrees_L)))
    return Lights(
        ambient_L3=colours["ambient"].astype(np.float32),
        diffuse_L3=colours["diffuse"].astype(np.float32),
        specular_L3=colours["specular"].astype(np.float32),
        attenuation_L3=attenuation_L3.astype(np.float32),
        cutoff_L=cone_L.astype(np.float32),
        exponent_L=np.concatenate([[0.0], model.light_exponent]).astype(np.float32),
        is_directional_L=is_directional_L,
    )
