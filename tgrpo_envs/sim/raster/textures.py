"""Textures as pyramids of halved pictures, to the bit as Mesa's OpenGL halves them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.visual import texels

_FACES = 6  # of a cube map: right, left, up, down, front, back
_WHITE = np.full((1, 1, 3), 255, np.uint8)


class Textures(NamedTuple):
    """All textures of a model, T, and at last a white one for what has none; M levels of pyramids in all.

    A cube map's faces are six textures that follow each other; equal ones share a pyramid.

    Attributes:
        texels_X: Colours of all levels, row by row: red in the lowest byte, then green and blue.
        first_M: Place in `texels_X` where a level begins.
        width_M, height_M: Its size in texels.
        repeats_M: Whether it repeats outside of 0 to 1; else its edge goes on, as on the sides of cube maps.
        first_level_T: The finest level of a texture; the coarser ones follow.
        num_levels_T: How many levels it has; the last one has a single texel.
    """

    texels_X: NDArray[np.uint32]
    first_M: NDArray[np.int32]
    width_M: NDArray[np.int32]
    height_M: NDArray[np.int32]
    repeats_M: NDArray[np.int32]
    first_level_T: NDArray[np.int32]
    num_levels_T: NDArray[np.int32]


def read_textures(model: mujoco.MjModel) -> tuple[Textures, list[int]]:
    """Textures of a model, and the row of `Textures` at which each of the model's textures begins."""
    levels: list[NDArray[np.uint8]] = []
    repeats: list[bool] = []
    known: dict[tuple[tuple[int, ...], bytes, bool], tuple[int, int]] = {}  # sides of a cube map are often one picture
    levels_T: list[tuple[int, int]] = []
    rows: list[int] = []
    for faces in (*(_faces(model, texture) for texture in range(model.ntex)), [_WHITE]):
        rows.append(len(levels_T))
        is_flat = len(faces) == 1
        for picture in faces:
            key = (picture.shape, picture.tobytes(), is_flat)
            if key not in known:
                pyramid = _pyramid(picture)
                known[key] = (len(levels), len(pyramid))
                levels += pyramid
                repeats += [is_flat] * len(pyramid)
            levels_T.append(known[key])
    sizes_M2 = np.array([level.shape[:2] for level in levels], np.int32)
    num_M = sizes_M2.prod(axis=1)
    end_M = np.cumsum(num_M)
    texels_X4 = np.zeros((end_M[-1], 4), np.uint8)
    for level, num, end in zip(levels, num_M, end_M, strict=True):
        for channel in range(3):  # in one go numpy takes three times as long
            texels_X4[end - num : end, channel] = level[..., channel].ravel()
    textures = Textures(
        texels_X=texels_X4.view("<u4")[:, 0],
        first_M=(end_M - num_M).astype(np.int32),
        width_M=np.ascontiguousarray(sizes_M2[:, 1]),
        height_M=np.ascontiguousarray(sizes_M2[:, 0]),
        repeats_M=np.array(repeats, np.int32),
        first_level_T=np.array([first for first, _ in levels_T], np.int32),
        num_levels_T=np.array([count for _, count in levels_T], np.int32),
    )
    return textures, rows[:-1]


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
