"""Colours of the pixels whose triangles are known, as OpenGL's fixed pipeline has them.

Light is computed at corners and interpolated; only corners of triangles that are seen are lit. What is compiled
together stands in this one file, since numba looks for changes in the file of the function that it keeps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tgrpo_envs.sim.raster.drawing import Lights
from tgrpo_envs.sim.raster.geometry import NO_TEXTURE, Geometry
from tgrpo_envs.sim.raster.shapes import Floats
from tgrpo_envs.sim.raster.textures import Textures
from tgrpo_envs.sim.raster.visibility import NOTHING, View

_ONE = np.float32(256.0)  # of weights
_CHANNELS, _ROUND = np.uint64(0xFF_00FF_00FF), np.uint64(0x80_0080_0080)  # three channels of 16 bits
_EDGE_GOES_ON = False  # outside of 0 to 1, in place of repeating
Number = Any  # compiled: of 32 bits, which `int` and `float` are not


class Scene(NamedTuple):
    """Where things and lights are, and who looks at them (`eye_3`, in a mirror the eye's image); metres."""

    pos_G3: Floats
    mat_G33: Floats
    rgba_G4: Floats
    light_pos_L3: Floats
    light_dir_L3: Floats
    eye_3: Floats


@njit(nogil=True, cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _mixed(colour: Number, other: Number, share: Number) -> Number:
    """Two colours of `_texels_at` in one, rounded; `share` is the second one's, of 256."""
    return (colour * (np.uint64(256) - share) + other * share + _ROUND) >> np.uint64(8) & _CHANNELS


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _texels_at(
    texels_X: NDArray[np.uint64], first: int, width: int, height: int, repeats: Number, s: Number, t: Number
) -> Number:
    """One level's colour at (s, t): three channels of 16 bits, 0 to 255 each.

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
    x, y = s * np.float32(width) - half, t * np.float32(height) - half
    floor_x, floor_y = np.floor(x), np.floor(y)
    along, down = np.uint64((x - floor_x) * _ONE + half), np.uint64((y - floor_y) * _ONE + half)
    left: Number = np.int64(floor_x)
    top: Number = np.int64(floor_y)
    right: Number = left + 1
    below: Number = top + 1
    if repeats:
        left, top = (left if left >= 0 else width - 1), (top if top >= 0 else height - 1)
        right, below = (right if right < width else 0), (below if below < height else 0)
    else:
        left, top = max(left, 0), max(top, 0)
        right, below = min(right, width - 1), min(below, height - 1)
    upper, lower = first + top * width, first + below * width
    above = _mixed(texels_X[np.uint64(upper + left)], texels_X[np.uint64(upper + right)], along)
    under = _mixed(texels_X[np.uint64(lower + left)], texels_X[np.uint64(lower + right)], along)
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


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)  # type: ignore[untyped-decorator]
def _power(base: np.float32, exponent: np.float32) -> np.float32:
    """LIBERO's lamps have whole exponents, for which multiplying is faster."""
    whole = int(exponent)
    return base**whole if whole == exponent else base**exponent


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)  # type: ignore[untyped-decorator]
def _light_corner(geometry: Geometry, lights: Lights, scene: Scene, g: int, v: int, lit_V3: Floats) -> None:
    """Fill a row of `lit_V3` with the light that comes from a corner, 0 to 1, before its texture.

    Rows of arrays are not taken out one by one: numba counts references to each, which takes longer than the light.
    """
    zero, one = np.float32(0.0), np.float32(1.0)
    mat, pos = scene.mat_G33, scene.pos_G3
    x, y, z = geometry.place_V3[v, 0], geometry.place_V3[v, 1], geometry.place_V3[v, 2]
    px = pos[g, 0] + mat[g, 0, 0] * x + mat[g, 0, 1] * y + mat[g, 0, 2] * z
    py = pos[g, 1] + mat[g, 1, 0] * x + mat[g, 1, 1] * y + mat[g, 1, 2] * z
    pz = pos[g, 2] + mat[g, 2, 0] * x + mat[g, 2, 1] * y + mat[g, 2, 2] * z
    x, y, z = geometry.normal_V3[v, 0], geometry.normal_V3[v, 1], geometry.normal_V3[v, 2]
    nx = mat[g, 0, 0] * x + mat[g, 0, 1] * y + mat[g, 0, 2] * z
    ny = mat[g, 1, 0] * x + mat[g, 1, 1] * y + mat[g, 1, 2] * z
    nz = mat[g, 2, 0] * x + mat[g, 2, 1] * y + mat[g, 2, 2] * z
    vx, vy, vz = scene.eye_3[0] - px, scene.eye_3[1] - py, scene.eye_3[2] - pz
    per = one / np.sqrt(vx * vx + vy * vy + vz * vz)
    vx, vy, vz = vx * per, vy * per, vz * per
    own_red, own_green, own_blue = scene.rgba_G4[g, 0], scene.rgba_G4[g, 1], scene.rgba_G4[g, 2]
    glow = geometry.emission_G[g]
    red, green, blue = glow * own_red, glow * own_green, glow * own_blue
    for light in range(len(scene.light_pos_L3)):
        strength = one
        dx, dy, dz = scene.light_dir_L3[light, 0], scene.light_dir_L3[light, 1], scene.light_dir_L3[light, 2]
        lx, ly, lz = -dx, -dy, -dz
        if not lights.is_directional_L[light]:
            lx, ly, lz = (
                scene.light_pos_L3[light, 0] - px,
                scene.light_pos_L3[light, 1] - py,
                scene.light_pos_L3[light, 2] - pz,
            )
            distance = np.sqrt(lx * lx + ly * ly + lz * lz)
            per = one / distance
            lx, ly, lz = lx * per, ly * per, lz * per
            cos = -(lx * dx + ly * dy + lz * dz)
            if cos < lights.cutoff_L[light]:
                continue
            fall_0, fall_1 = lights.attenuation_L3[light, 0], lights.attenuation_L3[light, 1]
            strength = one / (fall_0 + distance * (fall_1 + distance * lights.attenuation_L3[light, 2]))
            if lights.cutoff_L[light] >= -one:
                strength *= _power(cos, lights.exponent_L[light])
        diffuse = max(nx * lx + ny * ly + nz * lz, zero)
        shine = zero
        if diffuse > 0 and geometry.specular_G[g] > 0:
            hx, hy, hz = lx + vx, ly + vy, lz + vz
            facing = (nx * hx + ny * hy + nz * hz) / np.sqrt(hx * hx + hy * hy + hz * hz)
            if facing > geometry.dull_G[g]:
                shine = geometry.specular_G[g] * facing ** geometry.shininess_G[g]
        ambient, bright, spot = lights.ambient_L3, lights.diffuse_L3, lights.specular_L3
        red += strength * (own_red * (ambient[light, 0] + diffuse * bright[light, 0]) + shine * spot[light, 0])
        green += strength * (own_green * (ambient[light, 1] + diffuse * bright[light, 1]) + shine * spot[light, 1])
        blue += strength * (own_blue * (ambient[light, 2] + diffuse * bright[light, 2]) + shine * spot[light, 2])
    lit_V3[v, 0], lit_V3[v, 1], lit_V3[v, 2] = min(red, one), min(green, one), min(blue, one)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)  # type: ignore[untyped-decorator]
