"""Leaves out what a camera cannot see, and puts what is near first, so that what it hides is not coloured.

MuJoCo sends every geom of a scene to OpenGL in the model's order, wherever the camera looks.
"""

from __future__ import annotations

import ctypes
import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.snapshot import FloatArray

MIN_PIXELS = 1.0  # a geom whose bounding sphere is not even this wide in the picture is left out

# The fields of MuJoCo's mjvGeom (mjvisualize.h) that are read here. The Python bindings give one geom at a time.
_POS_OFFSET = 44  # bytes
_GEOM = np.dtype(
    {
        "names": ["objtype", "objid", "segid", "pos", "modelrbound"],
        "formats": ["i4", "i4", "i4", ("f4", 3), "f4"],
        "offsets": [8, 12, 28, _POS_OFFSET, 228],
        "itemsize": 236,
    }
)


class GeomBuffer:
    """A scene's geoms as arrays over MuJoCo's own memory.

    Args:
        scene: The scene; it must outlive the buffer.
    """

    def __init__(self, scene: mujoco.MjvScene) -> None:
        self._scene = scene
        start = scene.geoms[0].pos.ctypes.data - _POS_OFFSET
        memory = (ctypes.c_ubyte * (scene.maxgeom * _GEOM.itemsize)).from_address(start)
        self._bytes_MB = np.frombuffer(memory, np.uint8).reshape(scene.maxgeom, _GEOM.itemsize)
        self._geoms_M = np.frombuffer(memory, _GEOM)

    @property
    def geoms_M(self) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        """The geoms that will be drawn; fields objtype, objid, segid, and in metres pos and modelrbound."""
        return self._geoms_M[: self._scene.ngeom]

    def keep_visible(self, eye_3: FloatArray, axes_33: FloatArray, fovy: float, size: int) -> None:
        """Drop the geoms whose bounding sphere lies outside the picture or is too small to be seen; sort by depth.

        Args:
            eye_3: Where the camera is, metres.
            axes_33: Its axes in the columns: right, up, backwards.
            fovy: Its field of view, degrees; the picture is square.
            size: Width of the picture, pixels.
        """
        count = self._scene.ngeom
        pos_M3, radius_M = self._geoms_M["pos"][:count], self._geoms_M["modelrbound"][:count]
        self._scene.ngeom = _keep_visible(self._bytes_MB, pos_M3, radius_M, eye_3, axes_33, fovy, size)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _keep_visible(
    bytes_MB: NDArray[np.uint8],
    pos_M3: NDArray[np.float32],
    radius_M: NDArray[np.float32],
    eye_3: FloatArray,
    axes_33: FloatArray,
    fovy: float,
    size: int,
) -> int:
    """Move the geoms that stay to the front, the nearest first; returns how many they are."""
    half = math.radians(fovy) / 2
    cos, sin, tan = math.cos(half), math.sin(half), math.tan(half)
    depth_K, stays_K = np.empty(len(radius_M)), np.empty(len(radius_M), dtype=np.int64)
    kept = 0
    for m in range(len(radius_M)):
        x, y, z = pos_M3[m, 0] - eye_3[0], pos_M3[m, 1] - eye_3[1], pos_M3[m, 2] - eye_3[2]
        right = x * axes_33[0, 0] + y * axes_33[1, 0] + z * axes_33[2, 0]
        up = x * axes_33[0, 1] + y * axes_33[1, 1] + z * axes_33[2, 1]
        depth = -(x * axes_33[0, 2] + y * axes_33[1, 2] + z * axes_33[2, 2])
        # Distance of the centre from the farther of the four side planes, positive outside.
        outside = max(abs(right), abs(up)) * cos - depth * sin
        is_tiny = radius_M[m] * size < MIN_PIXELS * depth * tan
        if radius_M[m] > 0 and (outside > radius_M[m] or is_tiny):  # a plane has no radius
            continue
        depth_K[kept] = depth if radius_M[m] > 0 else np.inf
        stays_K[kept] = m
        kept += 1
    bytes_MB[:kept] = bytes_MB[stays_K[:kept][np.argsort(depth_K[:kept], kind="mergesort")]]
    return kept
