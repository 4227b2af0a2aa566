"""Mesh simplification by edge collapse with quadric errors (Garland and Heckbert 1997), for lit and textured meshes.

A collapse moves a vertex onto a neighbour, so what stays are vertices of the original mesh, with normals and texture
coordinates that the neighbour has on the same side of a crease or texture seam. A cost is an area times a squared
distance, m^4; what a collapse does to light and texture is counted as if the surface had moved.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tgrpo_envs.sim.snapshot import FloatArray

_TEXTURE_WEIGHT = 0.1  # of the square by which a texture is shifted, against that of a surface
_SHADE_LENGTH = 0.01  # metres; turning a normal by 1 (radian) counts as moving the surface by this
_LIT_LENGTH = 0.5  # metres; light, computed at corners only, changes along such an edge as if normals turned by 1
_LARGEST_TURN = 0.2  # cosine of the angle by which a collapse may turn a face
_STALE = 1 << 40  # subtracted from the version of a vertex that is gone
_MOVED = -2  # a number that a corner will take is kept as this less the number until all are found

IntArray = NDArray[np.int32]
_Long = NDArray[np.int64]
_Entry = tuple[float, int, int, int]  # cost, the vertex that goes, the one it goes to, sum of their versions


class _Surface(NamedTuple):
    """A mesh while it is simplified; corner c is corner c % 3 of face c // 3."""

    vertices_V3: FloatArray
    directions_N3: FloatArray
    faces_F3: _Long
    normals_F3: _Long
    texcoords_F3: _Long
    quadrics_V44: FloatArray
    alive_F: NDArray[np.bool_]
    first_V: _Long  # each vertex's corners, a linked list that ends at -1
    last_V: _Long
    next_C: _Long
    versions_V: _Long  # how often the faces around a vertex have changed


def simplify(
    vertices_V3: FloatArray,
    directions_N3: FloatArray,
    faces_F3: _Long,
    normals_F3: _Long,
    texcoords_F3: _Long,
    *,
    max_faces: int,
    tolerance: float,
) -> tuple[IntArray, IntArray, IntArray]:
    """Collapse edges, the least visible first, until `max_faces` are left and the next costs more than `tolerance`.

    Args:
        vertices_V3: Vertices in metres, no two at one place.
        directions_N3: Normals, no two the same.
        faces_F3: Vertex of each corner, counterclockwise, three different ones in a face.
        normals_F3: Normal of each corner.
        texcoords_F3: Number of each corner's texture coordinate, the same where that is the same.
        max_faces: Faces that may be left; fewer are if that costs little.
        tolerance: What a collapse may cost, m^4.

    Returns:
        Vertices, normals and texture coordinates of the corners that are left.
    """
    num_vertices, num_faces = len(vertices_V3), len(faces_F3)
    surface = _Surface(
        vertices_V3=np.ascontiguousarray(vertices_V3, dtype=np.float64),
        directions_N3=np.ascontiguousarray(directions_N3, dtype=np.float64),
        faces_F3=np.array(faces_F3, dtype=np.int64),
        normals_F3=np.array(normals_F3, dtype=np.int64),
        texcoords_F3=np.array(texcoords_F3, dtype=np.int64),
        quadrics_V44=_quadrics(vertices_V3, faces_F3),
        alive_F=np.ones(num_faces, dtype=np.bool_),
        first_V=np.full(num_vertices, -1),
        last_V=np.full(num_vertices, -1),
        next_C=np.full(3 * num_faces, -1),
        versions_V=np.zeros(num_vertices, dtype=np.int64),
    )
    edges_E2 = np.unique(np.sort(_sides(faces_F3), axis=1), axis=0)
    _collapse(surface, edges_E2, max_faces, tolerance)
    kept_F = surface.alive_F
    tables = (surface.faces_F3, surface.normals_F3, surface.texcoords_F3)
    corners_K3, normals_K3, texcoords_K3 = (table[kept_F].astype(np.int32) for table in tables)
    return corners_K3, normals_K3, texcoords_K3


def _sides(faces_F3: _Long) -> _Long:
    """Ends of the three sides of each face, (3 F, 2)."""
    return faces_F3[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)


