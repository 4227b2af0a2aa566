"""Fewer faces for meshes that are only looked at: a software renderer spends most of a picture on them.

LIBERO's scenes draw 130,000 to 260,000 faces for a picture of 128 x 128 pixels. Faces are chosen for the model that
is drawn (`tgrpo_envs.scene.drawn`), so physics does not change.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.assets.primitive.mjcf import PAINTED
from tgrpo_envs.scene.decimation import simplify
from tgrpo_envs.scene.mesh_cache import Faces, Numbers, kept_faces
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.snapshot import FloatArray

MAX_FACES = 2000  # of one mesh
_TOLERANCE = 3e-11  # m^4, e.g. 1 cm^2 of a surface moved by 0.5 mm; a pixel of 128 x 128 covers 2 to 7 mm
# Arm and pedestal are seen from afar, and are most of the meshes.
_MAX_ARM_FACES = 1000
_ARM_TOLERANCE = 3e-10
_ARM = ("robot0_", "mount0_")
_SAME = 5  # decimals to which places (in a mesh's longest side), normals and texture coordinates are told apart


class _Table(NamedTuple):
    """Different rows of a table: where each first stands, and which of them each row is."""

    first_U: NDArray[np.int64]
    number_R: NDArray[np.int64]


def reduced_faces(model: mujoco.MjModel, mesh: int) -> Faces:
    """Vertices, normals and texture coordinates of the corners that are left of a mesh.

    A mesh that was authored with few faces keeps them.

    Raises:
        OutputError: The cache of simplified meshes cannot be written.
    """
    rows = slice(model.mesh_faceadr[mesh], model.mesh_faceadr[mesh] + model.mesh_facenum[mesh])
    faces = model.mesh_face[rows], model.mesh_facenormal[rows], model.mesh_facetexcoord[rows]
    name = model.mesh(mesh).name
    if name.endswith(PAINTED):
        return faces
    first = model.mesh_vertadr[mesh]
    vertices_V3 = model.mesh_vert[first : first + model.mesh_vertnum[mesh]]
    first = model.mesh_normaladr[mesh]
    normals_N3 = model.mesh_normal[first : first + model.mesh_normalnum[mesh]]
    first = model.mesh_texcoordadr[mesh]
    texcoords_T2 = model.mesh_texcoord[first : first + model.mesh_texcoordnum[mesh]] if first >= 0 else np.zeros((0, 2))
    limits = (_MAX_ARM_FACES, _ARM_TOLERANCE) if name.startswith(_ARM) else (MAX_FACES, _TOLERANCE)
    reduced = kept_faces(_reduce, vertices_V3, normals_N3, texcoords_T2, *faces, *limits)
    return reduced if len(reduced[0]) < len(faces[0]) else faces


def _reduce(
    vertices_V3: FloatArray,
    directions_N3: FloatArray,
    texcoords_T2: FloatArray,
    corners_F3: Numbers,
    normals_F3: Numbers,
    texcoords_F3: Numbers,
    max_faces: int,
    tolerance: float,
) -> Faces:
    vertices_V3 = vertices_V3.astype(np.float64)
    places = _different(vertices_V3 / max(float(np.ptp(vertices_V3, axis=0).max()), 1e-9))
    directions = _different(directions_N3)
    texcoords = _Table(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
    if len(texcoords_T2):
        texcoords = _different(texcoords_T2)
    else:
        texcoords_F3 = np.zeros_like(corners_F3)
    corners_F3 = places.number_R[corners_F3]
    a_F, b_F, c_F = corners_F3.T
    whole_F = (a_F != b_F) & (b_F != c_F) & (a_F != c_F)
    corners, normals, numbers = simplify(
        vertices_V3[places.first_U],
        directions_N3[directions.first_U],
        corners_F3[whole_F],
        directions.number_R[normals_F3[whole_F]],
        texcoords.number_R[texcoords_F3[whole_F]],
        max_faces=max_faces,
        tolerance=tolerance,
    )
    return places.first_U[corners], directions.first_U[normals], texcoords.first_U[numbers]


def _different(rows_RC: FloatArray) -> _Table:
    _, first_U, number_R = np.unique(np.round(rows_RC, _SAME), axis=0, return_index=True, return_inverse=True)
    return _Table(first_U, number_R.ravel())
