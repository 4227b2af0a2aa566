"""A picture in the making, and how one layer comes over another: reflections are added, glass is mixed in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tgrpo_envs.sim.raster.shapes import Floats
from tgrpo_envs.sim.raster.visibility import NOTHING


class Layer(NamedTuple):
    """Nearness (1 / m) and triangle of each pixel, and its colour."""

    nearness_HW: Floats
    face_HW: NDArray[np.int32]
    rgb_HW3: NDArray[np.uint8]

    @classmethod
    def sized(cls, size: int) -> Layer:
        """Memory for one, which `begun` fills."""
        shape = (size, size)
        return cls(np.empty(shape, np.float32), np.empty(shape, np.int32), np.empty((*shape, 3), np.uint8))

    def begun(self, below: Layer | None) -> Layer:
        """The same memory with what another one shows, whose triangles count as none; without one black."""
        self.face_HW.fill(NOTHING)
        if below is None:
            self.nearness_HW.fill(0.0)
            self.rgb_HW3.fill(0)
        else:
            np.copyto(self.nearness_HW, below.nearness_HW)
            np.copyto(self.rgb_HW3, below.rgb_HW3)
        return self


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def add_light(layer: Layer, rgb_HW3: NDArray[np.uint8]) -> None:
    """Add a layer's colours to a picture, as far as eight bits go."""
    for row in range(len(rgb_HW3)):
        for column in range(len(rgb_HW3)):
            if layer.face_HW[row, column] != NOTHING:
                for channel in range(3):
                    both = int(rgb_HW3[row, column, channel]) + int(layer.rgb_HW3[row, column, channel])
                    rgb_HW3[row, column, channel] = min(both, 255)


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def mix(layer: Layer, alpha: np.float32, rgb_HW3: NDArray[np.uint8]) -> None:
    """Put a layer that lets through 1 - `alpha` over a picture."""
    for row in range(len(rgb_HW3)):
        for column in range(len(rgb_HW3)):
            if layer.face_HW[row, column] != NOTHING:
                for channel in range(3):
                    behind = np.float32(rgb_HW3[row, column, channel])
                    over = np.float32(layer.rgb_HW3[row, column, channel])
                    mixed = behind + alpha * (over - behind)
                    rgb_HW3[row, column, channel] = np.uint8(np.int32(mixed + np.float32(0.5)))