def _quadrics(vertices_V3: FloatArray, faces_F3: _Long) -> FloatArray:
    """Sum over a vertex's faces, and over the open borders it lies on, of area times squared distance: (V, 4, 4)."""
    start_F3, second_F3, third_F3 = (vertices_V3[faces_F3[:, corner]] for corner in range(3))
    cross_F3 = np.cross(second_F3 - start_F3, third_F3 - start_F3)
    length_F = np.linalg.norm(cross_F3, axis=1)
    unit_F3 = cross_F3 / np.maximum(length_F, 1e-30)[:, None]
    quadrics_V44 = np.zeros((len(vertices_V3), 4, 4))
    _add_planes(quadrics_V44, faces_F3, unit_F3, start_F3, length_F / 2)

    sides_S2 = _sides(faces_F3)
    _, edge_S, count = np.unique(np.sort(sides_S2, axis=1), axis=0, return_inverse=True, return_counts=True)
    border = np.flatnonzero(count[edge_S.ravel()] == 1)
    start_B3 = vertices_V3[sides_S2[border, 0]]
    along_B3 = vertices_V3[sides_S2[border, 1]] - start_B3
    length_B = np.linalg.norm(along_B3, axis=1)
    outwards_B3 = np.cross(along_B3, unit_F3[border // 3]) / np.maximum(length_B, 1e-30)[:, None]
    _add_planes(quadrics_V44, sides_S2[border], outwards_B3, start_B3, length_B**2)
    return quadrics_V44


def _add_planes(
    quadrics_V44: FloatArray, corners_PK: _Long, unit_P3: FloatArray, point_P3: FloatArray, weight_P: FloatArray
) -> None:
    plane_P4 = np.concatenate([unit_P3, -(unit_P3 * point_P3).sum(axis=1, keepdims=True)], axis=1)
    weighted_P44 = weight_P[:, None, None] * plane_P4[:, :, None] * plane_P4[:, None, :]
    for vertices_P in corners_PK.T:
        np.add.at(quadrics_V44, vertices_P, weighted_P44)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _collapse(surface: _Surface, edges_E2: _Long, max_faces: int, tolerance: float) -> None:
    for corner in range(len(surface.next_C)):
        _append(surface, surface.faces_F3[corner // 3, corner % 3], corner, corner)
    heap = [(0.0, 0, 0, 0) for _ in range(0)]
    for e in range(len(edges_E2)):
        _push(heap, surface, edges_E2[e, 0], edges_E2[e, 1])
    left = len(surface.faces_F3)
    met_V = np.full(len(surface.vertices_V3), -1)
    while len(heap) > 0 and (left > max_faces or heap[0][0] <= tolerance):
        cost, gone, stays, version = heapq.heappop(heap)
        if version != surface.versions_V[gone] + surface.versions_V[stays]:
            continue
        now = _cost(surface, gone, stays)
        if now > cost:  # faces around have changed
            if now < np.inf:
                heapq.heappush(heap, (now, gone, stays, version))
            continue
        left -= _merge(surface, gone, stays)
        met_V[stays] = gone
        _push_around(heap, surface, stays, met_V, gone)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _append(surface: _Surface, vertex: int, first: int, last: int) -> None:
    """Append corners `first` to `last`, a list already, to the corners of a vertex."""
    if surface.first_V[vertex] < 0:
        surface.first_V[vertex] = first
    else:
        surface.next_C[surface.last_V[vertex]] = first
    surface.last_V[vertex] = last


@njit(cache=True)  # type: ignore[untyped-decorator]
def _push(heap: list[_Entry], surface: _Surface, one: int, other: int) -> None:
    """Remember the cheaper way to collapse an edge, if one is allowed."""
    version = surface.versions_V[one] + surface.versions_V[other]
    forth, back = _cost(surface, one, other), _cost(surface, other, one)
    if forth <= back and forth < np.inf:
        heapq.heappush(heap, (forth, one, other, version))
    elif back < np.inf:
        heapq.heappush(heap, (back, other, one, version))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _push_around(heap: list[_Entry], surface: _Surface, vertex: int, met_V: _Long, mark: int) -> None:
    """Remember the edges of a vertex; `met_V` has `mark` at the vertices that were seen."""
    corner = surface.first_V[vertex]
    while corner >= 0:
        face = corner // 3
        corner = surface.next_C[corner]
        if surface.alive_F[face]:
            for other in surface.faces_F3[face]:
                if met_V[other] != mark:
                    met_V[other] = mark
                    _push(heap, surface, other, vertex)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _cost(surface: _Surface, gone: int, stays: int) -> float:
    """What moving vertex `gone` onto `stays` costs; infinite where it would turn a face over."""
    vertices_V3, faces_F3 = surface.vertices_V3, surface.faces_F3
    a, b = vertices_V3[gone], vertices_V3[stays]
    cost = max(0.0, _error(surface.quadrics_V44[gone], b) + _error(surface.quadrics_V44[stays], b))
    step = _square(a, b)
    corner = surface.first_V[gone]
    while corner >= 0:
        f, k = corner // 3, corner % 3
        corner = surface.next_C[corner]
        second, third = faces_F3[f, (k + 1) % 3], faces_F3[f, (k + 2) % 3]
        if not surface.alive_F[f] or second == stays or third == stays:
            continue
        c, d = vertices_V3[second], vertices_V3[third]
        old, new = _cross(a, c, d), _cross(b, c, d)
        length = np.sqrt(_dot(new, new))
        if _dot(old, new) < _LARGEST_TURN * np.sqrt(_dot(old, old)) * length:
            return np.inf
        stretch = max(0.0, _square(b, c) - _square(a, c), _square(b, d) - _square(a, d)) / _LIT_LENGTH**2
        shift = (stretch * _SHADE_LENGTH) ** 2
        number = _partner(surface, surface.normals_F3, gone, stays, surface.normals_F3[f, k])
        if number >= 0:
            turn = _square(surface.directions_N3[number], surface.directions_N3[surface.normals_F3[f, k]])
            shift += turn * _SHADE_LENGTH**2
        if _partner(surface, surface.texcoords_F3, gone, stays, surface.texcoords_F3[f, k]) < 0:
            shift += _TEXTURE_WEIGHT * step
        cost += shift * length / 2
    return float(cost)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _partner(surface: _Surface, numbers_F3: _Long, gone: int, stays: int, number: int) -> int:
    """What `stays` has in a face where `gone` has this number; -1 if they share no such face."""
    corner = surface.first_V[gone]
    while corner >= 0:
        f, k = corner // 3, corner % 3
        corner = surface.next_C[corner]
        if surface.alive_F[f] and numbers_F3[f, k] == number:
            for other in range(3):
                if surface.faces_F3[f, other] == stays:
                    return int(numbers_F3[f, other])
    return -1


@njit(cache=True)  # type: ignore[untyped-decorator]
def _merge(surface: _Surface, gone: int, stays: int) -> int:
    """Move `gone` onto `stays`; returns how many faces vanish."""
    faces_F3, alive_F = surface.faces_F3, surface.alive_F
    corner = surface.first_V[gone]
    while corner >= 0:
        f, k = corner // 3, corner % 3
        corner = surface.next_C[corner]
        if alive_F[f] and faces_F3[f, (k + 1) % 3] != stays and faces_F3[f, (k + 2) % 3] != stays:
            for numbers_F3 in (surface.normals_F3, surface.texcoords_F3):
                found = _partner(surface, numbers_F3, gone, stays, numbers_F3[f, k])
                if found >= 0:
                    numbers_F3[f, k] = _MOVED - found
    vanished = 0
    corner = surface.first_V[gone]
    while corner >= 0:
        f, k = corner // 3, corner % 3
        corner = surface.next_C[corner]
        if not alive_F[f]:
            continue
        if faces_F3[f, (k + 1) % 3] == stays or faces_F3[f, (k + 2) % 3] == stays:
            alive_F[f] = False
            vanished += 1
            continue
        faces_F3[f, k] = stays
        for numbers_F3 in (surface.normals_F3, surface.texcoords_F3):
            if numbers_F3[f, k] < 0:
                numbers_F3[f, k] = _MOVED - numbers_F3[f, k]
    _append(surface, stays, surface.first_V[gone], surface.last_V[gone])
    surface.quadrics_V44[stays] += surface.quadrics_V44[gone]
    surface.versions_V[gone] -= _STALE
    surface.versions_V[stays] += 1
    return vanished


@njit(cache=True)  # type: ignore[untyped-decorator]
def _error(quadric_44: FloatArray, p: FloatArray) -> float:
    q = quadric_44
    error = q[3, 3]
    for i in range(3):
        error += 2.0 * q[i, 3] * p[i]
        for j in range(3):
            error += q[i, j] * p[i] * p[j]
    return float(error)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _square(a: FloatArray, b: FloatArray) -> float:
    """Squared distance."""
    return float((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _dot(a: tuple[float, float, float], b: tuple[float, float, float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _cross(a: FloatArray, b: FloatArray, c: FloatArray) -> tuple[float, float, float]:
    """Normal of a triangle, twice its area long."""
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
