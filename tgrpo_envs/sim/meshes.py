"""Meshes with fewer faces, to be drawn in place of a model's own; made by `tgrpo_envs.scene.detail`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.sim.engine import mujoco

IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class ReducedMeshes:
    """Faces of reduced meshes, concatenated.

    Attributes:
        meshes_M: Ids of the meshes.
        counts_M: Number of faces of each.
        vertices_F3: Vertex of each corner, counted within its mesh.
        normals_F3: Normal of each corner.
        texcoords_F3: Texture coordinate of each corner.
    """

    meshes_M: IntArray
    counts_M: IntArray
    vertices_F3: IntArray
    normals_F3: IntArray
    texcoords_F3: IntArray


def apply_reduction(model: mujoco.MjModel, reduced: ReducedMeshes) -> None:
    """Overwrite the faces of `model` in place, so that OpenGL gets the reduced ones."""
    offset = 0
    for mesh, count in zip(reduced.meshes_M, reduced.counts_M, strict=True):
        start = model.mesh_faceadr[mesh]
        source, target = slice(offset, offset + count), slice(start, start + count)
        model.mesh_face[target] = reduced.vertices_F3[source]
        model.mesh_facenormal[target] = reduced.normals_F3[source]
        model.mesh_facetexcoord[target] = reduced.texcoords_F3[source]
        model.mesh_facenum[mesh] = count
        offset += count
