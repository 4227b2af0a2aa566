"""The kernels of the rasterizer on things that are not turned: what each pixel shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.sim.raster.drawing import Drawing
from tgrpo_envs.sim.raster.visibility import NOTHING, View, Window, cover

BACKWARDS = np.eye(3, dtype=np.float32)  # the camera looks along -z, up is y


def square_view(size: int, eye: tuple[float, float, float] = (0, 0, 0), near_m: float = 0.05) -> View:
    """A camera of so many pixels with a field of view of 90 degrees."""
    return View(np.array(eye, np.float32), BACKWARDS, np.float32(size / 2), np.float32(near_m), np.float32(1))


def covered(drawing: Drawing, camera: View, pos_G3: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Nearness and triangle of each pixel, and where the corners are in the picture."""
    geometry, num, size = drawing.geometry, len(pos_G3), round(2 * float(camera.pixels))
    mat_G33 = np.tile(np.eye(3, dtype=np.float32), (num, 1, 1))
    is_shown_G = np.ones(num, bool)
    at_V3 = np.zeros_like(geometry.place_V3)
    nearness_HW, face_HW = np.zeros((size, size), np.float32), np.full((size, size), NOTHING, np.int32)
    limit_HW = np.full((size, size), 1 / camera.near_m, np.float32)
    window = Window(0, 0, size - 1, size - 1)
    cover(geometry, pos_G3, mat_G33, camera, is_shown_G, limit_HW, window, at_V3, nearness_HW, face_HW)
    return nearness_HW, face_HW, at_V3
