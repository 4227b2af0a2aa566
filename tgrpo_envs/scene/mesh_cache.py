"""Keeps simplified meshes on disk: most meshes of a scene are the robot's, and the same in every scene."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.files import ARRAY_ERRORS, atomic_file, cache_dir
from tgrpo_envs.scene.records import FORMAT_VERSION

Numbers = NDArray[np.integer]
Faces = tuple[Numbers, Numbers, Numbers]
"""Vertex, normal and texture coordinate of each corner, (F, 3) each."""


def kept_faces(simplify: Callable[..., Faces], *mesh: NDArray[np.generic] | float) -> Faces:
    """What `simplify(*mesh)` returns, read from disk where it was called for this mesh before.

    Args:
        simplify: What is called if it was not, or if the file is damaged.
        *mesh: Its arguments, all that the result depends on.

    Raises:
        OutputError: The cache cannot be written.
    """
    path = _path(*mesh)
    with suppress(*ARRAY_ERRORS), np.load(path, allow_pickle=False) as kept:  # the archive has a checksum
        corners_F3, normals_F3, texcoords_F3 = kept["faces_3F3"]
        return corners_F3, normals_F3, texcoords_F3
    faces = simplify(*mesh)
    with atomic_file(path) as partial:
        np.savez(partial, faces_3F3=np.stack(faces).astype(np.int32))
    return faces


def _path(*mesh: NDArray[np.generic] | float) -> Path:
    digest = hashlib.sha256(str(FORMAT_VERSION).encode())  # a new way to simplify is a new format of scenes
    for table in map(np.ascontiguousarray, mesh):
        digest.update(f" {table.dtype} {table.shape} ".encode())
        digest.update(table.tobytes())
    return cache_dir() / "meshes" / f"{digest.hexdigest()[:32]}.npz"
