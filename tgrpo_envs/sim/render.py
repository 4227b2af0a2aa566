"""Off-screen pictures: one OpenGL context per thread, on a GPU where there is one, else in software."""

from __future__ import annotations

import copy
import ctypes.util
import functools
import glob
import os
import threading
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import RenderError, UnknownNameError
from tgrpo_envs.sim.meshes import ReducedMeshes, apply_reduction

# Public camera names to those of LIBERO's models.
CAMERAS = {"agentview": "agentview", "wrist": "robot0_eye_in_hand"}

_HELP = (
    "Install an OpenGL library that needs no screen: apt-get install -y libosmesa6 (software), or "
    "libegl1 libgl1 with the driver of a GPU. Without pictures (cameras=()) none is needed."
)
_VISUAL_GROUP = 1  # robosuite draws geom group 1; group 0 holds the collision shapes
_context_lock = threading.Lock()  # creating contexts is not thread-safe in Mesa


class Renderer:
    """Draws one scene in the thread that made it.

    Args:
        model: Model to draw; its textures go to OpenGL now, poses and colours are read at each picture.
        size: Width and height, pixels.
        reduced: Meshes with fewer faces to draw, for speed; shadows, reflections and multisampling are left out then
            too. None draws what LIBERO draws.

    Raises:
        RenderError: No usable OpenGL on this machine.
    """

    def __init__(self, model: mujoco.MjModel, size: int, reduced: ReducedMeshes | None = None) -> None:
        drawn = copy.copy(model)
        if reduced is not None:
            apply_reduction(drawn, reduced)
            quality = drawn.vis.quality
            quality.offsamples = quality.shadowsize = 0  # not even the buffers
            # Facets of spheres and cylinders, and of the floor: MuJoCo's 28, 16 and 4 are for a screen.
            quality.numslices, quality.numstacks, quality.numquads = 12, 8, 2
        drawn.vis.global_.offwidth = drawn.vis.global_.offheight = size
        with _context_lock:
            self._gl = _open_context(size)
            self._gl.make_current()
            self._context = _upload(drawn)
        self._scene = mujoco.MjvScene(model, maxgeom=max(1000, 2 * model.ngeom))
        if reduced is not None:
            for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                self._scene.flags[effect] = False
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[_VISUAL_GROUP] = 1
        self._perturb = mujoco.MjvPerturb()
        self._viewport = mujoco.MjrRect(0, 0, size, size)
        self._cameras: dict[str, mujoco.MjvCamera] = {name: _camera(model, name) for name in CAMERAS}
        self._pixels: NDArray[np.uint8] = np.empty((size, size, 3), dtype=np.uint8)

    def draw(self, model: mujoco.MjModel, data: mujoco.MjData, images: Sequence[tuple[str, NDArray[np.uint8]]]) -> None:
        """Draw `data` once for each camera.

        Args:
            model: The model with the poses of this environment's fixtures.
            data: The simulation; positions must be current.
            images: (camera, (H, W, 3) array to fill, upright) pairs.
        """
        self._gl.make_current()
        for name, image in images:
            mujoco.mjv_updateScene(
                model,
                data,
                self._option,
                self._perturb,
                self._cameras[name],
                mujoco.mjtCatBit.mjCAT_ALL,
                self._scene,
            )
            mujoco.mjr_render(self._viewport, self._scene, self._context)
            mujoco.mjr_readPixels(self._pixels, None, self._viewport, self._context)
            image[:] = self._pixels[::-1]  # OpenGL's first row is the lowest

    def close(self) -> None:
        """Free OpenGL's memory; call it in the thread that made the renderer."""
        self._gl.make_current()
        self._context.free()
        self._gl.free()
        del self._gl  # or it would be freed once more when the renderer goes, in whichever thread that is


def check_cameras(names: Sequence[str]) -> None:
    """Refuse names that are not cameras.

    Raises:
        UnknownNameError: There is no such camera.
    """
    for name in names:
        if name not in CAMERAS:
            raise UnknownNameError("camera", name, CAMERAS)


@functools.cache
def backend() -> str:
    """``egl`` or ``osmesa``, the same for the whole process since MuJoCo loads OpenGL's functions once.

    A choice in ``MUJOCO_GL`` is kept. Else a GPU's EGL is preferred, then OSMesa, then EGL's software driver, which is
    slower than OSMesa.

    Raises:
        RenderError: Neither library is installed.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted in ("egl", "osmesa"):
        return wanted
    has_osmesa, has_egl = (ctypes.util.find_library(name) is not None for name in ("OSMesa", "EGL"))
    if not has_osmesa and not has_egl:
        raise RenderError(f"Neither OSMesa nor EGL is installed. {_HELP}")
    if not has_osmesa or (has_egl and _has_gpu()):
        return "egl"
    return "osmesa"


def _has_gpu() -> bool:
    """Whether a GPU with its own OpenGL driver is here: NVIDIA's device files and EGL library, or a render node."""
    nvidia = glob.glob("/dev/nvidia[0-9]*") and glob.glob("/usr/share/glvnd/egl_vendor.d/*nvidia*")
    return bool(nvidia) or bool(glob.glob("/dev/dri/renderD*"))


def _open_context(size: int) -> Any:
    name = backend()
    # Mesa's software renderer starts threads of its own for each context, which would fight with those of the pool.
    os.environ.setdefault("LP_NUM_THREADS", "1")
    # MuJoCo's modules and PyOpenGL read these when they are first imported.
    os.environ["MUJOCO_GL"] = name
    os.environ.setdefault("PYOPENGL_PLATFORM", name)
    try:
        if name == "egl":
            from mujoco.egl import GLContext
        else:
            from mujoco.osmesa import GLContext
        return GLContext(size, size)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise RenderError(f"OpenGL by {name} does not work here ({error}). {_HELP}") from error


def _upload(model: mujoco.MjModel) -> mujoco.MjrContext:
    """MuJoCo's side of the context: meshes and textures of the model go to OpenGL."""
    try:
        context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
    except mujoco.FatalError as error:
        raise RenderError(f"OpenGL by {backend()} cannot draw off screen ({error}). {_HELP}") from error
    return context


def _camera(model: mujoco.MjModel, name: str) -> mujoco.MjvCamera:
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
    camera.fixedcamid = model.camera(CAMERAS[name]).id
    return camera
