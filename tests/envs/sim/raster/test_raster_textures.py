"""Texture pyramids and look-ups against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import pytest

from tgrpo_envs.sim.raster.shading import _cube_side, _on_side, _texels_at
from tgrpo_envs.sim.raster.textures import read_textures

CHECKED = """
<mujoco><asset>
  <texture name="flat" type="2d" builtin="checker" rgb1="1 0 0" rgb2="0 0 1" width="{width}" height="4"/>
  <texture name="sky" type="skybox" builtin="flat" rgb1="0 1 0" width="2" height="2"/>
</asset></mujoco>
"""


def channels(colour: int) -> list[int]:
    return [colour >> shift & 0xFF for shift in (0, 16, 32)]


def at(textures: Any, level: int, s: float, t: float, *, row: int = 0) -> list[int]:
    first, width, height = (
        int(table[row, level]) for table in (textures.first_TL, textures.width_TL, textures.height_TL)
    )
    repeats = row == 0  # the others are sides of the sky
    return channels(int(_texels_at(textures.texels_X, first, width, height, repeats, np.float32(s), np.float32(t))))


def test_a_pyramid_halves_to_the_mean() -> None:
    textures, rows = read_textures(mujoco.MjModel.from_xml_string(CHECKED.format(width=4)))
    assert rows == [0, 1] and len(textures.levels_T) == 7  # one flat texture, six faces of the sky
    assert textures.levels_T[0] == 3 and textures.width_TL[0].tolist()[:3] == [4, 2, 1]
    red, blue = [255, 0, 0], [0, 0, 255]
    assert at(textures, 0, 0.125, 0.125) in (red, blue)
    assert at(textures, 0, 0.125, 0.125) != at(textures, 0, 0.625, 0.125)  # checks of two texels
    assert at(textures, 2, 0.5, 0.5) == [128, 0, 128]  # as many red ones as blue ones
    assert at(textures, 0, 0.3, 0.4, row=3) == [0, 255, 0]


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


def test_odd_sizes_are_interpolated() -> None:
    """Three texels become one, its middle on the second; the neighbours have no share."""
    model = mujoco.MjModel.from_xml_string(CHECKED.format(width=3))
    model.tex_data[: 4 * 3 * 3] = np.repeat(np.tile([0, 90, 240], 4), 3)
    textures, _ = read_textures(model)
    assert textures.width_TL[0].tolist()[:3] == [3, 1, 1]
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
    np.testing.assert_allclose((side, *_on_side(side, x, y, z)), expected, atol=1e-6)
