"""OpenGL without a screen: which library is used, a context for one thread, and what is said where there is none."""

from __future__ import annotations

import atexit
import ctypes.util
import functools
import glob
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

from tgrpo_envs.errors import RenderError
from tgrpo_envs.sim.engine import mujoco

_HELP = (
    "Install an OpenGL library that needs no screen: apt-get install -y libosmesa6 (software), or "
    "libegl1 libgl1 with the driver of a GPU. Without pictures (detail='off') none is needed."
)
_BACKENDS = ("egl", "osmesa")
# What MuJoCo knows in MUJOCO_GL besides.
_WINDOWS = ("glfw", "glx", "enable", "enabled", "on", "true", "1", "")  # nothing of ours, or a screen: we choose
_NO_PICTURES = ("disable", "disabled", "off", "false", "0")
_logger = logging.getLogger(__name__)
_context_lock = threading.Lock()  # creating contexts is not thread-safe in Mesa
_opened_by: int | None = None  # the process that opened OpenGL first: this one, or one that it was forked from
_has_threads = False  # whether Mesa has some, when a fork begins
_lost_threads = False  # whether it had some that this process, forked since, would wait for without end
_MESA_THREAD = "llvmpipe"


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
                name, reason = _choice()
                raise RenderError(f"OpenGL by {name}, {reason}, cannot draw off screen ({error}). {_HELP}") from error

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


def backend() -> str:
    """``egl`` or ``osmesa``, the same for the whole process since MuJoCo loads OpenGL's functions once.

    A choice in ``MUJOCO_GL`` is kept, else one in ``PYOPENGL_PLATFORM``. Else a GPU's EGL is preferred, then OSMesa,
    then EGL's software driver, which is slower than OSMesa. The choice goes to the log, once.

    Raises:
        RenderError: Neither library is installed, or the variables name none, or two.
    """
    return _choice()[0]


@functools.cache
def draws_on_gpu() -> bool:
    """Whether pictures are drawn by a GPU, rather than in software."""
    return backend() == "egl" and has_gpu()


def has_gpu() -> bool:
    """Whether a GPU with its own OpenGL driver is here: NVIDIA's device files and EGL library, or a render node."""
    nvidia = glob.glob("/dev/nvidia[0-9]*") and glob.glob("/usr/share/glvnd/egl_vendor.d/*nvidia*")
    return bool(nvidia) or bool(glob.glob("/dev/dri/renderD*"))


@functools.cache
def _choice() -> tuple[str, str]:
    """The backend, and why it is that."""
    wanted, platform = (os.environ.get(name, "").strip().lower() for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM"))
    if wanted in _NO_PICTURES:
        raise RenderError(f"MUJOCO_GL={wanted!r} forbids pictures: unset it, or do without them (detail='off').")
    if wanted not in (*_BACKENDS, *_WINDOWS):
        raise RenderError(f"MUJOCO_GL={wanted!r} is no OpenGL that we know: set it to egl or osmesa, or unset it.")
    if wanted in _BACKENDS:
        name, reason = wanted, "as MUJOCO_GL says"
    elif platform in _BACKENDS:
        name, reason = platform, "as PYOPENGL_PLATFORM says"
    elif has_gpu() and _is_installed("EGL"):
        name, reason = "egl", "on a GPU"
    elif _is_installed("OSMesa"):
        name, reason = "osmesa", "in software"
    elif _is_installed("EGL"):
        name, reason = "egl", "in software"
    else:
        raise RenderError(f"Neither OSMesa nor EGL is installed. {_HELP}")
    if platform not in (name, ""):
        raise RenderError(
            f"PYOPENGL_PLATFORM={platform!r} contradicts OpenGL by {name}, {reason}: unset it, or set it to {name}."
        )
    _logger.info("Pictures are drawn by OpenGL through %s, %s.", name, reason)
    return name, reason


def _is_installed(library: str) -> bool:
    """Where it is not, looking takes 0.05 s: so only what is needed is looked for."""
    return ctypes.util.find_library(library) is not None


def _open(size: int) -> tuple[Any, Any]:
    """A context, and the function that tells which one is current."""
    global _opened_by
    name, reason = _choice()
    # Mesa's software renderer would start threads of its own for each context, to fight with those of the pool.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    if _lost_threads or (_opened_by not in (None, os.getpid()) and not _survives_fork(name)):
        what = "with threads of its own" if _lost_threads else "and drivers of GPUs do not survive that"
        raise RenderError(
            f"OpenGL by {name} was in use when this process was forked, {what}: start it by multiprocessing's 'spawn' "
            "or 'forkserver', or draw nothing before the fork, neither here nor by LIBERO's own environment."
        )
    # MuJoCo's modules and PyOpenGL read these when they are first imported.
    os.environ["MUJOCO_GL"] = os.environ["PYOPENGL_PLATFORM"] = name
    try:
        if name == "egl":
            from mujoco.egl import EGL, GLContext

            _check_egl_device(len(EGL.eglQueryDevicesEXT()))
            current = EGL.eglGetCurrentContext
        else:
            from mujoco.osmesa import GLContext, osmesa

            current = osmesa.OSMesaGetCurrentContext
        context = GLContext.__new__(GLContext)
        context._context = None  # its destructor would miss it where the next line fails, and print a traceback
        context.__init__(size, size)
    except RenderError:
        raise
    except Exception as error:  # PyOpenGL raises whatever it stumbles over
        raise RenderError(f"OpenGL by {name}, {reason}, does not work here ({error}). {_HELP}") from error
    _opened_by = os.getpid()
    return context, current


def _check_egl_device(count: int) -> None:
    """Make sure that the variable which chooses one of the EGL devices does."""
    device = os.environ.get("MUJOCO_EGL_DEVICE_ID")
    if device is not None and not (device.strip().isdecimal() and int(device) < count):
        raise RenderError(
            f"MUJOCO_EGL_DEVICE_ID={device!r} must be a whole number from 0 to {count - 1}, the EGL devices here; "
            "unset it to take the first that works."
        )


def _survives_fork(name: str) -> bool:
    """Whether a forked child can make contexts of its own: in software that keeps no threads."""
    return os.environ["LP_NUM_THREADS"] == "0" and not (name == "egl" and has_gpu())


def _before_fork() -> None:
    """Pictures of others, such as LIBERO's own environment, start threads of Mesa whatever our setting is."""
    global _has_threads
    _has_threads = "OpenGL" in sys.modules and any(map(_is_mesas, glob.glob("/proc/self/task/*/comm")))


def _is_mesas(path: str) -> bool:
    """Whether the thread whose name this file holds is one of Mesa's."""
    try:
        return Path(path).read_text(encoding="utf-8").startswith(_MESA_THREAD)
    except OSError:  # it has ended
        return False


def _after_fork() -> None:
    """In a forked child: another thread may have held the lock, and the display is the parent's to end."""
    global _context_lock, _lost_threads
    _context_lock = threading.Lock()
    _lost_threads |= _has_threads
    if egl := sys.modules.get("mujoco.egl"):
        atexit.unregister(egl.EGL.eglTerminate)


os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
