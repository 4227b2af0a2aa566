"""MuJoCo's shapes as triangles: closed, turned outwards, of the right size."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from tgrpo_envs.errors import RenderError
from tgrpo_envs.sim.raster.shapes import SLICES, builtin_shape

GEOM = mujoco.mjtGeom
ONES = np.ones(3, np.float32)
POLYGON = SLICES / 2 * np.sin(2 * np.pi / SLICES)  # area of the polygon that stands for a circle


@pytest.mark.parametrize(
    ("kind", "size", "volume"),
    [
        (GEOM.mjGEOM_BOX, ONES, 8.0),
        (GEOM.mjGEOM_CYLINDER, ONES, 2 * POLYGON),
        (GEOM.mjGEOM_SPHERE, ONES, None),
        (GEOM.mjGEOM_CAPSULE, np.array([0.1, 0.1, 0.2], np.float32), None),
    ],
)
def test_a_closed_shape_has_its_volume(kind: int, size: np.ndarray, volume: float | None) -> None:
    shape = builtin_shape(kind, size)
    a, b, c = shape.places_C3.astype(float).reshape(-1, 3, 3).transpose(1, 0, 2)
    found = np.einsum("fi,fi->", a, np.cross(b, c)) / 6  # of the pyramids under all faces, which point outwards
    if volume is not None:
        assert found == pytest.approx(volume, rel=1e-5)
    else:  # inside of the round one, and not by much
        ball = 4 * np.pi / 3
        exact = (
            ball if kind == GEOM.mjGEOM_SPHERE else ball / 2 + 2 * np.pi
        )  # in units: half the radius, so half a ball
        assert 0.85 * exact < found < exact
    outwards = np.cross(b - a, c - a)
    middle = shape.normals_C3.reshape(-1, 3, 3).mean(axis=1)
    assert ((outwards * middle).sum(axis=1) >= -1e-9).all()
    np.testing.assert_allclose(np.linalg.norm(shape.normals_C3, axis=1), 1.0, atol=1e-6)


def test_a_plane_is_cut_at_its_lines() -> None:
    shape = builtin_shape(GEOM.mjGEOM_PLANE, np.array([1.0, 0.5, 0.125], np.float32))
    assert len(shape.places_C3) == 8 * 4 * 2 * 3
    assert np.abs(shape.places_C3).max(axis=0).tolist() == [1.0, 0.5, 0.0]


def test_what_cannot_be_drawn_says_so() -> None:
    with pytest.raises(RenderError, match="mjGEOM_HFIELD"):
        builtin_shape(int(GEOM.mjGEOM_HFIELD), ONES)
    with pytest.raises(RenderError, match="without end"):
        builtin_shape(GEOM.mjGEOM_PLANE, np.array([0.0, 1.0, 0.1], np.float32))
