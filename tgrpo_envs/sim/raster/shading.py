"""Colours of the pixels whose triangles are known and whose corners are lit: textures as OpenGL filters them.

What is compiled together stands in this one file, since numba looks for changes in the file of the function that it
keeps. Functions that are called within a loop are inlined: numba would hand over every array of a record, which takes
longer than a pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tgrpo_envs.sim.raster.geometry import NO_TEXTURE, Geometry
from tgrpo_envs.sim.raster.shapes import Floats
from tgrpo_envs.sim.raster.textures import Textures
from tgrpo_envs.sim.raster.visibility import NOTHING, View

_BITS, _ONE, _FRACTION, _HALF_TEXEL = 8, np.float32(256.0), 255, 128  # of weights: a texel is 256 wide
_SAME_LEVEL = 7  # pixels of a row, less one, in which the level of a texture hardly changes
_FULL, _WHITE = np.float32(255.0), np.uint64(0xFF_00FF_00FF)
_CHANNELS, _ROUND = np.uint64(0xFF_00FF_00FF), np.uint64(0x80_0080_0080)  # three channels of 16 bits
_RED_AND_GREEN, _BLUE = np.uint64(0xFF_00FF), np.uint64(0xFF00_0000)  # of a texel
_REPEATS, _EDGE_GOES_ON = True, False  # textures outside of 0 to 1
Bytes = NDArray[np.uint8]
Texels = NDArray[np.uint32]
Number = Any  # compiled: of 32 bits, which `int` and `float` are not


@njit(nogil=True, cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _texel(texels_X: Texels, at: Number) -> Number:
    """Its colour in three channels of 16 bits, red lowest, so that one multiplication weighs all three."""
    texel = np.uint64(texels_X[np.uint64(at)])
    return texel & _RED_AND_GREEN | (texel & _BLUE) << np.uint64(8)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _mixed(colour: Number, other: Number, share: Number) -> Number:
    """Two colours of `_texel` in one, rounded; `share` is the second one's, of 256."""
    return ((colour << np.uint64(8)) + (other - colour) * share + _ROUND) >> np.uint64(8) & _CHANNELS


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _texels_at(texels_X: Texels, first: int, width: int, height: int, repeats: Number, s: Number, t: Number) -> Number:
    """One level's colour at (s, t), as `_texel` has it.

    Args:
        texels_X: All texels.
        first: Where the level begins.
        width: Its size in texels.
        height: Its size in texels.
        repeats: Whether it repeats outside of 0 to 1, or its edge goes on.
        s: Across.
        t: Along the rows.
    """
    half = np.float32(0.5)
    if repeats:
        s, t = s - np.floor(s), t - np.floor(t)
    x: Number = np.int64(s * (np.float32(width) * _ONE) + half) - _HALF_TEXEL
    y: Number = np.int64(t * (np.float32(height) * _ONE) + half) - _HALF_TEXEL
    along, down = np.uint64(x & _FRACTION), np.uint64(y & _FRACTION)
    left, top = x >> _BITS, y >> _BITS
    right, below = left + 1, top + 1
    if repeats:
        left, top = (left if left >= 0 else width - 1), (top if top >= 0 else height - 1)
        right, below = (right if right < width else 0), (below if below < height else 0)
    else:
        left, top = max(left, 0), max(top, 0)
        right, below = min(right, width - 1), min(below, height - 1)
    upper, lower = first + top * width, first + below * width
    above = _mixed(_texel(texels_X, upper + left), _texel(texels_X, upper + right), along)
    under = _mixed(_texel(texels_X, lower + left), _texel(texels_X, lower + right), along)
    return _mixed(above, under, down)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _cube_side(x: Number, y: Number, z: Number) -> int:
    """Which side of a cube map a direction meets."""
    ax, ay, az = abs(x), abs(y), abs(z)
    if ax >= ay and ax >= az:
        return 0 if x >= 0 else 1
    if ay >= az:
        return 2 if y >= 0 else 3
    return 4 if z >= 0 else 5


