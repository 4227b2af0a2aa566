"""Settings of every test: few threads, one warm cache, what to skip where meshes, libraries or a GPU are missing."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import tempfile
from pathlib import Path

import pytest

# Before numpy or torch load: their own thread pools would fight with the simulator's for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What is printed must not depend on the terminal that the tests run in.
os.environ["COLUMNS"], os.environ["NO_COLOR"] = "120", "1"
os.environ.pop("FORCE_COLOR", None)
# Scenes take seconds to build. All tests of all runs share them, apart from the user's own.
os.environ.setdefault("TGRPO_CACHE", str(Path(tempfile.gettempdir()) / f"tgrpo-tests-{os.getuid()}"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skips = []
    if not os.environ.get("TGRPO_LIBERO_ASSETS"):
        skips.append(("libero", "LIBERO's meshes are not here: set TGRPO_LIBERO_ASSETS to their folder"))
    if not _has_cuda():
        skips.append(("gpu", "no CUDA device"))
    if ctypes.util.find_library("OSMesa") is None:
        skips.append(("osmesa", "libOSMesa is not on this machine"))
    for item in items:
        for marker, reason in skips:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def _has_cuda() -> bool:
    """Whether an NVIDIA device is there; asking torch would import it for every test run."""
    return importlib.util.find_spec("torch") is not None and Path("/dev/nvidiactl").exists()