def shade(
    geometry: Geometry,
    textures: Textures,
    lights: Lights,
    scene: Scene,
    ray_V3: Floats,
    face_HW: NDArray[np.int32],
    thing_F: NDArray[np.int32],
    lit_V3: Floats,
    is_lit_V: NDArray[np.bool_],
    rgb_HW3: Floats,
) -> None:
    """Fill `rgb_HW3`, 0 to 255, where `face_HW` shows a triangle."""
    size = len(face_HW)
    half = np.float32(size / 2)
    corner_F3, texcoord_V3 = geometry.corner_F3, geometry.texcoord_V3
    texture_G, is_cube_G = geometry.texture_G, geometry.is_cube_G
    texels_X, levels_T, first_TL = textures.texels_X, textures.levels_T, textures.first_TL
    width_TL, height_TL = textures.width_TL, textures.height_TL
    width = height = less_width = less_height = np.int32(0)
    lower = upper = np.int64(0)
    share = np.uint64(0)
    is_lit_V[:] = False
    last, is_new = NOTHING, True
    g = i = j = k = 0
    e0x = e0y = e0z = e1x = e1y = e1z = e2x = e2y = e2z = np.float32(0.0)
    sx = sy = sz = tx = ty = tz = dx = dy = dz = np.float32(0.0)
    for row in range(size):
        y = row + np.float32(0.5) - half
        for column in range(size):
            f = face_HW[row, column]
            if f == NOTHING:
                continue
            if f != last:
                last, is_new = f, True
                g = thing_F[f]
                i, j, k = corner_F3[f, 0], corner_F3[f, 1], corner_F3[f, 2]
                for v in (i, j, k):
                    if not is_lit_V[v]:
                        is_lit_V[v] = True
                        _light_corner(geometry, lights, scene, g, v, lit_V3)
                ax, ay, az = ray_V3[i, 0], ray_V3[i, 1], ray_V3[i, 2]
                bx, by, bz = ray_V3[j, 0], ray_V3[j, 1], ray_V3[j, 2]
                cx, cy, cz = ray_V3[k, 0], ray_V3[k, 1], ray_V3[k, 2]
                e0x, e0y, e0z = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
                e1x, e1y, e1z = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax
                e2x, e2y, e2z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
                dx, dy, dz = e0x + e1x + e2x, e0y + e1y + e2y, e0z + e1z + e2z
                s0, s1, s2 = texcoord_V3[i, 0], texcoord_V3[j, 0], texcoord_V3[k, 0]
                t0, t1, t2 = texcoord_V3[i, 1], texcoord_V3[j, 1], texcoord_V3[k, 1]
                sx, sy, sz = (
                    e0x * s0 + e1x * s1 + e2x * s2,
                    e0y * s0 + e1y * s1 + e2y * s2,
                    e0z * s0 + e1z * s1 + e2z * s2,
                )
                tx, ty, tz = (
                    e0x * t0 + e1x * t1 + e2x * t2,
                    e0y * t0 + e1y * t1 + e2y * t2,
                    e0z * t0 + e1z * t1 + e2z * t2,
                )
            x = column + np.float32(0.5) - half
            per = np.float32(1.0) / (dx * x + dy * y + dz)
            b0, b1 = (e0x * x + e0y * y + e0z) * per, (e1x * x + e1y * y + e1z) * per
            b2 = np.float32(1.0) - b0 - b1
            red = b0 * lit_V3[i, 0] + b1 * lit_V3[j, 0] + b2 * lit_V3[k, 0]
            green = b0 * lit_V3[i, 1] + b1 * lit_V3[j, 1] + b2 * lit_V3[k, 1]
            blue = b0 * lit_V3[i, 2] + b1 * lit_V3[j, 2] + b2 * lit_V3[k, 2]
            texture = texture_G[g]
            if texture == NO_TEXTURE:
                rgb_HW3[row, column, 0] = np.float32(255.0) * red
                rgb_HW3[row, column, 1] = np.float32(255.0) * green
                rgb_HW3[row, column, 2] = np.float32(255.0) * blue
                continue
            s, t = (sx * x + sy * y + sz) * per, (tx * x + ty * y + tz) * per
            texels, side, r = texture, 0, np.float32(0.0)  # row of the texture; a cube map has six
            is_cube = is_cube_G[g]
            if is_cube:
                r = b0 * texcoord_V3[i, 2] + b1 * texcoord_V3[j, 2] + b2 * texcoord_V3[k, 2]
                side = _cube_side(s, t, r)
                texels += side
            if is_new or column & 3 == 0:  # from one pixel to the next the level hardly changes
                is_new = False
                s_right, t_right = (sx - s * dx) * per, (tx - t * dx) * per
                s_down, t_down = (sy - s * dy) * per, (ty - t * dy) * per
                if is_cube:
                    r0, r1, r2 = texcoord_V3[i, 2], texcoord_V3[j, 2], texcoord_V3[k, 2]
                    r_right = (e0x * r0 + e1x * r1 + e2x * r2 - r * dx) * per
                    r_down = (e0y * r0 + e1y * r1 + e2y * r2 - r * dy) * per
                    s_here, t_here = _on_side(side, s, t, r)
                    s_right, t_right = _on_side(side, s + s_right, t + t_right, r + r_right)
                    s_down, t_down = _on_side(side, s + s_down, t + t_down, r + r_down)
                    s_right, t_right, s_down, t_down = (
                        s_right - s_here,
                        t_right - t_here,
                        s_down - s_here,
                        t_down - t_here,
                    )
                wide, high = np.float32(width_TL[texels, 0]), np.float32(height_TL[texels, 0])
                stretch = max(max(abs(s_right), abs(s_down)) * wide, max(abs(t_right), abs(t_down)) * high)
                level = np.log2(stretch) if stretch > 1 else np.float32(0.0)
                level = min(level, np.float32(levels_T[texels] - 1))
                lower = np.int64(level)
                share = np.uint64((level - np.float32(lower)) * np.float32(256.0))
                upper = lower + 1 if share > 0 else lower
                width, height = width_TL[texels, lower], height_TL[texels, lower]
                less_width, less_height = width_TL[texels, upper], height_TL[texels, upper]
            if is_cube:
                s, t = _on_side(side, s, t, r)
            colour = _texels_at(texels_X, first_TL[texels, lower], width, height, not is_cube, s, t)
            if share > 0:
                other = _texels_at(texels_X, first_TL[texels, upper], less_width, less_height, not is_cube, s, t)
                colour = _mixed(colour, other, share)
            rgb_HW3[row, column, 0] = np.float32(colour & np.uint64(0xFF)) * red
            rgb_HW3[row, column, 1] = np.float32(colour >> np.uint64(16) & np.uint64(0xFF)) * green
            rgb_HW3[row, column, 2] = np.float32(colour >> np.uint64(32)) * blue


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)  # type: ignore[untyped-decorator]
def paint_sky(textures: Textures, sky: int, view: View, face_HW: NDArray[np.int32], rgb_HW3: Floats) -> None:
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