@njit(nogil=True, cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _on_side(side: int, x: Number, y: Number, z: Number) -> tuple[Number, Number]:
    """Where a direction meets the plane of one side, 0 to 1 within the side; the axes are OpenGL's."""
    if side < 2:
        along, s, t = x, (-z if side == 0 else z), -y
    elif side < 4:
        along, s, t = y, x, (z if side == 2 else -z)
    else:
        along, s, t = z, (x if side == 4 else -x), -y
    half, per = np.float32(0.5), np.float32(0.5) / abs(along)
    return s * per + half, t * per + half


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _edges(geometry: Geometry, at_V3: Floats, f: int) -> tuple[Number, ...]:
    """Nine numbers of a triangle: for each corner the normal of the plane through the eye and the two others."""
    i, j, k = geometry.corner_F3[f, 0], geometry.corner_F3[f, 1], geometry.corner_F3[f, 2]
    az, bz, cz = at_V3[i, 2], at_V3[j, 2], at_V3[k, 2]
    ax, ay, bx, by, cx, cy = (
        at_V3[i, 0] * az,
        at_V3[i, 1] * az,
        at_V3[j, 0] * bz,
        at_V3[j, 1] * bz,
        at_V3[k, 0] * cz,
        at_V3[k, 1] * cz,
    )
    e0x, e0y, e0z = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
    e1x, e1y, e1z = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax
    e2x, e2y, e2z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    return e0x, e0y, e0z, e1x, e1y, e1z, e2x, e2y, e2z


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _of_corners(geometry: Geometry, values_V3: Floats, f: int) -> tuple[Number, ...]:
    """Nine numbers of a triangle: the first value of its three corners, then the second, then the third."""
    i, j, k = geometry.corner_F3[f, 0], geometry.corner_F3[f, 1], geometry.corner_F3[f, 2]
    a0, a1, a2 = values_V3[i, 0], values_V3[j, 0], values_V3[k, 0]
    b0, b1, b2 = values_V3[i, 1], values_V3[j, 1], values_V3[k, 1]
    c0, c1, c2 = values_V3[i, 2], values_V3[j, 2], values_V3[k, 2]
    return a0, a1, a2, b0, b1, b2, c0, c1, c2


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _in_row(edges: tuple[Number, ...], y: Number) -> tuple[Number, ...]:
    """Six numbers of a triangle in a row of rays: slope and value at x = 0 of two weights, and of all three."""
    e0, e1, e2 = edges[1] * y + edges[2], edges[4] * y + edges[5], edges[7] * y + edges[8]
    return edges[0], e0, edges[3], e1, edges[0] + edges[3] + edges[6], e0 + e1 + e2


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _weights(in_row: tuple[Number, ...], x: Number) -> tuple[Number, Number, Number]:
    """How much each corner counts where the ray at `x` meets the triangle."""
    one = np.float32(1.0)
    per = one / (in_row[4] * x + in_row[5])
    w0, w1 = (in_row[0] * x + in_row[1]) * per, (in_row[2] * x + in_row[3]) * per
    return w0, w1, one - w0 - w1


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _between(of_corners: tuple[Number, ...], weights: tuple[Number, ...]) -> tuple[Number, Number, Number]:
    """The three values of `_of_corners` at a point of the triangle."""
    first = weights[0] * of_corners[0] + weights[1] * of_corners[1] + weights[2] * of_corners[2]
    second = weights[0] * of_corners[3] + weights[1] * of_corners[4] + weights[2] * of_corners[5]
    third = weights[0] * of_corners[6] + weights[1] * of_corners[7] + weights[2] * of_corners[8]
    return first, second, third


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _put(rgb_HW3: Bytes, row: int, column: int, texel: Number, light: tuple[Number, Number, Number]) -> None:
    """Fill a pixel with a texture's colour in this light."""
    byte = np.uint64(0xFF)
    red, green, blue = np.int64(texel & byte), np.int64(texel >> np.uint64(16) & byte), np.int64(texel >> np.uint64(32))
    rgb_HW3[row, column, 0] = _byte(np.float32(red) * light[0])
    rgb_HW3[row, column, 1] = _byte(np.float32(green) * light[1])
    rgb_HW3[row, column, 2] = _byte(np.float32(blue) * light[2])


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _byte(value: Number) -> Number:
    """A channel, rounded; interpolation may leave 0 to 255 by a little."""
    return np.uint8(np.int32(min(max(value, np.float32(0.0)), _FULL) + np.float32(0.5)))


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _levels(textures: Textures, texture: int, across: Number, down: Number) -> tuple[Number, ...]:
    """The levels that are mixed where neighbours are so far apart in s and in t.

    Returns:
        First texel, width and height of the finer one and of the coarser one, and the share of the latter, of 256.
    """
    one = np.float32(1.0)
    stretch = max(across * np.float32(textures.width_TL[texture, 0]), down * np.float32(textures.height_TL[texture, 0]))
    level = min(np.log2(max(stretch, one)), np.float32(textures.levels_T[texture]) - one)
    lower = np.int64(level)
    share = np.uint64(np.int64((level - np.float32(lower)) * _ONE))
    upper = lower + 1 if share > 0 else lower
    width, height = np.int64(textures.width_TL[texture, lower]), np.int64(textures.height_TL[texture, lower])
    less_width, less_height = np.int64(textures.width_TL[texture, upper]), np.int64(textures.height_TL[texture, upper])
    first, less_first = textures.first_TL[texture, lower], textures.first_TL[texture, upper]
    return first, width, height, less_first, less_width, less_height, share


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _filtered(texels_X: Texels, levels: tuple[Number, ...], repeats: Number, s: Number, t: Number) -> Number:
    """A texture's colour at (s, t) between two `_levels`."""
    colour = _texels_at(texels_X, levels[0], levels[1], levels[2], repeats, s, t)
    if levels[6] > 0:
        other = _texels_at(texels_X, levels[3], levels[4], levels[5], repeats, s, t)
        colour = _mixed(colour, other, levels[6])
    return colour


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _end_of_run(face_HW: NDArray[np.int32], row: int, start: int) -> int:
    """The column after the last one that goes on showing the triangle of `start`."""
    end = start + 1
    while end < len(face_HW) and face_HW[row, end] == face_HW[row, start]:
        end += 1
    return end


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)  # type: ignore[untyped-decorator]
def _paint_flat(
    geometry: Geometry,
    textures: Textures,
    at_V3: Floats,
    face_HW: NDArray[np.int32],
    thing_F: NDArray[np.int32],
    lit_V3: Floats,
    rgb_HW3: Bytes,
) -> bool:
    """Colour what has no texture or a flat one; returns whether there is more, with cube maps."""
    one, middle = np.float32(1.0), np.float32(len(face_HW) / 2 - 0.5)
    has_more = False
    for row in range(len(face_HW)):
        y = np.float32(row) - middle
        start = end = 0
        while end < len(face_HW):
            start, end = end, _end_of_run(face_HW, row, end)
            f = face_HW[row, start]
            if f == NOTHING:
                continue
            g = thing_F[f]
            if geometry.is_cube_G[g]:
                has_more = True
                continue
            texture = geometry.texture_G[g]
            edges, lit = _edges(geometry, at_V3, f), _of_corners(geometry, lit_V3, f)
            in_row = _in_row(edges, y)
            if texture == NO_TEXTURE:
                for column in range(start, end):
                    weights = _weights(in_row, np.float32(column) - middle)
                    _put(rgb_HW3, row, column, _WHITE, _between(lit, weights))
                continue
            below_row = _in_row(edges, y + one)
            texcoords = _of_corners(geometry, geometry.texcoord_V3, f)
            while start < end:
                x = np.float32(start) - middle
                s, t, _ = _between(texcoords, _weights(in_row, x))
                s_right, t_right, _ = _between(texcoords, _weights(in_row, x + one))
                s_below, t_below, _ = _between(texcoords, _weights(below_row, x))
                across, down = max(abs(s_right - s), abs(s_below - s)), max(abs(t_right - t), abs(t_below - t))
                levels = _levels(textures, texture, across, down)
                stop = min((start | _SAME_LEVEL) + 1, end)
                for column in range(start, stop):
                    weights = _weights(in_row, np.float32(column) - middle)
                    s, t, _ = _between(texcoords, weights)
                    colour = _filtered(textures.texels_X, levels, _REPEATS, s, t)
                    _put(rgb_HW3, row, column, colour, _between(lit, weights))
                start = stop
    return has_more


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)  # type: ignore[untyped-decorator]
def _paint_cubes(
    geometry: Geometry,
    textures: Textures,
    at_V3: Floats,
    face_HW: NDArray[np.int32],
    thing_F: NDArray[np.int32],
    lit_V3: Floats,
    rgb_HW3: Bytes,
) -> None:
    """Colour what has a cube map. A loop of its own: in one with the rest, both take longer."""
    one, middle = np.float32(1.0), np.float32(len(face_HW) / 2 - 0.5)
    for row in range(len(face_HW)):
        y = np.float32(row) - middle
        start = end = 0
        while end < len(face_HW):
            start, end = end, _end_of_run(face_HW, row, end)
            f = face_HW[row, start]
            if f == NOTHING or not geometry.is_cube_G[thing_F[f]]:
                continue
            texture = geometry.texture_G[thing_F[f]]
            edges, lit = _edges(geometry, at_V3, f), _of_corners(geometry, lit_V3, f)
            in_row, below_row = _in_row(edges, y), _in_row(edges, y + one)
            directions = _of_corners(geometry, geometry.texcoord_V3, f)
            while start < end:
                stop = min((start | _SAME_LEVEL) + 1, end)
                x = np.float32(start) - middle
                here = _between(directions, _weights(in_row, x))
                right = _between(directions, _weights(in_row, x + one))
                below = _between(directions, _weights(below_row, x))
                last = _between(directions, _weights(in_row, np.float32(stop - 1) - middle))
                side = _cube_side(here[0], here[1], here[2])
                if side != _cube_side(last[0], last[1], last[2]):
                    stop = start + 1
                s, t = _on_side(side, here[0], here[1], here[2])
                s_right, t_right = _on_side(side, right[0], right[1], right[2])
                s_below, t_below = _on_side(side, below[0], below[1], below[2])
                across, down = max(abs(s_right - s), abs(s_below - s)), max(abs(t_right - t), abs(t_below - t))
                levels = _levels(textures, texture + side, across, down)
                for column in range(start, stop):
                    weights = _weights(in_row, np.float32(column) - middle)
                    here = _between(directions, weights)
                    s, t = _on_side(side, here[0], here[1], here[2])
                    colour = _filtered(textures.texels_X, levels, _EDGE_GOES_ON, s, t)
                    _put(rgb_HW3, row, column, colour, _between(lit, weights))
                start = stop


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)  # type: ignore[untyped-decorator]
def paint(
    geometry: Geometry,
    textures: Textures,
    at_V3: Floats,
    face_HW: NDArray[np.int32],
    thing_F: NDArray[np.int32],
    lit_V3: Floats,
    rgb_HW3: Bytes,
) -> None:
    """Fill `rgb_HW3` where `face_HW` shows a triangle, whose corners must be lit."""
    if _paint_flat(geometry, textures, at_V3, face_HW, thing_F, lit_V3, rgb_HW3):
        _paint_cubes(geometry, textures, at_V3, face_HW, thing_F, lit_V3, rgb_HW3)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)  # type: ignore[untyped-decorator]
