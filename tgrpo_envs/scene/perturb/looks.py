"""Perturbations that are only seen: the scene camera's pose, the lights, and what floor, walls and table look like."""

from __future__ import annotations

import colorsys
import copy
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.perturbation import Perturbation
from tgrpo_envs.scene.scene import Scene
from tgrpo_envs.scene.textures import Texture, read_texture
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.pictures import BACKGROUND, body_rows, camera_id
from tgrpo_envs.sim.snapshot import FloatArray
from tgrpo_envs.sim.visual import rotation_matrix

Change = Callable[[mujoco.MjModel, Scene, Perturbation], None]

# The largest changes by level; what is drawn lies between half of them and all.
AZIMUTH_DEG = (10.0, 20.0, 40.0)
ELEVATION_DEG = (5.0, 10.0, 15.0)
DISTANCE = (0.05, 0.1, 0.2)  # share of it
ROLL_DEG = (2.0, 4.0, 8.0)
BRIGHTNESS = (0.25, 0.5, 0.9)  # natural logarithm of the factor
TINT = (0.1, 0.25, 0.5)  # share that a colour may lose
LIGHT_SHIFT_M = (0.5, 1.0, 2.0)
RECOLOUR = (0.35, 0.7, 1.0)  # share of the new colour
PATTERN_TILES = 12  # across a texture, at the highest level
_COLOUR = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
_PLANE, _MESH = int(mujoco.mjtGeom.mjGEOM_PLANE), int(mujoco.mjtGeom.mjGEOM_MESH)


@dataclass(frozen=True)
class LookedAt(Scene):
    """A scene of the same physics that looks different.

    Attributes:
        change: What was done to the model, and is done to those that are drawn.
    """

    change: Callable[[mujoco.MjModel], None]

    @property
    def drawn_model(self) -> mujoco.MjModel:
        """See `Scene.drawn_model`."""
        drawn: mujoco.MjModel = super().drawn_model
        self.change(drawn)
        return drawn

    @cached_property
    def exact_model(self) -> mujoco.MjModel:
        """See `Scene.exact_model`."""
        exact: mujoco.MjModel = super().exact_model
        self.change(exact)
        return exact


def looked_at(scene: Scene, perturbation: Perturbation) -> Scene:
    """The scene with another camera pose, light or background; the given one is not changed."""

    def change(model: mujoco.MjModel) -> None:
        LOOKS[perturbation.kind](model, scene, perturbation)

    parts = {field.name: getattr(scene, field.name) for field in fields(Scene)}
    changed = copy.copy(scene.model)
    change(changed)
    return LookedAt(**{**parts, "model": changed}, change=change)


def _move_camera(model: mujoco.MjModel, scene: Scene, perturbation: Perturbation) -> None:
    """Turn the scene camera around the point it looks at, which is as far away as the gripper's first place."""
    rng, level = perturbation.rng(), perturbation.at_level
    azimuth, elevation, roll = (
        np.radians(_signed(rng, level(*limits))) for limits in (AZIMUTH_DEG, ELEVATION_DEG, ROLL_DEG)
    )
    farther = 1.0 + _signed(rng, level(*DISTANCE))
    camera = camera_id(model, "agentview")
    axes_33 = rotation_matrix(model.cam_quat[camera])  # columns: right, up, backwards
    place_3, backwards_3 = model.cam_pos[camera].copy(), axes_33[:, 2]
    target_3 = place_3 - backwards_3 * ((place_3 - np.array(scene.record.robot.eef_pos)) @ backwards_3)
    turn_33 = _turn(np.array([0.0, 0.0, 1.0]), azimuth) @ _turn(axes_33[:, 0], elevation)
    model.cam_pos[camera] = target_3 + farther * turn_33 @ (place_3 - target_3)
    mujoco.mju_mat2Quat(model.cam_quat[camera], (turn_33 @ _turn(backwards_3, roll) @ axes_33).ravel())


