"""Draws one scene in software: colours, depth and segmentation, upright.

What cannot move before a camera that cannot move either is drawn once and kept, and so are fixtures until they are put
elsewhere. Everything else is drawn into a copy of it, each time.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.pictures import BACKGROUND, Image, Kind, Picture, body_rows, by_camera, camera_id
from tgrpo_envs.sim.raster.drawing import Drawing
from tgrpo_envs.sim.raster.geometry import NO_TEXTURE
from tgrpo_envs.sim.raster.layers import Layer, add_light, mix
from tgrpo_envs.sim.raster.lighting import Scene, light
from tgrpo_envs.sim.raster.mirror import find_surface, mirrored
from tgrpo_envs.sim.raster.shading import paint, paint_sky
from tgrpo_envs.sim.raster.shapes import Floats
from tgrpo_envs.sim.raster.visibility import NOTHING, View, Window, cover, find_visible, place
from tgrpo_envs.sim.visual import OPAQUE, near_and_far_m

if TYPE_CHECKING:
    from tgrpo_envs.scene.records import SceneRecord

_UPPER = 0.999  # of a unit normal, along the upper side's


class _Camera(NamedTuple):
    """What never changes of a camera: its number, the tangent of half its field of view, and whether it can move."""

    number: int
    tangent: float
    is_fixed: bool


class Rasterizer:
    """Draws one scene, in one thread at a time.

    Args:
        model: The scene's model.
        record: Names and ids of the scene.
        drawing: What to draw in its place, which many rasterizers can share.
        loose: Bodies without joints that are moved all the same: fixtures.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        record: SceneRecord,
        drawing: Drawing,
        loose: Collection[int] = (),
    ) -> None:
        geometry = drawing.geometry
        self._drawing = drawing
        self._rows_G = body_rows(model, record)[drawing.body_G]
        self._is_fixed_B = (model.body_weldid == 0) & ~np.isin(np.arange(model.nbody), list(loose))
        for body in range(1, model.nbody):  # what hangs on a fixture moves with it
            self._is_fixed_B[body] &= self._is_fixed_B[model.body_parentid[body]]
        # Sites come and go, and a mirror shows what moves.
        is_geom_G = np.arange(len(drawing.body_G)) < drawing.num_geoms
        is_opaque_G = drawing.rgba_G4[:, 3] >= OPAQUE
        can_be_kept_G = is_geom_G & is_opaque_G & ~drawing.is_mirror_G
        self._is_still_G = can_be_kept_G & self._is_fixed_B[drawing.body_G]
        self._is_placed_G = can_be_kept_G & (model.body_weldid == 0)[drawing.body_G] & ~self._is_still_G
        self._is_loose_G = ~(self._is_still_G | self._is_placed_G)
        self._has_burners = bool(record.visible_sites)
        self._has_placed = bool(self._is_placed_G.any())
        self._mirrors: list[int] = np.flatnonzero(drawing.is_mirror_G).tolist()
        self._is_upper_F = geometry.normal_V3[geometry.corner_F3[:, 0], 2] > _UPPER
        self._near_m, self._far_m = (np.float32(distance) for distance in near_and_far_m(model))
        self._rgba_G4 = drawing.rgba_G4.copy()
        # Filled again for each picture: to make an array takes longer than to fill it.
        self._light_pos_L3 = np.zeros((1 + model.nlight, 3), np.float32)
        self._light_dir_L3 = np.zeros_like(self._light_pos_L3)
        self._near_HW = np.zeros((0, 0), np.float32)
        self._at_V3 = np.zeros_like(geometry.place_V3)
        self._lit_V3 = np.zeros_like(geometry.place_V3)
        self._layers: dict[int, Layer] = {}
        self._cameras: dict[str, _Camera] = {}
        self._kept: dict[tuple[int, int, bool], tuple[bytes, Layer]] = {}
        self._read_colours(model)

    def draw(self, model: mujoco.MjModel, data: mujoco.MjData, images: Mapping[Picture, Image]) -> None:
        """Draw `data`.

        Args:
            model: The model, for the colours of its sites.
            data: The simulation; positions must be current.
            images: Arrays to fill, upright, of the picture's shape and type, all of one size.

        Raises:
            UnknownNameError: The scene has no such camera.
        """
        pos_G3, mat_G33 = self._poses(data)
        if self._has_burners:
            self._read_colours(model)
        for name, wanted in by_camera(images).items():
            camera = self._cameras.get(name) or self._add_camera(model, name)
            size = next(iter(wanted.values())).shape[0]
            view = self._view(data, camera, size)
            scene = self._scene(data, view, pos_G3, mat_G33)
            below = self._below(view, scene, camera.number, size) if camera.is_fixed else None
            self._draw(view, scene, below, size, wanted)

    def _read_colours(self, model: mujoco.MjModel) -> None:
        """Of sites, of which LIBERO hides some by a negative alpha; and by alpha what is opaque and what is glass."""
        np.maximum(model.site_rgba, 0.0, out=self._rgba_G4[self._drawing.num_geoms :], casting="same_kind")
        alpha_G = self._rgba_G4[:, 3]
        self._is_opaque_G = alpha_G >= OPAQUE
        self._is_loose_opaque_G = self._is_opaque_G & self._is_loose_G
        self._is_glass_G = (alpha_G > 0) & ~self._is_opaque_G

    def _add_camera(self, model: mujoco.MjModel, name: str) -> _Camera:
        number = camera_id(model, name)
        tangent = math.tan(math.radians(model.cam_fovy[number]) / 2)
        camera = _Camera(number, tangent, bool(self._is_fixed_B[model.cam_bodyid[number]]))
        self._cameras[name] = camera
        return camera

    def _poses(self, data: mujoco.MjData) -> tuple[Floats, Floats]:
        drawing, num_things = self._drawing, len(self._rows_G)
        pos_G3, mat_G33 = np.empty((num_things, 3), np.float32), np.empty((num_things, 3, 3), np.float32)
        place(drawing.body_G, drawing.pos_G3, drawing.mat_G33, data.xpos, data.xmat, pos_G3, mat_G33)
        return pos_G3, mat_G33

    def _view(self, data: mujoco.MjData, camera: _Camera, size: int) -> View:
        axes_33 = data.cam_xmat[camera.number].reshape(3, 3).astype(np.float32)
        eye_3 = data.cam_xpos[camera.number].astype(np.float32)
        return View(eye_3, axes_33, np.float32(size / 2 / camera.tangent), self._near_m, np.float32(1.0))

    def _scene(self, data: mujoco.MjData, view: View, pos_G3: Floats, mat_G33: Floats) -> Scene:
        """The first light is the camera's own and shines where it looks."""
        self._light_pos_L3[0], self._light_pos_L3[1:] = view.eye_3, data.light_xpos
        self._light_dir_L3[0], self._light_dir_L3[1:] = -view.axes_33[:, 2], data.light_xdir
        return Scene(pos_G3, mat_G33, self._rgba_G4, self._light_pos_L3, self._light_dir_L3, view.eye_3)

    def _below(self, view: View, scene: Scene, camera: int, size: int) -> Layer:
        """What stands still before a camera that does, and over it the fixtures, which stay where a reset put them."""
        where = view.eye_3.tobytes() + view.axes_33.tobytes() + view.pixels.tobytes()
        still = self._keep((camera, size, False), where, view, scene, self._is_still_G, None)
        if not self._has_placed:
            return still
        where += scene.pos_G3[self._is_placed_G].tobytes() + scene.mat_G33[self._is_placed_G].tobytes()
        return self._keep((camera, size, True), where, view, scene, self._is_placed_G, still)

    def _keep(
        self,
        key: tuple[int, int, bool],
        where: bytes,
        view: View,
        scene: Scene,
        is_there_G: NDArray[np.bool_],
        below: Layer | None,
    ) -> Layer:
        """A layer over another one, drawn when it is first asked for and when anything has another place."""
        kept = self._kept.get(key)
        if kept is not None and kept[0] == where:
            return kept[1]
        layer = Layer.sized(key[1]).begun(below)
        self._cover(view, scene, is_there_G.copy(), layer)
        if below is None:
            self._paint_sky(view, layer)
        self._shade(scene, layer)
        if below is not None:
            np.copyto(layer.face_HW, below.face_HW, where=layer.face_HW == NOTHING)
        self._kept[key] = (where, layer)
        return layer

    def _draw(self, view: View, scene: Scene, below: Layer | None, size: int, wanted: Mapping[Kind, Image]) -> None:
        if size not in self._layers:
            self._layers[size] = Layer.sized(size)
        layer = self._layers[size].begun(below)
        is_shown_G = (self._is_opaque_G if below is None else self._is_loose_opaque_G).copy()
        self._cover(view, scene, is_shown_G, layer)
        is_glass_G = self._is_glass_G.copy()
        if is_glass_G.any():
            window = Window(0, 0, size - 1, size - 1)
            find_visible(self._drawing.geometry, scene.pos_G3, scene.mat_G33, view, size, window, is_glass_G)
        if "depth" in wanted:
            wanted["depth"][:] = np.float32(1.0) / np.maximum(layer.nearness_HW, np.float32(1.0) / self._far_m)
        if "segmentation" in wanted:
            wanted["segmentation"][:] = self._segments(view, scene, is_glass_G, layer, below)
        if "rgb" in wanted:
            if below is None:
                self._paint_sky(view, layer)
            self._shade(scene, layer)
            for mirror in [mirror for mirror in self._mirrors if is_shown_G[mirror]][:1]:  # as MuJoCo
                self._reflect(view, scene, mirror, layer)
            self._blend(view, scene, np.flatnonzero(is_glass_G), layer)
            wanted["rgb"][:] = layer.rgb_HW3

    def _segments(
        self, view: View, scene: Scene, is_glass_G: NDArray[np.bool_], layer: Layer, below: Layer | None
    ) -> NDArray[np.int32]:
        """Row of the segmentation table of what each pixel shows; glass counts as what it is."""
        all_of_it = layer._replace(nearness_HW=layer.nearness_HW.copy(), face_HW=layer.face_HW.copy())
        self._cover(view, scene, is_glass_G, all_of_it)
        face_HW = all_of_it.face_HW
        if below is not None:
            face_HW = np.where(face_HW == NOTHING, below.face_HW, face_HW)
        rows_HW: NDArray[np.int32] = self._rows_G[self._drawing.thing_F[face_HW]]
        return np.where(face_HW == NOTHING, np.int32(BACKGROUND), rows_HW)

    def _cover(
        self,
        view: View,
        scene: Scene,
        is_shown_G: NDArray[np.bool_],
        layer: Layer,
        limit_HW: Floats | None = None,
        window: Window | None = None,
    ) -> None:
        """Add things to a layer, where they are no nearer than a limit, at least the near plane's."""
        last = len(layer.nearness_HW) - 1
        if limit_HW is None:
            if len(self._near_HW) != len(layer.nearness_HW):
                self._near_HW = np.full_like(layer.nearness_HW, np.float32(1.0) / view.near_m)
            limit_HW = self._near_HW
        window = window or Window(0, 0, last, last)
        where = (scene.pos_G3, scene.mat_G33, view, is_shown_G, limit_HW, window)
        cover(self._drawing.geometry, *where, self._at_V3, layer.nearness_HW, layer.face_HW)

    def _shade(self, scene: Scene, layer: Layer) -> None:
        drawing = self._drawing
        geometry, thing_F = drawing.geometry, drawing.thing_F
        light(geometry, drawing.lights, scene, layer.face_HW, thing_F, self._lit_V3)
        paint(geometry, drawing.textures, self._at_V3, layer.face_HW, thing_F, self._lit_V3, layer.rgb_HW3)

    def _paint_sky(self, view: View, layer: Layer) -> None:
        if self._drawing.sky != NO_TEXTURE and layer.face_HW.min() == NOTHING:
            paint_sky(self._drawing.textures, self._drawing.sky, view, layer.face_HW, layer.rgb_HW3)

    def _reflect(self, view: View, scene: Scene, mirror: int, layer: Layer) -> None:
        """Add what a thing's upper side reflects, as MuJoCo draws it: all that is opaque, and no sky."""
        geometry, size = self._drawing.geometry, len(layer.face_HW)
        faces = geometry.first_face_G[mirror : mirror + 2]
        limit_HW = np.empty_like(layer.nearness_HW)
        window = Window(*find_surface(layer.face_HW, layer.nearness_HW, self._is_upper_F, *faces, limit_HW))
        if window.bottom < window.top:
            return
        is_shown_G = self._is_opaque_G.copy()
        is_shown_G[mirror] = False
        normal_3 = np.ascontiguousarray(scene.mat_G33[mirror][:, 2])
        surface_3 = scene.pos_G3[mirror] + self._drawing.top_G[mirror] * normal_3
        pos_G3, mat_G33 = mirrored(geometry, scene.pos_G3, scene.mat_G33, surface_3, normal_3, is_shown_G)
        image = scene._replace(pos_G3=pos_G3, mat_G33=mat_G33)
        behind = view._replace(facing=-view.facing)
        shown = Layer.sized(size).begun(None)
        self._cover(behind, image, is_shown_G, shown, limit_HW, window)
        if shown.face_HW.max() == NOTHING:
            return
        # The image is lit as the things are, for an eye behind the mirror.
        weight_4 = np.array([*[geometry.reflectance_G[mirror]] * 3, 1.0], np.float32)
        eye_3 = view.eye_3 - 2 * np.dot(view.eye_3 - surface_3, normal_3) * normal_3
        self._shade(scene._replace(rgba_G4=scene.rgba_G4 * weight_4, eye_3=eye_3), shown)
        add_light(shown, layer.rgb_HW3)

    def _blend(self, view: View, scene: Scene, things: NDArray[np.int64], layer: Layer) -> None:
        """Draw what is not opaque over the rest, from front to back and then from back to front, as MuJoCo does."""
        if not len(things):
            return
        gap_N = np.linalg.norm(scene.pos_G3[things] - view.eye_3, axis=1) - self._drawing.geometry.radius_G[things]
        near_first = things[np.argsort(gap_N, kind="stable")]
        is_shown_G = np.zeros(len(scene.pos_G3), bool)
        seen: list[tuple[Layer, np.float32]] = []
        for thing in near_first:
            is_shown_G[:] = False
            is_shown_G[thing] = True
            one = Layer.sized(len(layer.face_HW)).begun(layer)
            self._cover(view, scene, is_shown_G, one)
            if one.face_HW.max() != NOTHING:
                self._shade(scene, one)
                seen.append((one, scene.rgba_G4[thing, 3]))
        for one, alpha in (*seen, *seen[::-1]):
            mix(one, alpha, layer.rgb_HW3)
