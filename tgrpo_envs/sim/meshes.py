"""Meshes with fewer faces, to be drawn in place of a model's own; made by `tgrpo_envs.scene.detail`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.sim.engine import mujoco

IntArray = NDArray[np.int32]
_FACES = ("vertices_F3", "normals_F3", "texcoords_F3")


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

    def check(self, model: mujoco.MjModel) -> None:
        """Make sure that drawing them reads nothing beyond the model's own arrays.

        Raises:
            ValueError: They are of another kind or shape, or belong to another model.
        """
        num_faces = int(self.counts_M.sum()) if self.counts_M.ndim == 1 else -1
        shapes = {"meshes_M": self.counts_M.shape, **dict.fromkeys(_FACES, (num_faces, 3))}
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype.kind != "i":
                raise ValueError(f"{name} is {array.dtype} of shape {array.shape}")
        if not _within(self.meshes_M, model.nmesh) or (self.counts_M > model.mesh_facenum[self.meshes_M]).any():
            raise ValueError("it has meshes, or faces of them, that the model has not")
        mesh_F = np.repeat(self.meshes_M, self.counts_M)
        limits = (model.mesh_vertnum, model.mesh_normalnum, model.mesh_texcoordnum)
        for name, limit_M in zip(_FACES, limits, strict=True):
            if not _within(getattr(self, name), np.maximum(limit_M[mesh_F], 1)[:, None]):
                raise ValueError(f"{name} holds numbers that the model has not")


def _within(index: IntArray, limit: int | IntArray) -> bool:
    return bool(((index >= 0) & (index < limit)).all())


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
