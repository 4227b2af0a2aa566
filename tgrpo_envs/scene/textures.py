"""Textures of a compiled model, read, made smaller and written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.visual import texels

MAX_SIDE = 1024


@dataclass(frozen=True)
class Texture:
    """A picture on a surface.

    Attributes:
        type: MuJoCo's type: flat, cube or sky. The six sides of a cube lie below each other; one serves for all.
        texels: (H, W, channels) uint8.
    """

    type: int
    texels: NDArray[np.uint8]

    def write(self, model: mujoco.MjModel, texture: int) -> None:
        """Overwrite a texture of `model`, which must have room for as many bytes."""
        height, width, channels = self.texels.shape
        model.tex_type[texture], model.tex_nchannel[texture] = self.type, channels
        model.tex_height[texture], model.tex_width[texture] = height, width
        first = int(model.tex_adr[texture])
        model.tex_data[first : first + self.texels.size] = self.texels.ravel()


def read_texture(model: mujoco.MjModel, texture: int) -> Texture:
    """A copy of one of the model's textures."""
    return Texture(int(model.tex_type[texture]), texels(model, texture).copy())


def shrink(texture: Texture) -> Texture:
    """A flat texture with sides of at most `MAX_SIDE` texels, where they can be halved.

    Four texels become their mean, which is what is read where they are shown smaller. Cubes stay: they are
    wood and metal of tables, close to the cameras, and halving them moved LIBERO-Goal's pictures by 0.2 grey levels.
    """
    smaller = texture.texels
    while (
        texture.type == int(mujoco.mjtTexture.mjTEXTURE_2D)
        and smaller.shape[1] > MAX_SIDE
        and not smaller.shape[0] % 2
        and not smaller.shape[1] % 2
    ):
        quarters = smaller.reshape(smaller.shape[0] // 2, 2, smaller.shape[1] // 2, 2, -1).astype(np.float32)
        smaller = np.round(quarters.mean(axis=(1, 3))).astype(np.uint8)
    return Texture(texture.type, smaller)
