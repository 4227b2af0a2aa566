"""Fewer faces for meshes that are only looked at: a software renderer spends most of a picture on them.

LIBERO's scenes draw 130,000 to 260,000 faces for a picture of 128 x 128 pixels. Faces are reduced by vertex clustering
(Rossignac and Borrel 1993): vertices of one grid cell become one vertex, faces that collapse or coincide are dropped.
Only visual meshes are touched, and only in the copy of the model that goes to OpenGL, so physics does not change.
"""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.assets.primitive.mjcf import PAINTED
from tgrpo_envs.sim.meshes import IntArray, ReducedMeshes
from tgrpo_envs.sim.snapshot import FloatArray

MAX_FACES = 500  # of one mesh
SMALLEST_CELL = 0.005  # metres; a pixel of a picture of 128 x 128 covers 2 to 7 mm
_FINEST_GRID = 256  # cells along a mesh's longest side
_COARSEST_GRID = 3


def reduce_meshes(
    model: mujoco.MjModel, max_faces: int = MAX_FACES, smallest_cell: float = SMALLEST_CELL
) -> ReducedMeshes:
    """Reduce the visual meshes of a model.

    Args:
        model: The model; it is not changed.
        max_faces: Faces that a mesh may keep.
        smallest_cell: Details below this size (metres) go, however few faces there are.
    """
    meshes, counts, tables = [], [], []
    for mesh in _visual_meshes(model):
        count, start = int(model.mesh_facenum[mesh]), int(model.mesh_faceadr[mesh])
        first = int(model.mesh_vertadr[mesh])
        vertices_V3 = model.mesh_vert[first : first + model.mesh_vertnum[mesh]].astype(np.float64)
        rows = slice(start, start + count)
        finest = min(_FINEST_GRID, max(_COARSEST_GRID, int(np.ptp(vertices_V3, axis=0).max() / smallest_cell)))
        kept_K, corners_K3 = _cluster(vertices_V3, model.mesh_face[rows], max_faces, finest)
        if len(kept_K) == count:
            continue
        meshes.append(mesh)
        counts.append(len(kept_K))
        tables.append((corners_K3, model.mesh_facenormal[rows][kept_K], model.mesh_facetexcoord[rows][kept_K]))
    stacked = [np.concatenate([table[i] for table in tables] or [np.zeros((0, 3))]).astype(np.int32) for i in range(3)]
    return ReducedMeshes(np.array(meshes, dtype=np.int32), np.array(counts, dtype=np.int32), *stacked)


def _visual_meshes(model: mujoco.MjModel) -> list[int]:
    """Meshes that no geom collides with, without those that were authored with few faces."""
    is_mesh = model.geom_type == int(mujoco.mjtGeom.mjGEOM_MESH)
    collides = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    drawn, solid = set(model.geom_dataid[is_mesh & ~collides]), set(model.geom_dataid[is_mesh & collides])
    return sorted(int(mesh) for mesh in drawn - solid if not model.mesh(mesh).name.endswith(PAINTED))


def _cluster(
    vertices_V3: FloatArray, faces_F3: IntArray, max_faces: int, finest: int
) -> tuple[NDArray[np.int64], IntArray]:
    """Cluster on the finest grid, of at most `finest` cells, that leaves at most `max_faces` faces.

    Returns:
        Rows of the faces that stay, and their new corners.
    """
    low, high = _COARSEST_GRID, finest
    best = _cluster_on_grid(vertices_V3, faces_F3, low)
    while low < high:
        cells = (low + high + 1) // 2
        result = _cluster_on_grid(vertices_V3, faces_F3, cells)
        if len(result[0]) <= max_faces:
            low, best = cells, result
        else:
            high = cells - 1
    return best


def _cluster_on_grid(vertices_V3: FloatArray, faces_F3: IntArray, cells: int) -> tuple[NDArray[np.int64], IntArray]:
    corner_3, extent = vertices_V3.min(axis=0), float(np.ptp(vertices_V3, axis=0).max())
    keys_V3 = np.floor((vertices_V3 - corner_3) * (cells / max(extent, 1e-12))).astype(np.int64)
    _, cluster_V = np.unique(keys_V3 @ np.array([1 << 42, 1 << 21, 1]), return_inverse=True)
    sums_C3 = np.stack([np.bincount(cluster_V, weights=vertices_V3[:, axis]) for axis in range(3)], axis=1)
    means_C3 = sums_C3 / np.bincount(cluster_V)[:, None]
    # The vertex nearest to the mean stands for its cluster: sorted by distance, the first of each cluster.
    order_V = np.argsort(((vertices_V3 - means_C3[cluster_V]) ** 2).sum(axis=1), kind="stable")
    clusters_C, first_C = np.unique(cluster_V[order_V], return_index=True)
    representative_C = np.empty(len(clusters_C), dtype=np.int32)
    representative_C[clusters_C] = order_V[first_C]
    corners_F3 = cluster_V[faces_F3]
    a, b, c = corners_F3.T
    whole_F = (a != b) & (b != c) & (a != c)
    rows = np.flatnonzero(whole_F)
    # Start each face at its lowest corner, keeping its sense of rotation: the two sides of a thin plate both stay.
    start_R = corners_F3[rows].argmin(axis=1)
    turned_R3 = np.take_along_axis(corners_F3[rows], (start_R[:, None] + np.arange(3)) % 3, axis=1)
    _, unique = np.unique(turned_R3, axis=0, return_index=True)
    kept_K = np.sort(rows[unique])
    return kept_K, representative_C[corners_F3[kept_K]]
