"""Draws one scene by OpenGL as LIBERO does, off screen: colours, depth and segmentation, upright."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.opengl import OpenGLContext
from tgrpo_envs.sim.pictures import BACKGROUND, Image, Picture, body_rows, by_camera, camera_id
from tgrpo_envs.sim.visual import near_and_far_m

if TYPE_CHECKING:
    from tgrpo_envs.scene.records import SceneRecord

_VISUAL_GROUP = 1  # robosuite draws geom group 1; group 0 holds the collision shapes
_IDENTIFY = [int(flag) for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR)]


def visual_option() -> mujoco.MjvOption:
    """Draw what robosuite draws."""
    option = mujoco.MjvOption()
    option.geomgroup[:] = 0
    option.geomgroup[_VISUAL_GROUP] = 1
    return option


class Renderer:
    """Draws one scene in the thread that made it.

    Args:
        model: The scene's whole model, which is copied.
        record: Names and ids of the scene.
        size: Largest width and height of a picture, pixels.

    Raises:
        RenderError: No usable OpenGL on this machine.
    """

    def __init__(self, model: mujoco.MjModel, record: SceneRecord, size: int) -> None:
        shown = copy.copy(model)
        shown.vis.global_.offwidth = shown.vis.global_.offheight = size
        self._shown = shown
        self._gl = OpenGLContext(shown, size)
        self._scene = mujoco.MjvScene(shown, maxgeom=max(1000, 2 * shown.ngeom))
        self._option = visual_option()
        self._perturb = mujoco.MjvPerturb()
        self._cameras: dict[str, mujoco.MjvCamera] = {}
        rows_B = body_rows(model, record)
        self._rows_of = {  # segmentation rows by the type and id of what a drawn geom shows
            int(mujoco.mjtObj.mjOBJ_GEOM): rows_B[shown.geom_bodyid],
            int(mujoco.mjtObj.mjOBJ_SITE): rows_B[shown.site_bodyid],
        }
        self._near_m, self._far_m = near_and_far_m(model)
        self._set_size(size)
        self._gl.mujoco.readDepthMap = int(mujoco.mjtDepthMap.mjDEPTH_ZEROFAR)  # keeps more digits far away

    def draw(self, model: mujoco.MjModel, data: mujoco.MjData, images: Mapping[Picture, Image]) -> None:
        """Draw `data`.

        Args:
            model: The model that is simulated, for the colours of its sites.
            data: The simulation; positions must be current.
            images: Arrays to fill, upright, of the picture's shape and type, all of one size.

        Raises:
            UnknownNameError: The scene has no such camera.
            RenderError: The context died.
        """
        size = next((image.shape[0] for image in images.values()), self._size)
        if size != self._size:
            self._set_size(size)
        self._shown.site_rgba[:] = model.site_rgba
        for name, wanted in by_camera(images).items():
            self._place(data, name)
            if "rgb" in wanted or "depth" in wanted:
                self._draw_colours(wanted.get("rgb"), wanted.get("depth"))
            if "segmentation" in wanted:
                self._draw_segmentation(wanted["segmentation"])
        self._gl.check()

    def close(self) -> None:
        """Free OpenGL's memory; call it in the thread that made the renderer. Closing twice is harmless."""
        self._gl.close()

    def _set_size(self, size: int) -> None:
        """Draw pictures of so many pixels a side from now on, into the lower left of the buffer."""
        self._size = size
        self._viewport = mujoco.MjrRect(0, 0, size, size)
        self._pixels: NDArray[np.uint8] = np.empty((size, size, 3), dtype=np.uint8)
        self._depth: NDArray[np.float32] = np.empty((size, size), dtype=np.float32)

    def _place(self, data: mujoco.MjData, name: str) -> None:
        """Put everything into the scene as `data` has it, seen from a camera."""
        camera = self._cameras.get(name) or self._new_camera(self._shown, name)
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._shown, data, self._option, self._perturb, camera, everything, self._scene)

    def _draw_colours(self, image: Image | None, depth: Image | None) -> None:
        mujoco.mjr_render(self._viewport, self._scene, self._gl.mujoco)
        window = None if depth is None else self._depth
        mujoco.mjr_readPixels(self._pixels, window, self._viewport, self._gl.mujoco)
        if image is not None:
            image[:] = self._pixels[::-1]  # OpenGL's first row is the lowest
        if depth is not None:
            # The inverse of OpenGL's projection, 1 at the near plane and 0 at the far one.
            near, far = self._near_m, self._far_m
            depth[:] = (near * far / (near + self._depth.astype(np.float64) * (far - near)))[::-1]

    def _draw_segmentation(self, image: Image) -> None:
        """Each geom in a colour that is its number, counted from 1, base 256, red first."""
        self._scene.flags[_IDENTIFY] = True
        mujoco.mjr_render(self._viewport, self._scene, self._gl.mujoco)
        self._scene.flags[_IDENTIFY] = False
        mujoco.mjr_readPixels(self._pixels, None, self._viewport, self._gl.mujoco)
        numbers_HW = self._pixels.astype(np.int32) @ np.array([1, 1 << 8, 1 << 16], dtype=np.int32)
        table = np.full(self._scene.ngeom + 1, BACKGROUND, dtype=np.int32)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.objtype in self._rows_of and geom.segid >= 0:
                table[geom.segid + 1] = self._rows_of[geom.objtype][geom.objid]
        image[:] = table[np.where(numbers_HW < len(table), numbers_HW, 0)][::-1]

    def _new_camera(self, model: mujoco.MjModel, name: str) -> mujoco.MjvCamera:
        camera = mujoco.MjvCamera()
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = camera_id(model, name)
        self._cameras[name] = camera
        return camera
