"""Triangles of MuJoCo's own shapes, cut as MuJoCo cuts them: light is computed at their corners."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import RenderError
from tgrpo_envs.sim.engine import mujoco

SLICES, STACKS = 12, 8  # of round shapes; MuJoCo's 28 and 16 are for a screen
_QUADS = 4  # a side of a box, as in MuJoCo
_MOST_GRID_LINES = 198  # of a plane (mjMAXPLANEGRID less its border)

Floats = NDArray[np.float32]


class Shape(NamedTuple):
    """Corners of triangles: places and unit normals, three rows a triangle, counter-clockwise from outside."""

    places_C3: Floats
    normals_C3: Floats


def builtin_shape(kind: int, size_3: Floats) -> Shape:
    """A plane in metres, or a box, sphere, ellipsoid, cylinder or capsule of half a side 1.

    Args:
        kind: The geom's or site's type, `mujoco.mjtGeom`.
        size_3: Its size as `mjvGeom` has it.

    Raises:
        RenderError: The shape is another one.
    """
    geom = mujoco.mjtGeom
    if kind == geom.mjGEOM_PLANE:
        return _plane(size_3)
    if kind == geom.mjGEOM_BOX:
        return _box()
    if kind in (geom.mjGEOM_SPHERE, geom.mjGEOM_ELLIPSOID):
        return _sphere()
    if kind == geom.mjGEOM_CYLINDER:
        return _joined(_tube(), _disk(1.0), _disk(-1.0))
    if kind == geom.mjGEOM_CAPSULE:
        return _capsule(float(size_3[0]), float(size_3[2]))
    raise RenderError(f"Detail 'fast' cannot draw shapes of type {mujoco.mjtGeom(kind).name}; use detail='exact'.")


def _quads(corner_JK3: NDArray[np.float64], normal_JK3: NDArray[np.float64]) -> Shape:
    """Two triangles for each cell of a grid, cut as Mesa cuts it; J goes to the right, K upwards, seen from outside."""
    tables = []
    for grid in (corner_JK3, normal_JK3):
        a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
        tables.append(np.stack([a, b, d, b, c, d], axis=2).reshape(-1, 3).astype(np.float32))
    return Shape(*tables)


def _joined(*shapes: Shape) -> Shape:
    return Shape(np.concatenate([s.places_C3 for s in shapes]), np.concatenate([s.normals_C3 for s in shapes]))


def _plane(size_3: Floats) -> Shape:
    lines = []
    for half in size_3[:2].astype(float):
        if half <= 0:
            raise RenderError("Detail 'fast' cannot draw a plane without end; give its geom a size, or use 'exact'.")
        step = 2 * max(float(size_3[2]), half / _MOST_GRID_LINES)
        lines.append(np.linspace(-half, half, max(1, round(2 * half / step)) + 1))
    x_JK, y_JK = np.meshgrid(*lines, indexing="ij")
    return _quads(np.stack([x_JK, y_JK, np.zeros_like(x_JK)], 2), np.broadcast_to([0.0, 0.0, 1.0], (*x_JK.shape, 3)))


def _box() -> Shape:
    line = np.linspace(-1.0, 1.0, _QUADS + 1)
    a_JK, b_JK = np.meshgrid(line, line, indexing="ij")
    sides = []
    for axis in range(3):
        for sign in (1.0, -1.0):
            grid, normal = np.empty((*a_JK.shape, 3)), np.zeros((*a_JK.shape, 3))
            grid[..., axis], normal[..., axis] = sign, sign
            grid[..., (axis + 1) % 3], grid[..., (axis + 2) % 3] = sign * a_JK, b_JK
            sides.append(_quads(grid, normal))
    return _joined(*sides)


def _circle(angles_J: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.cos(angles_J), np.sin(angles_J)], axis=-1)


def _sphere() -> Shape:
    around_J2 = _circle(np.linspace(0.0, 2 * np.pi, SLICES + 1))[:, None]
    up_K2 = _circle(np.linspace(-np.pi / 2, np.pi / 2, STACKS + 1))[None]
    grid = np.concatenate([around_J2 * up_K2[..., :1], np.broadcast_to(up_K2[..., 1:], (SLICES + 1, STACKS + 1, 1))], 2)
    return _quads(grid, grid)


def _tube() -> Shape:
    around_J2 = _circle(np.linspace(0.0, 2 * np.pi, SLICES + 1))[:, None]
    up_K = np.linspace(-1.0, 1.0, STACKS + 1)[None, :, None]
    shape = (SLICES + 1, STACKS + 1)
    flat = np.broadcast_to(around_J2, (*shape, 2))
    grid = np.concatenate([flat, np.broadcast_to(up_K, (*shape, 1))], 2)
    return _quads(grid, np.concatenate([flat, np.zeros((*shape, 1))], 2))


def _disk(side: float) -> Shape:
    rings = np.linspace(0.0, 1.0, STACKS // 2 + 1)[:: -1 if side > 0 else 1]
    around_J2 = _circle(np.linspace(0.0, 2 * np.pi, SLICES + 1))[:, None]
    grid = np.concatenate([around_J2 * rings[None, :, None], np.full((SLICES + 1, len(rings), 1), side)], 2)
    return _quads(grid, np.broadcast_to([0.0, 0.0, side], grid.shape))


def _capsule(radius: float, half: float) -> Shape:
    """In units of the radius across and of half the tube's length along; the caps lie beyond the tube."""
    ball = _sphere()
    places_F33 = ball.places_C3.reshape(-1, 3, 3) * np.array([1.0, 1.0, radius / half], np.float32)
    places_F33[..., 2] += np.sign(places_F33[..., 2].sum(axis=1))[:, None]
    return _joined(_tube(), Shape(places_F33.reshape(-1, 3), ball.normals_C3))
