"""Which triangle a pixel shows: against rays, one by one; and what is left out."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from tests.helpers.raster_covered import covered, square_view
from tgrpo_envs.sim.raster.drawing import Drawing, read_drawing
from tgrpo_envs.sim.raster.visibility import NOTHING, View, Window, find_visible

SIZE = 24
XML = """<mujoco><worldbody>{}<body name="far" pos="0 0 -9"><geom size="0.1"/></body></worldbody></mujoco>"""


def nearest_by_rays(drawing: Drawing, camera: View, pos_G3: NDArray[Any]) -> NDArray[Any]:
    """One over the depth of the nearest front face on each pixel's ray (Moeller and Trumbore), 0 without one."""
    geometry = drawing.geometry
    places = geometry.place_V3.astype(float) + np.repeat(pos_G3, np.diff(geometry.first_corner_G), axis=0)
    a, b, c = (places[geometry.corner_F3[:, k]] - camera.eye_3 for k in range(3))
    nearness_HW = np.zeros((SIZE, SIZE))
    for row in range(SIZE):
        for column in range(SIZE):
            ray = np.array([(column + 0.5) / SIZE * 2 - 1, 1 - (row + 0.5) / SIZE * 2, -1.0])
            across = np.cross(ray, c - a)
            volume = ((b - a) * across).sum(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                u = -(a * across).sum(axis=1) / volume
                turned = np.cross(-a, b - a)
                v = (turned @ ray) / volume
                depth = ((c - a) * turned).sum(axis=1) / volume
                hits = (volume > 1e-12) & (u >= 0) & (v >= 0) & (u + v <= 1) & (depth >= camera.near_m)
            nearness_HW[row, column] = (1 / depth[hits]).max(initial=0.0)
    return nearness_HW


def test_pixels_show_what_their_rays_meet_first() -> None:
    """Boxes and balls at random, some of them around the camera, where triangles cross its plane."""
    rng = np.random.default_rng(0)
    geoms = "".join(
        f'<geom type="{kind}" size="0.3 0.2 0.4"/>' for kind in ("box", "sphere", "cylinder", "ellipsoid", "box", "box")
    )
    drawing = read_drawing(mujoco.MjModel.from_xml_string(XML.format(geoms)))
    differ = []
    for _ in range(20):
        pos_G3 = rng.uniform([-1, -1, -2.5], [1, 1, 0.1], (7, 3)).astype(np.float32)
        nearness_HW, face_HW, _ = covered(drawing, square_view(SIZE), pos_G3)
        expected_HW = nearest_by_rays(drawing, square_view(SIZE), pos_G3)
        differ.append(np.abs(nearness_HW - expected_HW) > 1e-3 * (1 + expected_HW))
        assert ((face_HW != NOTHING) == (nearness_HW > 0)).all()
    assert np.mean(differ) < 0.002  # middles of pixels that lie on an edge


def test_a_surface_of_many_triangles_has_no_holes() -> None:
    """A plane that fills the picture, seen at many angles of its grid."""
    model = mujoco.MjModel.from_xml_string(XML.format('<geom type="plane" size="50 50 0.7"/>'))
    drawing, pos_G3 = read_drawing(model), np.array([[0, 0, 0], [0, 0, -9]], np.float32)
    for height in np.linspace(0.3, 2.3, 21):
        nearness_HW, _, _ = covered(drawing, square_view(SIZE, (0.013, 0.027, height)), pos_G3)
        np.testing.assert_allclose(nearness_HW, 1 / height, rtol=1e-4)


def test_what_a_camera_cannot_see_is_left_out() -> None:
    """Balls on either side of the picture's edge, at 45 degrees; tiny ones go too."""
    drawing = read_drawing(mujoco.MjModel.from_xml_string(XML.format('<geom size="0.1"/>')))
    cases = [
        ((0.0, 0.0, -2.0), True),
        ((2.1, 0.0, -2.0), True),  # 12.6 pixels from the picture's middle, of which 12 are in it, and 0.6 wide
        ((2.2, 0.0, -2.0), False),  # 13.2
        ((0.0, -2.2, -2.0), False),
        ((0.0, 0.0, 2.0), False),  # behind
        ((0.0, 0.0, 0.05), True),  # around the camera
        ((0.0, 0.0, -2.3), True),  # 0.2 / 2.3 * 12 pixels: 1.04 wide
        ((0.0, 0.0, -2.5), False),  # 0.96 wide
    ]
    for place, stays in cases:
        is_shown_G = np.array([True, False])
        pos_G3 = np.array([place, place], np.float32)
        mat_G33 = np.tile(np.eye(3, dtype=np.float32), (2, 1, 1))
        find_visible(
            drawing.geometry, pos_G3, mat_G33, square_view(SIZE), SIZE, Window(0, 0, SIZE - 1, SIZE - 1), is_shown_G
        )
        assert is_shown_G.tolist() == [stays, False], place
