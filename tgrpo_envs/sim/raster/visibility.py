"""Which triangle each pixel shows: corners are projected, and the nearest triangle over a pixel's middle wins.

A pixel's ray is (x, y, 1) in units of pixels, from the middle of the picture to the right and downwards. Corners are
vectors q in that frame, depth last; x and y are kept divided by the depth. The ray meets the triangle q0 q1 q2 where
its products with q1 x q2, q2 x q0 and q0 x q1 have one sign; divided by their sum they are the barycentric coordinates,
in space and not on the screen, and nothing has to be cut at the near plane (Olano and Greer, Triangle Scan Conversion
using 2D Homogeneous Coordinates, 1997).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tgrpo_envs.sim.raster.geometry import Geometry
from tgrpo_envs.sim.raster.shapes import Floats
from tgrpo_envs.sim.snapshot import FloatArray

NOTHING = -1  # no triangle over a pixel
_FAR = np.float32(1e9)  # columns
_LEAST_DEPTH = np.float32(1e-9)  # metres; a corner in the camera's own plane would lie nowhere in the picture


class View(NamedTuple):
    """Where a picture is taken from.

    Attributes:
        eye_3: Place of the camera, metres.
        axes_33: Its axes in the columns: right, up, backwards.
        pixels: What is one metre away and a metre wide is so many pixels wide.
        near_m: What is nearer is not seen, metres.
        facing: 1, or -1 in a mirror, where triangles turn the other way round.
    """

    eye_3: Floats
    axes_33: Floats
    pixels: np.float32
    near_m: np.float32
    facing: np.float32


class Window(NamedTuple):
    """Rows and columns of a picture, the last ones included."""

    top: int
    left: int
    bottom: int
    right: int


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def place(
    body_G: NDArray[np.int64],
    own_pos_G3: FloatArray,
    own_mat_G33: FloatArray,
    pos_B3: FloatArray,
    mat_B9: FloatArray,
    pos_G3: Floats,
    mat_G33: Floats,
) -> None:
    """Fill `pos_G3` and `mat_G33` with where things are, from their places on bodies and from where the bodies are."""
    for g in range(len(body_G)):
        b = body_G[g]
        for i in range(3):
            x, y, z = mat_B9[b, 3 * i], mat_B9[b, 3 * i + 1], mat_B9[b, 3 * i + 2]
            pos_G3[g, i] = pos_B3[b, i] + x * own_pos_G3[g, 0] + y * own_pos_G3[g, 1] + z * own_pos_G3[g, 2]
            for j in range(3):
                mat_G33[g, i, j] = x * own_mat_G33[g, 0, j] + y * own_mat_G33[g, 1, j] + z * own_mat_G33[g, 2, j]


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def find_visible(
    geometry: Geometry,
    pos_G3: Floats,
    mat_G33: Floats,
    view: View,
    size: int,
    window: Window,
    is_shown_G: NDArray[np.bool_],
) -> None:
    """Drop from `is_shown_G` what lies outside a part of the picture or is smaller than a pixel, by the balls."""
    half = np.float32(size / 2)
    left, right, top, bottom = window.left - half, window.right + 1 - half, window.top - half, window.bottom + 1 - half
    for g in range(len(pos_G3)):
        if not is_shown_G[g]:
            continue
        radius = geometry.radius_G[g]
        x = y = z = np.float32(0.0)
        for k in range(3):
            at = pos_G3[g, k] - view.eye_3[k]
            for i in range(3):
                at += mat_G33[g, k, i] * geometry.centre_G3[g, i]
            x += view.axes_33[k, 0] * at
            y -= view.axes_33[k, 1] * at
            z -= view.axes_33[k, 2] * at
        if radius == 0 or z + radius < view.near_m or 2 * radius * view.pixels < z:
            is_shown_G[g] = False
        elif z > radius:  # else the camera may be inside
            x, y, reach = x * view.pixels / z, y * view.pixels / z, radius * view.pixels / (z - radius)
            is_shown_G[g] = x + reach > left and x - reach < right and y + reach > top and y - reach < bottom


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def cover(
    geometry: Geometry,
    pos_G3: Floats,
    mat_G33: Floats,
    view: View,
    is_shown_G: NDArray[np.bool_],
    limit_HW: Floats,
    window: Window,
    at_V3: Floats,
    nearness_HW: Floats,
    face_HW: NDArray[np.int32],
) -> None:
    """Put the triangles that are nearer than what is there into the picture.

    Each thing is projected, looked over and drawn before the next one, while the processor has its corners at hand.

    Args:
        geometry: All triangles.
        pos_G3: Where things are.
        mat_G33: How they are turned.
        view: The camera.
        is_shown_G: Which things to draw; changed to those that `find_visible` leaves.
        limit_HW: What is nearer is not there, 1 / m.
        window: Part of the picture in which to look.
        at_V3: To fill with where their corners are in the picture, from its middle, and their depth.
        nearness_HW: One over the depth of what each pixel shows, 1 / m; changed.
        face_HW: The triangle that it shows; changed.
    """
    size = len(nearness_HW)
    find_visible(geometry, pos_G3, mat_G33, view, size, window, is_shown_G)
    middle = np.float32(size / 2 - 0.5)
    column_W = np.arange(size).astype(np.float32)
    found_F = np.empty(len(geometry.corner_F3), np.int32)
    for g in range(len(is_shown_G)):
        if is_shown_G[g]:
            _project(geometry, pos_G3, mat_G33, view, g, at_V3)
            count = _find_in_front(geometry, view, g, at_V3, window, middle, found_F)
            _fill(geometry, view, found_F, count, at_V3, limit_HW, window, middle, column_W, nearness_HW, face_HW)


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _project(geometry: Geometry, pos_G3: Floats, mat_G33: Floats, view: View, g: int, at_V3: Floats) -> None:
    m = np.zeros((3, 4), np.float32)
    for i in range(3):
        scale = view.pixels if i == 0 else (-view.pixels if i == 1 else np.float32(-1.0))
        for k in range(3):
            axis = view.axes_33[k, i] * scale
            m[i, 3] += axis * (pos_G3[g, k] - view.eye_3[k])
            for j in range(3):
                m[i, j] += axis * mat_G33[g, k, j]
    m00, m01, m02, m03 = m[0, 0], m[0, 1], m[0, 2], m[0, 3]
    m10, m11, m12, m13 = m[1, 0], m[1, 1], m[1, 2], m[1, 3]
    m20, m21, m22, m23 = m[2, 0], m[2, 1], m[2, 2], m[2, 3]
    for v in range(geometry.first_corner_G[g], geometry.first_corner_G[g + 1]):
        x, y, z = geometry.place_V3[v, 0], geometry.place_V3[v, 1], geometry.place_V3[v, 2]
        depth = m20 * x + m21 * y + m22 * z + m23
        depth = depth if abs(depth) > _LEAST_DEPTH else _LEAST_DEPTH
        per = np.float32(1.0) / depth
        at_V3[v, 0] = (m00 * x + m01 * y + m02 * z + m03) * per
        at_V3[v, 1] = (m10 * x + m11 * y + m12 * z + m13) * per
        at_V3[v, 2] = depth


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _find_in_front(
    geometry: Geometry,
    view: View,
    g: int,
    at_V3: Floats,
    window: Window,
    middle: np.float32,
    found_F: NDArray[np.int32],
) -> int:
    """List a thing's triangles that may be seen; returns how many.

    Most are not: they face away, or lie between the middles of pixels. Nothing is branched upon, for a processor cannot
    guess which.
    """
    left_end, right_end = np.float32(window.left), np.float32(window.right)
    top_end, bottom_end = np.float32(window.top), np.float32(window.bottom)
    count = 0
    for f in range(geometry.first_face_G[g], geometry.first_face_G[g + 1]):
        i, j, k = geometry.corner_F3[f, 0], geometry.corner_F3[f, 1], geometry.corner_F3[f, 2]
        xi, yi, zi = at_V3[i, 0], at_V3[i, 1], at_V3[i, 2]
        xj, yj, zj = at_V3[j, 0], at_V3[j, 1], at_V3[j, 2]
        xk, yk, zk = at_V3[k, 0], at_V3[k, 1], at_V3[k, 2]
        # Rows grow downwards: what turns to the left is seen from behind.
        faces = ((xj - xi) * (yk - yi) - (xk - xi) * (yj - yi)) * view.facing < 0
        left, right = (
            max(np.ceil(min(xi, xj, xk) + middle), left_end),
            min(np.floor(max(xi, xj, xk) + middle), right_end),
        )
        top, bottom = (
            max(np.ceil(min(yi, yj, yk) + middle), top_end),
            min(np.floor(max(yi, yj, yk) + middle), bottom_end),
        )
        is_before = min(zi, zj, zk) >= view.near_m
        is_partly = (max(zi, zj, zk) >= view.near_m) & (not is_before)
        found_F[count] = f
        count += (is_before & faces & (left <= right) & (top <= bottom)) | is_partly
    return count


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _fill(
    geometry: Geometry,
    view: View,
    found_F: NDArray[np.int32],
    count: int,
    at_V3: Floats,
    limit_HW: Floats,
    window: Window,
    middle: np.float32,
    column_W: Floats,
    nearness_HW: Floats,
    face_HW: NDArray[np.int32],
) -> None:
    """Draw the first `count` triangles of `found_F`."""
    for n in range(count):
        f = found_F[n]
        i, j, k = geometry.corner_F3[f, 0], geometry.corner_F3[f, 1], geometry.corner_F3[f, 2]
        xi, yi, az = at_V3[i, 0], at_V3[i, 1], at_V3[i, 2]
        xj, yj, bz = at_V3[j, 0], at_V3[j, 1], at_V3[j, 2]
        xk, yk, cz = at_V3[k, 0], at_V3[k, 1], at_V3[k, 2]
        low_x, high_x, low_y, high_y = min(xi, xj, xk), max(xi, xj, xk), min(yi, yj, yk), max(yi, yj, yk)
        if min(az, bz, cz) < view.near_m:
            low_x, high_x, low_y, high_y = _bounds_before(at_V3, i, j, k, view.near_m)
        left = max(int(np.ceil(low_x + middle)), window.left)
        right = min(int(np.floor(high_x + middle)), window.right)
        top = max(int(np.ceil(low_y + middle)), window.top)
        bottom = min(int(np.floor(high_y + middle)), window.bottom)
        ax, ay, bx, by, cx, cy = xi * az, yi * az, xj * bz, yj * bz, xk * cz, yk * cz
        e0x, e0y, e0z = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
        volume = ax * e0x + ay * e0y + az * e0z
        if volume * view.facing >= 0:
            continue
        e1x, e1y, e1z = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax
        e2x, e2y, e2z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        per = np.float32(1.0) / volume
        nx, ny, nz = (e0x + e1x + e2x) * per, (e0y + e1y + e2y) * per, (e0z + e1z + e2z) * per
        f0, f1, f2 = _steps(e0x), _steps(e1x), _steps(e2x)
        s0, s1, s2 = e0x * view.facing, e1x * view.facing, e2x * view.facing
        for row in range(top, bottom + 1):
            y = np.float32(row) - middle
            at_0, at_1, at_2 = e0y * y + e0z, e1y * y + e1z, e2y * y + e2z
            low_0, high_0 = _inside(s0, at_0 * f0 + middle, at_0 * view.facing)
            low_1, high_1 = _inside(s1, at_1 * f1 + middle, at_1 * view.facing)
            low_2, high_2 = _inside(s2, at_2 * f2 + middle, at_2 * view.facing)
            first = int(np.ceil(max(low_0, low_1, low_2, np.float32(left))))
            end = int(np.floor(min(high_0, high_1, high_2, np.float32(right)))) + 1
            at_zero = ny * y + nz - nx * middle
            # Unsigned, so that no index counts from the end, and without a branch: compiled for many pixels at once.
            down = np.uint64(row)
            for column in range(np.uint64(first), np.uint64(max(first, end))):
                nearness = nx * column_W[column] + at_zero
                before = nearness_HW[down, column]
                is_it = (nearness >= before) & (nearness <= limit_HW[down, column])
                nearness_HW[down, column] = nearness if is_it else before
                face_HW[down, column] = f if is_it else face_HW[down, column]


@njit(nogil=True, cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _bounds_before(
    at_V3: Floats, i: int, j: int, k: int, near_m: np.float32
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Where the part of a triangle that lies before the near plane is in the picture: left, right, top, bottom."""
    low_x = low_y = np.float32(np.inf)
    high_x = high_y = np.float32(-np.inf)
    for a, b in ((i, j), (j, k), (k, i)):
        depth, other = at_V3[a, 2], at_V3[b, 2]
        ray_x, ray_y = at_V3[a, 0] * depth, at_V3[a, 1] * depth
        for is_there, share in (
            (depth >= near_m, np.float32(0.0)),
            ((depth < near_m) != (other < near_m), (near_m - depth) / (other - depth)),
        ):
            if is_there:
                per = np.float32(1.0) / (depth + share * (other - depth))
                x = (ray_x + share * (at_V3[b, 0] * other - ray_x)) * per
                y = (ray_y + share * (at_V3[b, 1] * other - ray_y)) * per
                low_x, high_x, low_y, high_y = min(low_x, x), max(high_x, x), min(low_y, y), max(high_y, y)
    return low_x, high_x, low_y, high_y


@njit(nogil=True, cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _steps(slope: np.float32) -> np.float32:
    """Minus one over the slope of an edge along a row; 0 for an edge along the row."""
    return np.float32(-1.0) / slope if slope != 0 else np.float32(0.0)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _inside(slope: np.float32, zero_at: np.float32, value: np.float32) -> tuple[np.float32, np.float32]:
    """The first and the last column inside an edge, not rounded; its two triangles share one `zero_at`."""
    low = zero_at if slope < 0 else -_FAR
    high = zero_at if slope > 0 else _FAR
    return low, high if slope != 0 or value <= 0 else -_FAR
