"""What the upper side of a thing reflects: where it is seen, and where things stand behind it."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tgrpo_envs.sim.raster.geometry import Geometry
from tgrpo_envs.sim.raster.shapes import Floats


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def find_surface(
    face_HW: NDArray[np.int32],
    nearness_HW: Floats,
    is_upper_F: NDArray[np.bool_],
    first_face: int,
    end_face: int,
    limit_HW: Floats,
) -> tuple[int, int, int, int]:
    """Fill `limit_HW` with the nearness of a mirror where it is seen, 1 / m, else with 0.

    Args:
        face_HW: The triangle that each pixel shows.
        nearness_HW: One over its depth, 1 / m.
        is_upper_F: Which triangles are of an upper side.
        first_face: The mirror's first triangle.
        end_face: The one after its last.
        limit_HW: To fill.

    Returns:
        The part of the picture that shows it, as a window's numbers; the last row is above the first if none does.
    """
    top, left, bottom, right = len(face_HW), len(face_HW), -1, -1
    for row in range(len(face_HW)):
        for column in range(len(face_HW)):
            f = face_HW[row, column]
            limit_HW[row, column] = 0.0
            if first_face <= f < end_face and is_upper_F[f]:
                limit_HW[row, column] = nearness_HW[row, column]
                top, bottom = min(top, row), row
                left, right = min(left, column), max(right, column)
    return top, left, bottom, right


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def mirrored(
    geometry: Geometry,
    pos_G3: Floats,
    mat_G33: Floats,
    surface_3: Floats,
    normal_3: Floats,
    is_shown_G: NDArray[np.bool_],
) -> tuple[Floats, Floats]:
    """Where things are behind a mirror; what lies wholly behind it already is dropped from `is_shown_G`."""
    image_pos_G3, image_mat_G33 = np.empty_like(pos_G3), np.empty_like(mat_G33)
    for g in range(len(pos_G3)):
        height = middle = np.float32(0.0)
        for i in range(3):
            height += (pos_G3[g, i] - surface_3[i]) * normal_3[i]
        for j in range(3):
            along = np.float32(0.0)
            for i in range(3):
                along += normal_3[i] * mat_G33[g, i, j]
            middle += along * geometry.centre_G3[g, j]
            for i in range(3):
                image_mat_G33[g, i, j] = mat_G33[g, i, j] - 2 * normal_3[i] * along
        for i in range(3):
            image_pos_G3[g, i] = pos_G3[g, i] - 2 * normal_3[i] * height
        if height + middle + geometry.radius_G[g] < 0:
            is_shown_G[g] = False
    return image_pos_G3, image_mat_G33