def paint_sky(textures: Textures, sky: int, view: View, face_HW: NDArray[np.int32], rgb_HW3: Bytes) -> None:
    """Fill `rgb_HW3` where no triangle is."""
    size = len(face_HW)
    half = np.float32(size / 2)
    axes = view.axes_33
    width = np.float32(textures.width_TL[sky, 0])
    level = min(np.int64(np.log2(max(width / (2 * view.pixels), np.float32(1.0)))), textures.levels_T[sky] - 1)
    first_T, side_width = textures.first_TL[:, level], textures.width_TL[sky, level]
    for row in range(size):
        up = -(row + np.float32(0.5) - half) / view.pixels
        for column in range(size):
            if face_HW[row, column] != NOTHING:
                continue
            right = (column + np.float32(0.5) - half) / view.pixels
            x = axes[0, 0] * right + axes[0, 1] * up - axes[0, 2]
            y = axes[1, 0] * right + axes[1, 1] * up - axes[1, 2]
            z = axes[2, 0] * right + axes[2, 1] * up - axes[2, 2]
            side = _cube_side(x, z, -y)
            s, t = _on_side(side, x, z, -y)
            colour = _texels_at(textures.texels_X, first_T[sky + side], side_width, side_width, _EDGE_GOES_ON, s, t)
            for channel in range(3):
                rgb_HW3[row, column, channel] = colour >> np.uint64(16 * channel) & np.uint64(0xFF)
