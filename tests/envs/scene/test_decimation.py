"""Simplified meshes against shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tgrpo_envs.scene.decimation import simplify

UP = np.array([[0.0, 0.0, 1.0]])
TOLERANCE = 1e-12  # m^4, far below 1 mm^2 moved by 1 mm


def grid(cells: int, side: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A flat square of `cells` x `cells` pairs of triangles, facing up."""
    ticks = np.linspace(0.0, side, cells + 1)
    x, y = np.meshgrid(ticks, ticks, indexing="ij")
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    first = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    right, above = first + cells + 1, first + 1
    return vertices, np.concatenate([np.stack([first, right, above], 1), np.stack([right, right + 1, above], 1)])


def cube(
    cells: int, side: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """A closed cube of six grids: vertices, faces, a normal for each side, number of each corner's normal."""
    flat, faces = grid(cells, side)
    corners, normals = [], []
    for axis in range(3):
        turned = np.roll(flat, axis + 1, axis=1)
        for outwards in (-1, 1):
            shifted = turned.copy()
            shifted[:, axis] = side if outwards > 0 else 0.0
            triangles = shifted[faces]
            first = np.cross(triangles[0, 1] - triangles[0, 0], triangles[0, 2] - triangles[0, 0])
            corners.append(triangles if first[axis] * outwards > 0 else triangles[:, ::-1])
            normals.append(np.eye(3)[axis] * outwards)
    points = np.concatenate(corners).reshape(-1, 3)
    vertices, number = np.unique(points.round(9), axis=0, return_inverse=True)
    directions = np.array(normals)
    return vertices, number.reshape(-1, 3), directions, np.repeat(np.arange(6), len(faces))[:, None].repeat(3, axis=1)


def areas(vertices: NDArray[np.float64], faces: NDArray[np.int32]) -> NDArray[np.float64]:
    """Normals of faces, as long as their areas."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a) / 2


def volume(vertices: NDArray[np.float64], faces: NDArray[np.int32]) -> float:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def test_a_flat_square_becomes_two_triangles() -> None:
    vertices, faces = grid(10, 0.01)
    zeros = np.zeros_like(faces)
    corners, normals, texcoords = simplify(vertices, UP, faces, zeros, zeros, max_faces=1000, tolerance=TOLERANCE)
    kept = areas(vertices, corners)
    np.testing.assert_allclose(kept[:, 2].sum(), 1e-4)
    assert (kept[:, 2] > 0).all()
    assert len(corners) == 2
    assert not normals.any()
    assert not texcoords.any()


def test_a_cube_becomes_twelve_triangles_with_sharp_creases() -> None:
    vertices, faces, directions, normals = cube(6, 0.01)
    corners, numbers, _ = simplify(
        vertices, directions, faces, normals, np.zeros_like(faces), max_faces=1000, tolerance=TOLERANCE
    )
    assert len(corners) == 12
    np.testing.assert_allclose(volume(vertices, corners), 1e-6)
    kept = areas(vertices, corners)
    np.testing.assert_allclose(kept / np.linalg.norm(kept, axis=1)[:, None], directions[numbers[:, 0]], atol=1e-9)
    assert (numbers == numbers[:, :1]).all()


def test_a_texture_keeps_its_seam() -> None:
    """The right half shows another part of the texture: a vertex on the seam has two coordinates."""
    vertices, faces = grid(10, 0.01)
    is_right = vertices[faces][:, :, 0].mean(axis=1) > 0.005
    texcoords = faces + np.where(is_right, len(vertices), 0)[:, None]
    corners, _, numbers = simplify(
        vertices, UP, faces, np.zeros_like(faces), texcoords, max_faces=1000, tolerance=TOLERANCE
    )
    assert len(corners) < len(faces) / 8
    np.testing.assert_array_equal(numbers % len(vertices), corners)  # each corner shows what was at its place
    on_right = numbers >= len(vertices)
    assert (on_right == on_right[:, :1]).all()
    np.testing.assert_allclose(areas(vertices, corners)[on_right[:, 0], 2].sum(), 0.5e-4)


def test_large_faces_stay_divided_for_the_light() -> None:
    """MuJoCo lights corners: on a table top of 2 m a lamp's spot would vanish between far corners."""
    vertices, faces = grid(20, 2.0)
    zeros = np.zeros_like(faces)
    corners, _, _ = simplify(vertices, UP, faces, zeros, zeros, max_faces=1000, tolerance=1e-7)
    sides = np.linalg.norm(vertices[corners] - vertices[corners[:, [1, 2, 0]]], axis=2)
    assert 20 < len(corners) < len(faces) / 2
    assert sides.max() < 1.0


@pytest.mark.parametrize("max_faces", [400, 100])
def test_a_ball_keeps_its_volume(max_faces: int) -> None:
    vertices, faces, _, _ = cube(12, 2.0)
    ball = (vertices - 1.0) / np.linalg.norm(vertices - 1.0, axis=1)[:, None] * 0.05
    corners, normals, _ = simplify(
        ball, ball / 0.05, faces, faces, np.zeros_like(faces), max_faces=max_faces, tolerance=0.0
    )
    assert max_faces - 2 <= len(corners) <= max_faces
    # N equal triangles with corners on a ball have sides of sqrt(16 pi / sqrt(3) / N) of its radius and lie an
    # eighth of that squared below it on average, which is 10.9 / N of the volume; no choice of corners loses less.
    lost = 1 - volume(ball, corners) / (4 / 3 * np.pi * 0.05**3)
    assert 10 / max_faces < lost < 15 / max_faces
    np.testing.assert_array_equal(normals, corners)  # vertex and normal go together on a smooth surface
