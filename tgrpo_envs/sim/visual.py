"""What is read of a compiled model to draw it, by OpenGL or without."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.snapshot import FloatArray

OPAQUE = 0.995  # alpha from which MuJoCo draws without blending


def rotation_matrix(quat_4: FloatArray) -> FloatArray:
    """The (3, 3) rotation of a unit quaternion, scalar first."""
    mat_9 = np.zeros(9)
    mujoco.mju_quat2Mat(mat_9, quat_4)
    return mat_9.reshape(3, 3)


def near_and_far_m(model: mujoco.MjModel) -> tuple[float, float]:
    """Distances along a camera's axis between which it sees, metres."""
    clips = model.vis.map
    return float(model.stat.extent * clips.znear), float(model.stat.extent * clips.zfar)


def texels(model: mujoco.MjModel, texture: int) -> NDArray[np.uint8]:
    """One of the model's textures (H, W, channels), in the model's own memory."""
    shape = tuple(int(sizes[texture]) for sizes in (model.tex_height, model.tex_width, model.tex_nchannel))
    first = int(model.tex_adr[texture])
    found: NDArray[np.uint8] = model.tex_data[first : first + int(np.prod(shape))].reshape(shape)
    return found
