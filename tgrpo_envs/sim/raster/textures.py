"""Textures as pyramids of halved pictures, to the bit as Mesa's OpenGL halves them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.visual import texels

_FACES = 6  # of a cube map: right, left, up, down, front, back
_RED_GREEN_BLUE = [0, 2, 3]  # bytes of a texel


class Textures(NamedTuple):
    """All textures of a model. A cube map's faces are six rows that follow each other; equal ones have the same texels.

    Attributes:
        texels_X: Colours of all levels of all textures, row by row: red in the lowest byte, nothing in the next, green
            and blue above, which `tgrpo_envs.sim.raster.shading` takes apart in two steps.
        first_TL: Place in `texels_X` where level L of texture T begins.
        width_TL, height_TL: Its size in texels.
        levels_T: How many levels it has; the last one has a single texel.
    """

    texels_X: NDArray[np.uint32]
    first_TL: NDArray[np.int32]
    width_TL: NDArray[np.int32]
    height_TL: NDArray[np.int32]
    levels_T: NDArray[np.int32]


def read_textures(model: mujoco.MjModel) -> tuple[Textures, list[int]]:
    """Textures of a model, and the row of `Textures` at which each of the model's textures begins."""
    pyramids: list[list[NDArray[np.uint8]]] = []
    known: dict[tuple[tuple[int, ...], bytes], int] = {}  # sides of a cube map are often one picture
    pyramid_T: list[int] = []
    rows: list[int] = []
    for texture in range(model.ntex):
        rows.append(len(pyramid_T))
        for picture in _faces(model, texture):
            key = (picture.shape, picture.tobytes())
            if key not in known:
                known[key] = len(pyramids)
                pyramids.append(_pyramid(picture))
            pyramid_T.append(known[key])
    levels_T = np.array([len(pyramids[pyramid]) for pyramid in pyramid_T], np.int32)
    first_PL = np.zeros((len(pyramids), max(levels_T, default=1)), np.int32)
    width_PL, height_PL = np.ones_like(first_PL), np.ones_like(first_PL)
    used = 0
    for row, pyramid in enumerate(pyramids):
        for level, smaller in enumerate(pyramid):
            first_PL[row, level] = used
            height_PL[row, level], width_PL[row, level] = smaller.shape[:2]
            used += smaller.shape[0] * smaller.shape[1]
    pictures = [picture.reshape(-1, 3) for pyramid in pyramids for picture in pyramid]
    texels_X4 = np.zeros((max(used, 1), 4), np.uint8)
    if pictures:
        texels_X4[:, _RED_GREEN_BLUE] = np.concatenate(pictures)
    texels_X = texels_X4.view("<u4")[:, 0]
    return Textures(texels_X, first_PL[pyramid_T], width_PL[pyramid_T], height_PL[pyramid_T], levels_T), rows


def _faces(model: mujoco.MjModel, texture: int) -> list[NDArray[np.uint8]]:
    """Its picture, or the six of a cube map, which MuJoCo may keep as one."""
    picture = texels(model, texture)
    height, width = picture.shape[:2]
    rgb = np.ascontiguousarray(np.broadcast_to(picture[..., :3], (height, width, 3)))
    if model.tex_type[texture] == mujoco.mjtTexture.mjTEXTURE_2D:
        return [rgb]
    faces = rgb.reshape(-1, width, width, 3)
    return [faces[face % len(faces)] for face in range(_FACES)]


def _pyramid(picture_HW3: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    levels = [picture_HW3]
    while max(levels[-1].shape[:2]) > 1:
        levels.append(_halved(levels[-1]))
    return levels


def _halved(picture_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half the size, rounded down; texels are interpolated at their middles: of even sizes the mean of four."""
    half_HW3 = np.empty((max(1, picture_HW3.shape[0] // 2), max(1, picture_HW3.shape[1] // 2), 3), np.uint8)
    rows, columns = (_middles(*sides) for sides in zip(picture_HW3.shape[:2], half_HW3.shape[:2], strict=True))
    _interpolate(picture_HW3, *rows, *columns, half_HW3)
    return half_HW3


def _middles(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint32]]:
    """For each new texel of a side the two old ones beside its middle, and the share of the second, of 256."""
    middle = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(middle).astype(np.int64)
    share = np.round(256 * (middle - first)).astype(np.uint32)
    return np.clip(first, 0, old - 1), np.clip(first + 1, 0, old - 1), share


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _interpolate(
    picture_HW3: NDArray[np.uint8],
    top_I: NDArray[np.int64],
    below_I: NDArray[np.int64],
    down_I: NDArray[np.uint32],
    left_J: NDArray[np.int64],
    right_J: NDArray[np.int64],
    along_J: NDArray[np.uint32],
    out_IJ3: NDArray[np.uint8],
) -> None:
    for i in range(len(top_I)):
        top, below, down = top_I[i], below_I[i], down_I[i]
        for j in range(len(left_J)):
            left, right, along = left_J[j], right_J[j], along_J[j]
            for c in range(3):
                upper = (picture_HW3[top, left, c] * (256 - along) + picture_HW3[top, right, c] * along + 128) >> 8
                lower = (picture_HW3[below, left, c] * (256 - along) + picture_HW3[below, right, c] * along + 128) >> 8
                out_IJ3[i, j, c] = (upper * (256 - down) + lower * down + 128) >> 8
