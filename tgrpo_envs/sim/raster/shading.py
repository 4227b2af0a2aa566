"""Colours of the pixels whose triangles are known and whose corners are lit: textures as OpenGL filters them.

Pixels are gathered in a batch, run by run, and coloured together, step by step. Each step is a plain loop over arrays
of 32 bits, which is compiled for eight pixels and more at a time; texels alone are fetched one by one.

What is compiled together stands in this one file, since numba looks for changes in the file of the function that it
keeps. Functions that are called within a loop are inlined: numba would hand over every array of a record, which takes
longer than a pixel. Indices are unsigned there, so that none counts from an array's end.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tgrpo_envs.sim.raster.geometry import NO_TEXTURE, Geometry
from tgrpo_envs.sim.raster.shapes import Floats
from tgrpo_envs.sim.raster.textures import Textures
from tgrpo_envs.sim.raster.visibility import NOTHING, View

_BATCH = 512  # pixels; their arrays stay in the processor's cache
_SAME_LEVEL = 8  # pixels of a run in which the level of a texture hardly changes
_PARTS = np.float32(256.0)  # of a texel's width, and of a share
_FULL = np.float32(255.0)
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]
Number = Any  # compiled: of 32 bits, which `int` and `float` are not


class Batch(NamedTuple):
    """P pixels to colour.

    Attributes:
        place_P: Where each is in the picture, counted along the rows.
        at_2P: Where it is in its texture, 0 to 1 from its corner, or outside if it repeats.
        stretch_P: How many of its texels neighbouring pixels are apart.
        light_3P: Light on it, red, green and blue, 0 to 1.
        level_2P: The finer and the coarser level that are mixed, counted through the levels of all textures.
        share_P: The coarser one's share.
    """

    place_P: Ints
    at_2P: Floats
    stretch_P: Floats
    light_3P: Floats
    level_2P: Ints
    share_P: Floats


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _new_batch() -> Batch:
    numbers, whole = np.empty((7, _BATCH), np.float32), np.empty((3, _BATCH), np.int32)
    return Batch(whole[0], numbers[:2], numbers[2], numbers[3:6], whole[1:], numbers[6])


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)  # type: ignore[untyped-decorator]
def _find_texels(
    textures: Textures, level_P: Ints, u_P: Floats, v_P: Floats, count: int, texel_4P: Ints, share_2P: Floats
) -> None:
    """Fill `texel_4P` with the four texels around (u, v), from the upper left one to the lower right one.

    And `share_2P` with the share of the right ones and of the lower ones.
    """
    size_4P = np.empty((4, _BATCH), np.int32)
    first_P, width_P, height_P, repeats_P = size_4P[0], size_4P[1], size_4P[2], size_4P[3]
    for p in range(np.uint64(count)):
        level = np.uint64(level_P[p])
        first_P[p], repeats_P[p] = textures.first_M[level], textures.repeats_M[level]
        width_P[p], height_P[p] = textures.width_M[level], textures.height_M[level]
    zero, half, one, end = np.float32(0.0), np.float32(0.5), np.float32(1.0), len(textures.texels_X)
    a_P, b_P, c_P, d_P, along_P, down_P = texel_4P[0], texel_4P[1], texel_4P[2], texel_4P[3], share_2P[0], share_2P[1]
    for p in range(np.uint64(count)):
        width, height, repeats = np.float32(width_P[p]), np.float32(height_P[p]), repeats_P[p] != 0
        u = u_P[p] - (np.floor(u_P[p]) if repeats else zero)
        v = v_P[p] - (np.floor(v_P[p]) if repeats else zero)
        x, y = np.floor(u * width * _PARTS + half) / _PARTS - half, np.floor(v * height * _PARTS + half) / _PARTS - half
        left, top = np.floor(x), np.floor(y)
        along_P[p], down_P[p] = x - left, y - top
        right, below = left + one, top + one
        last_column, last_row = width - one, height - one
        left = left if left >= 0 else (last_column if repeats else zero)
        top = top if top >= 0 else (last_row if repeats else zero)
        right = right if right < width else (zero if repeats else last_column)
        below = below if below < height else (zero if repeats else last_row)
        upper = first_P[p] + np.int32(top) * width_P[p]
        lower = first_P[p] + np.int32(below) * width_P[p]
        # Of a triangle that is seen from its edge, (u, v) may be no number.
        a_P[p], b_P[p] = _within(upper + np.int32(left), end), _within(upper + np.int32(right), end)
        c_P[p], d_P[p] = _within(lower + np.int32(left), end), _within(lower + np.int32(right), end)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _within(texel: Number, end: int) -> Number:
    return np.int32(min(max(np.int32(texel), np.int32(0)), np.int32(end - 1)))


@njit(nogil=True, cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _channel(texel: Number, shift: int) -> Number:
    return np.float32(np.int32(texel >> np.uint32(shift) & np.uint32(0xFF)))


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _mixed(colour: Number, other: Number, share: Number) -> Number:
    """Two colours in one, a whole number as OpenGL makes it; `share` is the second one's, in 256ths."""
    return np.floor(colour + share * (other - colour) + np.float32(0.5))


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)  # type: ignore[untyped-decorator]
def sample(textures: Textures, level_P: Ints, u_P: Floats, v_P: Floats, count: int, colour_3P: Floats) -> None:
    """Fill `colour_3P` with one level's colours at (u, v), 0 to 255.

    Args:
        textures: All textures.
        level_P: Which level of which texture, counted through the levels of all.
        u_P: Across, 0 to 1, or outside if the texture repeats.
        v_P: Along the rows.
        count: How many there are, at most a batch.
        colour_3P: To fill.
    """
    texel_4P, share_2P = np.empty((4, _BATCH), np.int32), np.empty((2, _BATCH), np.float32)
    _find_texels(textures, level_P, u_P, v_P, count, texel_4P, share_2P)
    fetched_4P = np.empty((4, _BATCH), np.uint32)
    for k in range(4):
        for p in range(np.uint64(count)):
            fetched_4P[k, p] = textures.texels_X[np.uint64(texel_4P[k, p])]
    a_P, b_P, c_P, d_P = fetched_4P[0], fetched_4P[1], fetched_4P[2], fetched_4P[3]
    along_P, down_P = share_2P[0], share_2P[1]
    for channel in range(3):
        colour_P, shift = colour_3P[channel], 8 * channel
        for p in range(np.uint64(count)):
            a, b = _channel(a_P[p], shift), _channel(b_P[p], shift)
            c, d = _channel(c_P[p], shift), _channel(d_P[p], shift)
            colour_P[p] = _mixed(_mixed(a, b, along_P[p]), _mixed(c, d, along_P[p]), down_P[p])


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)  # type: ignore[untyped-decorator]
def _put(textures: Textures, batch: Batch, count: int, rgb_HW3: Bytes) -> None:
    """Colour the first pixels of a batch."""
    fine_3P, coarse_3P = np.empty((3, _BATCH), np.float32), np.empty((3, _BATCH), np.float32)
    u_P, v_P = batch.at_2P[0], batch.at_2P[1]
    sample(textures, batch.level_2P[0], u_P, v_P, count, fine_3P)
    if (batch.share_P[:count] > 0).any():
        sample(textures, batch.level_2P[1], u_P, v_P, count, coarse_3P)
    else:
        coarse_3P = fine_3P
    byte_3P = np.empty((3, _BATCH), np.uint8)
    for channel in range(3):
        fine_P, coarse_P = fine_3P[channel], coarse_3P[channel]
        light_P, byte_P = batch.light_3P[channel], byte_3P[channel]
        for p in range(np.uint64(count)):
            value = _mixed(fine_P[p], coarse_P[p], batch.share_P[p]) * light_P[p] + np.float32(0.5)
            byte_P[p] = np.uint8(np.int32(min(max(value, np.float32(0.0)), _FULL)))
    rgb_X3 = rgb_HW3.reshape(-1, 3)
    for p in range(np.uint64(count)):
        place = np.uint64(batch.place_P[p])
        rgb_X3[place, 0], rgb_X3[place, 1], rgb_X3[place, 2] = byte_3P[0, p], byte_3P[1, p], byte_3P[2, p]


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
def _to_side(side: int, x: Number, y: Number, z: Number) -> tuple[Number, Number, Number]:
    """A direction's parts across one side of a cube map, along its rows and out of it; the axes are OpenGL's."""
    if side < 2:
        return (-z if side == 0 else z), -y, (x if side == 0 else -x)
    if side < 4:
        return x, (z if side == 2 else -z), (y if side == 2 else -y)
    return (x if side == 4 else -x), -y, (z if side == 4 else -z)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _edges(geometry: Geometry, at_V3: Floats, f: int) -> tuple[Number, ...]:
    """Nine numbers of a triangle: for each corner the normal of the plane through the eye and the two others.

    They are scaled so that the three products with a ray add up to one over the depth at which it meets the triangle.
    """
    i, j, k = geometry.corner_F3[f, 0], geometry.corner_F3[f, 1], geometry.corner_F3[f, 2]
    az, bz, cz = at_V3[i, 2], at_V3[j, 2], at_V3[k, 2]
    ax, bx, cx = at_V3[i, 0] * az, at_V3[j, 0] * bz, at_V3[k, 0] * cz
    ay, by, cy = at_V3[i, 1] * az, at_V3[j, 1] * bz, at_V3[k, 1] * cz
    e0x, e0y, e0z = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
    e1x, e1y, e1z = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax
    e2x, e2y, e2z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    per = np.float32(1.0) / (ax * e0x + ay * e0y + az * e0z)
    return e0x * per, e0y * per, e0z * per, e1x * per, e1y * per, e1z * per, e2x * per, e2y * per, e2z * per


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _plane(edges: tuple[Number, ...], y: Number, a: Number, b: Number, c: Number) -> tuple[Number, Number, Number]:
    """What corners have, over the depth, on rays of a row: at x = 0, and how it grows to the right and downwards."""
    right = edges[0] * a + edges[3] * b + edges[6] * c
    down = edges[1] * a + edges[4] * b + edges[7] * c
    return down * y + edges[2] * a + edges[5] * b + edges[8] * c, right, down


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _planes(
    geometry: Geometry, edges: tuple[Number, ...], y: Number, values_V3: Floats, f: int
) -> tuple[tuple[Number, Number, Number], ...]:
    """`_plane` of each of three values of a triangle's corners."""
    i, j, k = geometry.corner_F3[f, 0], geometry.corner_F3[f, 1], geometry.corner_F3[f, 2]
    return (
        _plane(edges, y, values_V3[i, 0], values_V3[j, 0], values_V3[k, 0]),
        _plane(edges, y, values_V3[i, 1], values_V3[j, 1], values_V3[k, 1]),
        _plane(edges, y, values_V3[i, 2], values_V3[j, 2], values_V3[k, 2]),
    )


