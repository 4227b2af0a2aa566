"""MuJoCo, imported whatever the variables say that choose an OpenGL: who draws nothing needs none.

MuJoCo imports OpenGL along with itself, and fails where MUJOCO_GL and PYOPENGL_PLATFORM ask for one that is not here.
It is imported without then. `sim.opengl` says what is wrong when a picture is wanted. Everything of ours takes MuJoCo
from here.
"""

from __future__ import annotations

import os

_WANTED = {name: os.environ.get(name) for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}  # MuJoCo changes the second

try:
    import mujoco
except Exception:  # noqa: BLE001 - whatever OpenGL makes of it; what is not OpenGL's fault fails again
    os.environ["MUJOCO_GL"] = "disable"
    try:
        import mujoco
    finally:
        for _name, _value in _WANTED.items():
            os.environ.pop(_name, None)
            os.environ.update({} if _value is None else {_name: _value})

__all__ = ["mujoco"]
