"""Turns drawn shapes into triangles: everything one body shows is one mesh, which is one draw call.

A mesh has one material, so colours are looked up in a picture, the palette: a vertex carries its colour's place there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.assets.primitive.shapes import Profile, Quaternion, Shape

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Round things are drawn with this many sides, those as large as furniture with more; ellipsoids with this many rings.
_SLICES: Final = 16
_FINE_SLICES: Final = 48
_FURNITURE_M: Final = 0.2
_STACKS: Final = 8


@dataclass(frozen=True)
class Triangles:
    """A mesh: vertices (V, 3) in metres, and the three corners of each face (F, 3), counterclockwise from outside."""

    vertices_V3: FloatArray
    faces_F3: IntArray

    def placed(self, quat: Quaternion, centre: Sequence[float]) -> Triangles:
        """The mesh turned, then moved."""
        return Triangles(self.vertices_V3 @ rotation_matrix(quat).T + np.asarray(centre), self.faces_F3)


def triangles(shape: Shape) -> Triangles:
    """The surface of a shape about its own centre, not yet turned.

    Raises:
        ValueError: A kind of shape that is never drawn.
    """
    if shape.kind == "box":
        return _box(shape)
    if shape.kind == "lathe":
        return _lathe(shape.profile)
    if shape.kind not in ("cylinder", "ellipsoid"):
        raise ValueError(f"A {shape.kind} is never drawn.")
    slices = _FINE_SLICES if shape.half_m[0] > _FURNITURE_M else _SLICES
    outline = ((0.0, -1.0), (1.0, -1.0), (1.0, 1.0), (0.0, 1.0)) if shape.kind == "cylinder" else _half_circle()
    unit = _lathe(outline, slices)
    return Triangles(unit.vertices_V3 * np.asarray(shape.half_m), unit.faces_F3)


def joined(meshes: Sequence[Triangles]) -> Triangles:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(mesh.vertices_V3) for mesh in meshes)])
    faces = [mesh.faces_F3 + start for mesh, start in zip(meshes, starts, strict=False)]
    return Triangles(np.concatenate([mesh.vertices_V3 for mesh in meshes]), np.concatenate(faces))


def attitude(shape: Shape) -> Quaternion:
    """Rotation of a shape in the standing frame, w x y z."""
    axis, degrees = shape.turn
    return product(_about("z", shape.spin_deg), _about(axis, degrees))


def product(a: Quaternion, b: Quaternion) -> Quaternion:
    """The rotation `b` followed by `a`."""
    w, x, y, z = a
    p, i, j, k = b
    return (
        w * p - x * i - y * j - z * k,
        w * i + x * p + y * k - z * j,
        w * j - x * k + y * p + z * i,
        w * k + x * j - y * i + z * p,
    )


def rotation_matrix(quat: Quaternion) -> FloatArray:
    """The 3 x 3 matrix of a unit quaternion."""
    w, x, y, z = quat
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _about(axis: str, degrees: float) -> Quaternion:
    half = math.radians(degrees) / 2
    x, y, z = (math.sin(half) * float(axis == name) for name in "xyz")
    return math.cos(half), x, y, z


def _box(shape: Shape) -> Triangles:
    """Four vertices a side, so that edges stay sharp."""
    corners_83 = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * np.asarray(shape.half_m)
    quads = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
    first_6 = 4 * np.arange(6)[:, None]
    faces = np.concatenate([first_6 + np.array([0, 1, 2]), first_6 + np.array([0, 2, 3])])
    return Triangles(corners_83[quads.ravel()], faces)


def _half_circle() -> Profile:
    """Outline of a ball of radius 1."""
    angles = np.radians(np.linspace(-90, 90, _STACKS + 1)[1:-1])
    return ((0.0, -1.0), *((math.cos(angle), math.sin(angle)) for angle in angles), (0.0, 1.0))


def _lathe(profile: Profile, slices: int = _SLICES) -> Triangles:
    """Turn an outline around the z axis; points on the axis make fans, others bands."""
    angles_S = 2 * np.pi * np.arange(slices) / slices
    radii_P, heights_P = np.asarray(profile).T
    rings = np.empty((len(profile), slices, 3))
    rings[..., 0] = radii_P[:, None] * np.cos(angles_S)
    rings[..., 1] = radii_P[:, None] * np.sin(angles_S)
    rings[..., 2] = heights_P[:, None]
    faces = []
    here_S, next_S = np.arange(slices), (np.arange(slices) + 1) % slices
    for low in range(len(profile) - 1):
        a, b = low * slices, (low + 1) * slices
        if radii_P[low] > 0:
            faces.append(np.stack([a + here_S, a + next_S, b + here_S], axis=1))
        if radii_P[low + 1] > 0:
            faces.append(np.stack([a + next_S, b + next_S, b + here_S], axis=1))
    return Triangles(rings.reshape(-1, 3), np.concatenate(faces))