@njit(nogil=True, cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _side_planes(side: int, x: Number, y: Number, z: Number) -> tuple[tuple[Number, Number, Number], ...]:
    """`_plane` of u and v, 0 to 1 within a cube map's side, and of what they are divided by, from a direction's."""
    half = np.float32(0.5)
    u0, v0, out0 = _to_side(side, x[0], y[0], z[0])
    u1, v1, out1 = _to_side(side, x[1], y[1], z[1])
    u2, v2, out2 = _to_side(side, x[2], y[2], z[2])
    return (
        (half * (u0 + out0), half * (u1 + out1), half * (u2 + out2)),
        (half * (v0 + out0), half * (v1 + out1), half * (v2 + out2)),
        (out0, out1, out2),
    )


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _levels(textures: Textures, texture: int, stretch: Number) -> tuple[Number, Number, Number]:
    """The two levels that are mixed where neighbours are so many texels apart, and the share of the second."""
    one = np.float32(1.0)
    level = min(np.log2(max(stretch, one)), np.float32(textures.num_levels_T[texture]) - one)
    lower = np.int32(level)
    share = np.floor((level - np.float32(lower)) * _PARTS) / _PARTS
    fine = np.int32(textures.first_level_T[texture] + lower)
    return fine, (np.int32(fine + 1) if share > 0 else fine), share


@njit(nogil=True, cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _set_levels(batch: Batch, first: int, end: int, levels: tuple[Number, Number, Number]) -> None:
    for p in range(np.uint64(first), np.uint64(end)):
        batch.level_2P[0, p], batch.level_2P[1, p], batch.share_P[p] = levels


@njit(nogil=True, cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _end_of_run(face_HW: Ints, row: int, start: int) -> int:
    """The column after the last one that goes on showing the triangle of `start`, within a batch."""
    end, last = start + 1, min(len(face_HW), start + _BATCH)
    while end < last and face_HW[row, end] == face_HW[row, start]:
        end += 1
    return end


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _end_of_side(side: int, x: Number, y: Number, z: Number, at: Number, start: int, end: int) -> int:
    """The column after the last one, from `start`, whose direction still meets this side of a cube map."""
    last = at + np.float32(end - 1 - start)
    if _cube_side(x[0] + x[1] * last, y[0] + y[1] * last, z[0] + z[1] * last) == side:
        return end
    stop = start + 1
    at += np.float32(1.0)
    while _cube_side(x[0] + x[1] * at, y[0] + y[1] * at, z[0] + z[1] * at) == side:
        stop += 1
        at += np.float32(1.0)
    return stop


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _interpolate(
    batch: Batch,
    first: int,
    end: int,
    place: Number,
    x: Number,
    texture: tuple[tuple[Number, ...], ...],
    texels: tuple[Number, Number],
    lit: tuple[tuple[Number, ...], ...],
    near: tuple[Number, ...],
) -> None:
    """Fill pixels of a batch that follow each other: light, place in the texture, and how far apart neighbours are.

    Args:
        batch: The batch.
        first: The first one.
        end: The one after the last.
        place: The first one's place in the picture.
        x: Its ray's.
        texture: `_plane` of u, of v, and of what they are divided by.
        texels: Width and height of the texture.
        lit: `_plane` of the light's three colours.
        near: `_plane` of one.
    """
    one, (u, v, by), (red, green, blue) = np.float32(1.0), texture, lit
    for n in range(np.uint64(end - first)):
        p, at = np.uint64(first) + n, x + np.float32(np.int32(n))
        batch.place_P[p] = place + np.int32(n)
        per = one / (near[0] + near[1] * at)
        batch.light_3P[0, p] = (red[0] + red[1] * at) * per
        batch.light_3P[1, p] = (green[0] + green[1] * at) * per
        batch.light_3P[2, p] = (blue[0] + blue[1] * at) * per
        per = one / (by[0] + by[1] * at)
        s, t = (u[0] + u[1] * at) * per, (v[0] + v[1] * at) * per
        across = max(abs(u[1] - s * by[1]), abs(u[2] - s * by[2])) * texels[0]
        down = max(abs(v[1] - t * by[1]), abs(v[2] - t * by[2])) * texels[1]
        batch.at_2P[0, p], batch.at_2P[1, p], batch.stretch_P[p] = s, t, max(across, down) * per


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)  # type: ignore[untyped-decorator]
def paint(
    geometry: Geometry,
    textures: Textures,
    at_V3: Floats,
    face_HW: Ints,
    thing_F: Ints,
    lit_V3: Floats,
    rgb_HW3: Bytes,
) -> None:
    """Fill `rgb_HW3` where `face_HW` shows a triangle, whose corners must be lit."""
    batch, count, size = _new_batch(), 0, len(face_HW)
    one, middle = np.float32(1.0), np.float32(size / 2 - 0.5)
    white = len(textures.first_level_T) - 1
    for row in range(size):
        y = np.float32(row) - middle
        start = end = 0
        while end < size:
            start, end = end, _end_of_run(face_HW, row, end)
            f = face_HW[row, start]
            if f == NOTHING:
                continue
            if count + end - start > _BATCH:
                _put(textures, batch, count, rgb_HW3)
                count = 0
            g = thing_F[f]
            edges = _edges(geometry, at_V3, f)
            near, lit = _plane(edges, y, one, one, one), _planes(geometry, edges, y, lit_V3, f)
            u, v, w = _planes(geometry, edges, y, geometry.texcoord_V3, f)
            texture = geometry.texture_G[g] if geometry.texture_G[g] != NO_TEXTURE else white
            while start < end:  # once, or for each side of a cube map
                x, stop, side, planes = np.float32(start) - middle, end, 0, (u, v, near)
                if geometry.is_cube_G[g]:
                    side = _cube_side(u[0] + u[1] * x, v[0] + v[1] * x, w[0] + w[1] * x)
                    stop, planes = _end_of_side(side, u, v, w, x, start, end), _side_planes(side, u, v, w)
                finest, after = textures.first_level_T[texture + side], count + stop - start
                texels = (np.float32(textures.width_M[finest]), np.float32(textures.height_M[finest]))
                place = np.int32(row * size + start)
                _interpolate(batch, count, after, place, x, planes, texels, lit, near)
                while count < after:
                    some = min(count + _SAME_LEVEL, after)
                    _set_levels(batch, count, some, _levels(textures, texture + side, batch.stretch_P[count]))
                    count = some
                start = stop
    _put(textures, batch, count, rgb_HW3)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)  # type: ignore[untyped-decorator]
def paint_sky(textures: Textures, sky: int, view: View, face_HW: Ints, rgb_HW3: Bytes) -> None:
    """Fill `rgb_HW3` where no triangle is."""
    batch, count, size = _new_batch(), 0, len(face_HW)
    half, axes = np.float32(size / 2), view.axes_33
    width = np.float32(textures.width_M[textures.first_level_T[sky]])
    finest = np.int64(np.log2(max(width / (2 * view.pixels), np.float32(1.0))))
    level = min(finest, textures.num_levels_T[sky] - 1)
    batch.light_3P[:] = 1.0
    for row in range(size):
        up = -(row + np.float32(0.5) - half) / view.pixels
        for column in range(size):
            if face_HW[row, column] != NOTHING:
                continue
            if count == _BATCH:
                _put(textures, batch, count, rgb_HW3)
                count = 0
            right = (column + np.float32(0.5) - half) / view.pixels
            x = axes[0, 0] * right + axes[0, 1] * up - axes[0, 2]
            y = axes[1, 0] * right + axes[1, 1] * up - axes[1, 2]
            z = axes[2, 0] * right + axes[2, 1] * up - axes[2, 2]
            side = _cube_side(x, z, -y)
            batch.place_P[count] = row * size + column
            u, v, w = _to_side(side, x, z, -y)
            batch.at_2P[0, count], batch.at_2P[1, count] = (u + w) / (2 * w), (v + w) / (2 * w)
            own = np.int32(textures.first_level_T[sky + side] + level)
            _set_levels(batch, count, count + 1, (own, own, np.float32(0.0)))
            count += 1
    _put(textures, batch, count, rgb_HW3)
