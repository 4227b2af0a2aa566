"""Texture pyramids and look-ups against numbers worked out by hand."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from tests.helpers.raster_covered import covered, square_view
from tgrpo_envs.sim.raster.drawing import read_drawing
from tgrpo_envs.sim.raster.shading import _cube_side, _to_side, paint, sample
from tgrpo_envs.sim.raster.textures import Textures, read_textures

CHECKED = """
<mujoco><asset>
  <texture name="flat" type="2d" builtin="checker" rgb1="1 0 0" rgb2="0 0 1" width="{width}" height="4"/>
  <texture name="sky" type="skybox" builtin="flat" rgb1="0 1 0" width="2" height="2"/>
</asset></mujoco>
"""


def at(textures: Textures, level: int, s: float, t: float, *, row: int = 0) -> list[float]:
    """Red, green and blue of one level of a texture; row 0 repeats, the others are sides of the sky."""
    level_P = np.array([textures.first_level_T[row] + level], np.int32)
    colour_3P = np.zeros((3, 1), np.float32)
    sample(textures, level_P, np.array([s], np.float32), np.array([t], np.float32), 1, colour_3P)
    return [float(colour) for colour in colour_3P[:, 0]]


def test_a_pyramid_halves_to_the_mean() -> None:
    textures, rows = read_textures(mujoco.MjModel.from_xml_string(CHECKED.format(width=4)))
    assert rows == [0, 1] and len(textures.num_levels_T) == 8  # one flat texture, six faces of the sky, white
    assert textures.num_levels_T[0] == 3 and textures.width_M.tolist()[:3] == [4, 2, 1]
    red, blue = [255, 0, 0], [0, 0, 255]
    assert at(textures, 0, 0.125, 0.125) in (red, blue)
    assert at(textures, 0, 0.125, 0.125) != at(textures, 0, 0.625, 0.125)  # checks of two texels
    assert at(textures, 2, 0.5, 0.5) == [128, 0, 128]  # as many red ones as blue ones
    assert at(textures, 0, 0.3, 0.4, row=3) == [0, 255, 0]
    assert at(textures, 0, 0.3, 0.4, row=7) == [255, 255, 255]


def test_texels_are_interpolated_and_go_round() -> None:
    model = mujoco.MjModel.from_xml_string(CHECKED.format(width=4))
    model.tex_data[: 4 * 4 * 3] = np.repeat(np.tile([0, 80, 160, 240], 4), 3)  # brighter to the right
    textures, _ = read_textures(model)
    assert at(textures, 0, 0.125, 0.5) == [0, 0, 0]  # the middle of the first texel
    assert at(textures, 0, 0.25, 0.5) == [40, 40, 40]  # between the first two
    assert at(textures, 0, 0.4375, 0.5) == [100, 100, 100]  # a quarter of the way from 80 to 160
    assert at(textures, 0, 0.0, 0.5) == [120, 120, 120]  # between the last and the first
    assert at(textures, 0, 1.25, -0.5) == [40, 40, 40]
    assert at(textures, 1, 0.25, 0.5) == [40, 40, 40]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("row", [0, 2])
def test_a_place_that_is_no_number_has_some_colour(number: float, row: int) -> None:
    """A triangle that is seen from its edge may have one: what is fetched lies within the textures all the same."""
    textures, _ = read_textures(mujoco.MjModel.from_xml_string(CHECKED.format(width=4)))
    at(textures, 0, number, number, row=row)


def test_edges_of_a_cube_maps_sides_go_on() -> None:
    model = mujoco.MjModel.from_xml_string(CHECKED.format(width=4))
    sky = slice(model.tex_adr[1], model.tex_adr[1] + 2 * 2 * 3)  # the first side
    model.tex_data[sky] = np.repeat(np.tile([0, 200], 2), 3)
    textures, _ = read_textures(model)
    assert [at(textures, 0, s, 0.5, row=1)[0] for s in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0, 0, 100, 200, 200]


def test_odd_sizes_are_interpolated() -> None:
    """Three texels become one, its middle on the second; the neighbours have no share."""
    model = mujoco.MjModel.from_xml_string(CHECKED.format(width=3))
    model.tex_data[: 4 * 3 * 3] = np.repeat(np.tile([0, 90, 240], 4), 3)
    textures, _ = read_textures(model)
    assert textures.width_M.tolist()[:3] == [3, 1, 1]
    assert at(textures, 1, 0.5, 0.5) == [90, 90, 90]


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ((1, 0, 0), (0, 0.5, 0.5)),
        ((-1, 0, 0), (1, 0.5, 0.5)),
        ((0, 2, 0), (2, 0.5, 0.5)),
        ((0, -2, 0), (3, 0.5, 0.5)),
        ((0, 0, 3), (4, 0.5, 0.5)),
        ((0, 0, -3), (5, 0.5, 0.5)),
        ((4, 2, -1), (0, 0.625, 0.25)),  # +x: s = (-z/x + 1) / 2, t = (-y/x + 1) / 2
        ((1, -4, 2), (3, 0.625, 0.25)),  # -y: s = (x/|y| + 1) / 2, t = (-z/|y| + 1) / 2
    ],
)
def test_faces_of_a_cube_map_are_opengls(direction: tuple[float, ...], expected: tuple[float, ...]) -> None:
    x, y, z = (np.float32(value) for value in direction)
    side = _cube_side(x, y, z)
    along, down, out = _to_side(side, x, y, z)
    np.testing.assert_allclose((side, (along / out + 1) / 2, (down / out + 1) / 2), expected, atol=1e-6)


def test_a_triangle_that_meets_several_sides_of_a_cube_map_has_each_where_it_is() -> None:
    """The front of a box fills the picture. Its directions are (x, y, 0.4), which meet five sides of six colours."""
    model = mujoco.MjModel.from_xml_string("""
      <mujoco><asset>
      <texture name="t" type="cube" builtin="flat" width="8" height="48"/><material name="m" texture="t"/>
      </asset><worldbody><geom type="box" size="1 1 1" material="m"/></worldbody></mujoco>""")
    model.tex_data[:] = np.repeat(40 * np.arange(6), 8 * 8 * 3)
    drawing, size = read_drawing(model), 64
    geometry, textures = drawing.geometry, drawing.textures
    geometry.texcoord_V3[:] = geometry.place_V3 * np.array([1, 1, 0.4], np.float32)
    _, face_HW, at_V3 = covered(drawing, square_view(size, (0, 0, 2)), np.zeros((1, 3), np.float32))
    lit_V3 = np.ones_like(at_V3)
    rgb_HW3 = np.zeros((size, size, 3), np.uint8)
    paint(geometry, textures, at_V3, face_HW, drawing.thing_F, lit_V3, rgb_HW3)
    middles = (np.arange(size) + 0.5) / size * 2 - 1
    x_HW, y_HW = np.meshgrid(middles, -middles)
    side_HW = np.where(np.abs(x_HW) > np.abs(y_HW), np.where(x_HW > 0, 0, 1), np.where(y_HW > 0, 2, 3))
    side_HW[np.maximum(np.abs(x_HW), np.abs(y_HW)) < 0.4] = 4
    on_edge_HW = np.abs(np.abs(x_HW) - np.abs(y_HW)) < 1e-6  # two sides are equally near
    assert (face_HW >= 0).all() and len(np.unique(textures.first_level_T)) == 7  # and white
    np.testing.assert_array_equal(rgb_HW3[~on_edge_HW][:, 0], 40 * side_HW[~on_edge_HW])


def test_equal_sides_of_a_cube_map_are_kept_once() -> None:
    textures, _ = read_textures(mujoco.MjModel.from_xml_string(CHECKED.format(width=4)))
    _, counts = np.unique(textures.first_level_T[1:7], return_counts=True)
    assert sorted(counts.tolist()) == [1, 5]  # the sky is green but for its floor
    assert len(textures.texels_X) == (16 + 4 + 1) + 2 * (4 + 1) + 1
