"""OpenGL without a screen: which library is used, a context for one thread, and what is said where there is none."""

from __future__ import annotations

import ctypes.util
import functools
import glob
import logging
import os
import threading
from typing import Any

import mujoco

from tgrpo_envs.errors import RenderError

_HELP = (
    "Install an OpenGL library that needs no screen: apt-get install -y libosmesa6 (software), or "
    "libegl1 libgl1 with the driver of a GPU. Without pictures (detail='off') none is needed."
)
_logger = logging.getLogger(__name__)
_context_lock = threading.Lock()  # creating contexts is not thread-safe in Mesa


class OpenGLContext:
    """A context for the thread that makes it, current there until `close`, with a model's meshes and textures.

    Args:
        model: Its meshes and textures go to OpenGL now.
        size: Width and height of the pictures, pixels.

    Attributes:
        mujoco: MuJoCo's side of the context, for `mjr_render` and its like.

    Raises:
        RenderError: No usable OpenGL on this machine.
    """

    def __init__(self, model: mujoco.MjModel, size: int) -> None:
        with _context_lock:
            self._gl, self._current = _open(size)
            try:
                self._gl.make_current()
                self.mujoco = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
                mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.mujoco)
            except (RuntimeError, mujoco.FatalError) as error:
                self._gl.free()
                raise RenderError(f"OpenGL by {backend()} cannot draw off screen ({error}). {_HELP}") from error

    def check(self) -> None:
        """Make sure that what was drawn was drawn.

        Raises:
            RenderError: The context is gone, or OpenGL met an error.
        """
        code = mujoco.mjr_getError() if self._current() else "no current context"
        if code:
            raise RenderError(
                f"The OpenGL context ({backend()}) died while drawing (error {code}), so these pictures are void. "
                "The next ones get a new context; if that dies too, look at the GPU's driver or set MUJOCO_GL=osmesa."
            )

    def close(self) -> None:
        """Free OpenGL's memory, on the thread that made the context; closing twice is harmless."""
        if self._gl is None:
            return
        gl, self._gl = self._gl, None  # MuJoCo's object would free itself once more, on whichever thread drops it last
        if self._current():
            self.mujoco.free()
            gl.free()
        else:
            gl._context = None  # or its destructor would try, and print a traceback


@functools.cache
def backend() -> str:
    """``egl`` or ``osmesa``, the same for the whole process since MuJoCo loads OpenGL's functions once.

    A choice in ``MUJOCO_GL`` is kept. Else a GPU's EGL is preferred, then OSMesa, then EGL's software driver, which is
    slower than OSMesa. The choice goes to the log, once.

    Raises:
        RenderError: Neither library is installed.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    has_osmesa, has_egl = (ctypes.util.find_library(name) is not None for name in ("OSMesa", "EGL"))
    if wanted in ("egl", "osmesa"):
        name, reason = wanted, "as MUJOCO_GL says"
    elif has_egl and has_gpu():
        name, reason = "egl", "on a GPU"
    elif has_osmesa or has_egl:
        name, reason = "osmesa" if has_osmesa else "egl", "in software"
    else:
        raise RenderError(f"Neither OSMesa nor EGL is installed. {_HELP}")
    _logger.info("Pictures are drawn by OpenGL through %s, %s.", name, reason)
    return name


def has_gpu() -> bool:
    """Whether a GPU with its own OpenGL driver is here: NVIDIA's device files and EGL library, or a render node."""
    nvidia = glob.glob("/dev/nvidia[0-9]*") and glob.glob("/usr/share/glvnd/egl_vendor.d/*nvidia*")
    return bool(nvidia) or bool(glob.glob("/dev/dri/renderD*"))


def _open(size: int) -> tuple[Any, Any]:
    """A context, and the function that tells which one is current."""
    name = backend()
    # Mesa's software renderer would start threads of its own for each context, to fight with those of the pool.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    # MuJoCo's modules and PyOpenGL read these when they are first imported.
    os.environ["MUJOCO_GL"] = name
    os.environ.setdefault("PYOPENGL_PLATFORM", name)
    try:
        if name == "egl":
            from mujoco.egl import EGL, GLContext

            return GLContext(size, size), EGL.eglGetCurrentContext
        from mujoco.osmesa import GLContext, osmesa

        return GLContext(size, size), osmesa.OSMesaGetCurrentContext
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise RenderError(f"OpenGL by {name} does not work here ({error}). {_HELP}") from error
