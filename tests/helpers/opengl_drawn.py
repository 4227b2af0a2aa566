"""A drawn model through MuJoCo's own OpenGL, one sample a pixel and no shadows: what the rasterizer must show."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.sim.opengl import OpenGLContext
from tgrpo_envs.sim.pictures import BACKGROUND, body_rows, camera_id
from tgrpo_envs.sim.raster.shapes import SLICES, STACKS
from tgrpo_envs.sim.render import visual_option


def opengl_pictures(scene: Any, data: mujoco.MjData, model: mujoco.MjModel, camera: str, size: int) -> dict[str, Any]:
    """Colours, depth (metres) and segmentation of a scene's drawn model with the poses of `data`."""
    drawn = scene.drawn_model
    drawn.vis.quality.offsamples = drawn.vis.quality.shadowsize = 0
    drawn.vis.quality.numslices, drawn.vis.quality.numstacks = SLICES, STACKS
    drawn.vis.global_.offwidth = drawn.vis.global_.offheight = size
    drawn.site_rgba[:] = np.maximum(model.site_rgba, 0.0)
    state = posed(drawn, data)
    view = mujoco.MjvCamera()
    view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, camera_id(model, camera)
    shown = mujoco.MjvScene(drawn, maxgeom=2000)
    shown.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
    everything = mujoco.mjtCatBit.mjCAT_ALL
    mujoco.mjv_updateScene(drawn, state, visual_option(), mujoco.MjvPerturb(), view, everything, shown)
    context = OpenGLContext(drawn, size)
    try:
        context.mujoco.readDepthMap = int(mujoco.mjtDepthMap.mjDEPTH_ZEROFAR)
        rgb, inverse = _read(shown, context, size)
        near, far = (model.stat.extent * clip for clip in (model.vis.map.znear, model.vis.map.zfar))
        shown.flags[[int(mujoco.mjtRndFlag.mjRND_SEGMENT), int(mujoco.mjtRndFlag.mjRND_IDCOLOR)]] = True
        numbers = _read(shown, context, size)[0].astype(int) @ np.array([1, 1 << 8, 1 << 16])
    finally:
        context.close()
    rows_B = body_rows(model, scene.record)
    table = np.full(numbers.max() + 1, BACKGROUND)
    for geom in shown.geoms[: shown.ngeom]:
        bodies = drawn.geom_bodyid if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM else drawn.site_bodyid
        if geom.segid + 1 < len(table):
            table[geom.segid + 1] = rows_B[bodies[geom.objid]]
    return {"rgb": rgb, "depth": near * far / (near + inverse * (far - near)), "segmentation": table[numbers]}


def posed(drawn: mujoco.MjModel, data: mujoco.MjData) -> mujoco.MjData:
    """The drawn model has no joints, so its geoms are put where the simulation has their bodies."""
    state = mujoco.MjData(drawn)
    for geom in range(drawn.ngeom):
        body = int(drawn.geom_bodyid[geom])
        place, turn = np.zeros(3), np.zeros(9)
        own, inside = np.zeros(4), drawn.geom_quat[geom]
        mujoco.mju_rotVecQuat(place, drawn.geom_pos[geom], data.xquat[body])
        mujoco.mju_mulQuat(own, data.xquat[body], inside)
        mujoco.mju_quat2Mat(turn, own)
        state.geom_xpos[geom], state.geom_xmat[geom] = data.xpos[body] + place, turn
    for name in ("site_xpos", "site_xmat", "cam_xpos", "cam_xmat", "light_xpos", "light_xdir"):
        getattr(state, name)[:] = getattr(data, name)
    return state


def _read(shown: mujoco.MjvScene, context: OpenGLContext, size: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    viewport = mujoco.MjrRect(0, 0, size, size)
    rgb, depth = np.empty((size, size, 3), np.uint8), np.empty((size, size), np.float32)
    mujoco.mjr_render(viewport, shown, context.mujoco)
    mujoco.mjr_readPixels(rgb, depth, viewport, context.mujoco)
    return rgb[::-1], depth[::-1].astype(float)
