"""Light at the corners of the triangles that are seen, as OpenGL's fixed pipeline has it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tgrpo_envs.sim.raster.drawing import Lights
from tgrpo_envs.sim.raster.geometry import Geometry
from tgrpo_envs.sim.raster.shapes import Floats
from tgrpo_envs.sim.raster.visibility import NOTHING


class Scene(NamedTuple):
    """Where things and lights are, and who looks at them (`eye_3`, in a mirror the eye's image); metres."""

    pos_G3: Floats
    mat_G33: Floats
    rgba_G4: Floats
    light_pos_L3: Floats
    light_dir_L3: Floats
    eye_3: Floats


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)  # type: ignore[untyped-decorator]
def _power(base: np.float32, exponent: np.float32) -> np.float32:
    """LIBERO's lamps have whole exponents, for which multiplying is faster."""
    whole = int(exponent)
    return base**whole if whole == exponent else base**exponent


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _find_seen(
    geometry: Geometry, face_HW: NDArray[np.int32], thing_F: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The corners of triangles that are seen, and whose they are."""
    num_corners = len(geometry.place_V3)
    is_seen_V = np.zeros(num_corners, np.bool_)
    seen_V, thing_V = np.empty(num_corners, np.int32), np.empty(num_corners, np.int32)
    count = 0
    last = np.int32(NOTHING)
    for row in range(len(face_HW)):
        for column in range(len(face_HW)):
            f = face_HW[row, column]
            if f == last:
                continue
            last = f
            for k in range(3 if f != NOTHING else 0):
                v = geometry.corner_F3[f, k]
                if not is_seen_V[v]:
                    is_seen_V[v] = True
                    seen_V[count], thing_V[count] = v, thing_F[f]
                    count += 1
    return seen_V[:count], thing_V[:count]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)  # type: ignore[untyped-decorator]
def light(
    geometry: Geometry,
    lights: Lights,
    scene: Scene,
    face_HW: NDArray[np.int32],
    thing_F: NDArray[np.int32],
    lit_V3: Floats,
) -> None:
    """Fill the rows of `lit_V3` of the corners that are seen with the light from them, 0 to 1, before their textures.

    A loop, since a call for each corner hands over every array of the three records, which takes longer than the
    light; and rows of arrays are not taken out one by one, for numba counts references to each.
    """
    zero, one = np.float32(0.0), np.float32(1.0)
    mat, pos = scene.mat_G33, scene.pos_G3
    seen_P, thing_P = _find_seen(geometry, face_HW, thing_F)
    for p in range(len(seen_P)):
        v, g = seen_P[p], thing_P[p]
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
        for lamp in range(len(scene.light_pos_L3)):
            strength = one
            dx, dy, dz = scene.light_dir_L3[lamp, 0], scene.light_dir_L3[lamp, 1], scene.light_dir_L3[lamp, 2]
            lx, ly, lz = -dx, -dy, -dz
            if not lights.is_directional_L[lamp]:
                lx, ly, lz = (
                    scene.light_pos_L3[lamp, 0] - px,
                    scene.light_pos_L3[lamp, 1] - py,
                    scene.light_pos_L3[lamp, 2] - pz,
                )
                distance = np.sqrt(lx * lx + ly * ly + lz * lz)
                per = one / distance
                lx, ly, lz = lx * per, ly * per, lz * per
                cos = -(lx * dx + ly * dy + lz * dz)
                if cos < lights.cutoff_L[lamp]:
                    continue
                fall_0, fall_1 = lights.attenuation_L3[lamp, 0], lights.attenuation_L3[lamp, 1]
                strength = one / (fall_0 + distance * (fall_1 + distance * lights.attenuation_L3[lamp, 2]))
                if lights.cutoff_L[lamp] >= -one:
                    strength *= _power(cos, lights.exponent_L[lamp])
            diffuse = max(nx * lx + ny * ly + nz * lz, zero)
            shine = zero
            if diffuse > 0 and geometry.specular_G[g] > 0:
                hx, hy, hz = lx + vx, ly + vy, lz + vz
                facing = (nx * hx + ny * hy + nz * hz) / np.sqrt(hx * hx + hy * hy + hz * hz)
                if facing > geometry.dull_G[g]:
                    shine = geometry.specular_G[g] * facing ** geometry.shininess_G[g]
            ambient, bright, spot = lights.ambient_L3, lights.diffuse_L3, lights.specular_L3
            red += strength * (own_red * (ambient[lamp, 0] + diffuse * bright[lamp, 0]) + shine * spot[lamp, 0])
            green += strength * (own_green * (ambient[lamp, 1] + diffuse * bright[lamp, 1]) + shine * spot[lamp, 1])
            blue += strength * (own_blue * (ambient[lamp, 2] + diffuse * bright[lamp, 2]) + shine * spot[lamp, 2])
        lit_V3[v, 0], lit_V3[v, 1], lit_V3[v, 2] = min(red, one), min(green, one), min(blue, one)
