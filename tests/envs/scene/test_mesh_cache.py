"""Simplified meshes on disk: read where the mesh is the same, made anew where it or the file is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tgrpo_envs.files import CACHE_VARIABLE
from tgrpo_envs.scene.mesh_cache import Faces, kept_faces

VERTICES, FACES = np.arange(12.0).reshape(4, 3), np.array([[0, 1, 2], [1, 2, 3]])
MESH = (VERTICES, FACES, 2, 1e-9)


class Simplifier:
    """Returns one face, and counts how often it had to."""

    calls = 0

    def __call__(self, *mesh: NDArray[np.generic] | float) -> Faces:
        self.calls += 1
        return np.array([[3, 1, 2]]), np.array([[0, 0, 0]]), np.array([[7, 8, 9]])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return tmp_path / "meshes"


def test_a_mesh_is_simplified_once(folder: Path) -> None:
    simplify = Simplifier()
    made, read = (kept_faces(simplify, *MESH) for _ in range(2))
    assert simplify.calls == 1
    for ours, theirs in zip(made, read, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "other",
    [
        (2 * VERTICES, FACES, 2, 1e-9),
        (VERTICES.reshape(3, 4), FACES, 2, 1e-9),
        (VERTICES, FACES[:, ::-1], 2, 1e-9),
        (VERTICES, FACES, 3, 1e-9),
        (VERTICES, FACES, 2, 1e-8),
    ],
)
def test_a_mesh_that_differs_in_anything_is_another(folder: Path, other: tuple[NDArray[np.generic] | float]) -> None:
    simplify = Simplifier()
    kept_faces(simplify, *MESH)
    kept_faces(simplify, *other)
    assert simplify.calls == 2


@pytest.mark.parametrize("place", ["number", "end"])
def test_a_damaged_file_is_replaced(folder: Path, place: str) -> None:
    simplify = Simplifier()
    kept_faces(simplify, *MESH)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    at = whole.index(np.int32(9).tobytes() + b"PK") if place == "number" else len(whole) - 5
    path.write_bytes(whole[:at] + b"\1" + whole[at + 1 :] if place == "number" else whole[:at])
    assert kept_faces(simplify, *MESH)[2].tolist() == [[7, 8, 9]]
    assert simplify.calls == 2
    assert path.read_bytes() == whole
