"""MuJoCo, imported whatever the variables say that choose an OpenGL: who draws nothing needs none.

MuJoCo imports OpenGL along with itself, and fails where MUJOCO_GL and PYOPENGL_PLATFORM ask for one that is not here.
It is imported without then. `sim.opengl` says what is wrong when a picture is wanted. Everything of ours takes MuJoCo
from here.
"""

from __future__ import annotations

import os
import sys

_WANTED = {name: os.environ.get(name) for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}  # MuJoCo changes the second
# MuJoCo would look for windows, which takes 0.1 s and finds none.
_HAS_NO_SCREEN = sys.platform == "linux" and not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _restore() -> None:
    for name, value in _WANTED.items():
        os.environ.pop(name, None)
        os.environ.update({} if value is None else {name: value})


if _HAS_NO_SCREEN and not _WANTED["MUJOCO_GL"]:
    os.environ["MUJOCO_GL"] = "disable"
try:
    import mujoco
except Exception:  # noqa: BLE001 - whatever OpenGL makes of it; what is not OpenGL's fault fails again
    os.environ["MUJOCO_GL"] = "disable"
    try:
        import mujoco
    finally:
        _restore()
if os.environ.get("MUJOCO_GL") == "disable":
    _restore()

__all__ = ["mujoco"]
