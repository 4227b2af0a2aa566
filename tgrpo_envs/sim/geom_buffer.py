"""What MuJoCo will draw, as an array over its own memory."""

from __future__ import annotations

import ctypes

import numpy as np

from tgrpo_envs.sim.engine import mujoco

# The fields of MuJoCo's mjvGeom (mjvisualize.h) that are read here. The Python bindings give one geom at a time.
_POS_OFFSET = 44  # bytes, of the only field whose address the bindings tell
_GEOM = np.dtype(
    {
        "names": ["objtype", "objid", "segid"],
        "formats": ["i4", "i4", "i4"],
        "offsets": [8, 12, 28],
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
        self._geoms_M = np.frombuffer(memory, _GEOM)

    @property
    def geoms_M(self) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        """The geoms that will be drawn; fields objtype, objid and segid."""
        return self._geoms_M[: self._scene.ngeom]