def _relight(model: mujoco.MjModel, scene: Scene, perturbation: Perturbation) -> None:
    """Brighter or darker, with less of some colours, from elsewhere."""
    del scene
    rng, level = perturbation.rng(), perturbation.at_level
    factor = np.exp(_signed(rng, level(*BRIGHTNESS)))
    colour_3 = factor * (1.0 - level(*TINT) * rng.random(3))
    angle = rng.uniform(0.0, 2.0 * np.pi)
    model.light_pos[:, :2] += level(*LIGHT_SHIFT_M) * np.array([np.cos(angle), np.sin(angle)])
    head = model.vis.headlight
    for colours in (model.light_diffuse, model.light_specular, model.light_ambient, head.diffuse, head.ambient):
        colours *= colour_3  # beyond 1 too: a lamp has no limit, what it lights has


def _repaint(model: mujoco.MjModel, scene: Scene, perturbation: Perturbation) -> None:
    """Other colours, and at the highest level a pattern, for what is neither robot, object nor fixture."""
    if not model.ntex:  # what is simulated has no looks
        return
    rows_G = body_rows(scene.model, scene.record)[model.geom_bodyid]  # both models number bodies alike
    materials_G = model.geom_matid
    textures_G = np.where(materials_G >= 0, model.mat_texid[materials_G, _COLOUR], -1)
    others = set(textures_G[rows_G != BACKGROUND].tolist())
    painted: set[int] = set()
    for geom in np.flatnonzero((rows_G == BACKGROUND) & (textures_G >= 0)).tolist():
        texture = int(textures_G[geom])
        if texture not in painted | others:
            painted.add(texture)
            before = read_texture(model, texture)
            after = _recoloured(before.texels, perturbation, _what(model, geom))
            Texture(before.type, after).write(model, texture)


def _what(model: mujoco.MjModel, geom: int) -> int:
    """What is painted alike: the floor, the walls, tables of plain shapes, tables and furniture of meshes.

    The model that is drawn at detail ``fast`` has other geoms and textures, but the same of these.
    """
    if model.geom_type[geom] == _PLANE:
        return 0
    return 1 if model.geom_type[geom] == _MESH else 2 + int(model.geom_bodyid[geom] > 0)


def _recoloured(texels_HWC: NDArray[np.uint8], perturbation: Perturbation, what: int) -> NDArray[np.uint8]:
    rng, share = perturbation.rng(what), perturbation.at_level(*RECOLOUR)
    hue, saturation, value = rng.random(), rng.uniform(0.3, 0.8), rng.uniform(0.35, 0.9)
    colour_3 = np.array(colorsys.hsv_to_rgb(hue, saturation, value))
    other_3 = np.array(colorsys.hsv_to_rgb((hue + rng.uniform(0.25, 0.75)) % 1.0, saturation, value))
    is_checked = rng.random() < 0.5
    grey_HW1 = texels_HWC[..., :3].mean(axis=-1, keepdims=True)
    structure_HW1 = grey_HW1 / max(float(grey_HW1.mean()), 1.0)  # the grain of wood and tiles stays
    new_HW3 = np.broadcast_to(255.0 * colour_3, (*grey_HW1.shape[:2], 3))
    if share == RECOLOUR[-1]:
        height, width = texels_HWC.shape[:2]
        rows_H1, columns_W = (np.arange(size) * PATTERN_TILES // size for size in (height, width))
        odd_HW = (rows_H1[:, None] * is_checked + columns_W) % 2 > 0
        new_HW3 = np.where(odd_HW[..., None], 255.0 * other_3, new_HW3)
    painted = texels_HWC.copy()
    mixed_HW3 = (1.0 - share) * texels_HWC[..., :3] + share * structure_HW1 * new_HW3
    painted[..., :3] = np.clip(np.round(mixed_HW3), 0, 255).astype(np.uint8)
    return painted


LOOKS: dict[str, Change] = {"camera": _move_camera, "light": _relight, "background": _repaint}


def _signed(rng: np.random.Generator, limit: float) -> float:
    """Of either sign, and at least half of the limit."""
    return float(rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.0) * limit)


def _turn(axis_3: FloatArray, angle: float) -> FloatArray:
    quat_4 = np.zeros(4)
    mujoco.mju_axisAngle2Quat(quat_4, axis_3, angle)
    return rotation_matrix(quat_4)
