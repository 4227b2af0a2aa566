"""Where a hand takes hold of doors, drawers and knobs: points that move with their joint, from a snapshot.

LIBERO's models have no sites at handles and no names on their geoms, so the points are a table, in the frame of the
fixture's root body. They are the middles of the handle bars, which both asset packs have at the same place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tgrpo_envs.sim.snapshot import FloatArray, Snapshot, SnapshotLayout

HANDLE_SUFFIX = "_handle"


@dataclass(frozen=True)
class Handle:
    """A handle and how it moves; metres, in the fixture's frame, with the joint at 0.

    Attributes:
        motion: ``slide`` moves along the frame's y axis, ``hinge`` turns about the vertical through `pivot`.
        pivot: A point on the hinge's axis; the origin for slides.
        arm: From the pivot to the handle.
    """

    motion: Literal["slide", "hinge"]
    pivot: tuple[float, float, float]
    arm: tuple[float, float, float]


def _drawer(height: float) -> Handle:
    return Handle("slide", (0.0, 0.0, 0.0), (-0.003, -0.102, height))


_DRAWERS = {"top_region": _drawer(0.184), "middle_region": _drawer(0.110), "bottom_region": _drawer(0.041)}
HANDLES: dict[tuple[str, str], Handle] = {
    **{("wooden_cabinet", region): handle for region, handle in _DRAWERS.items()},
    **{("white_cabinet", region): handle for region, handle in _DRAWERS.items()},
    ("microwave", ""): Handle("hinge", (-0.1725, -0.088, 0.096), (0.2375, -0.054, 0.0)),
    ("flat_stove", ""): Handle("hinge", (0.0, 0.0, 0.0), (0.0, 0.0, 0.03)),
}
"""By category of the fixture and region of the moving part, ``""`` where the fixture has a single one."""


def split_part(part: str) -> tuple[str, str, str]:
    """Instance, category and region of a part's name.

    ``wooden_cabinet_1_top_region`` gives ``wooden_cabinet_1``, ``wooden_cabinet`` and ``top_region``; ``microwave_1``
    gives ``microwave_1``, ``microwave`` and nothing.
    """
    found = re.match(r"^(?P<category>.+)_\d+(?=_|$)", part)
    if found is None:
        return part, part, ""
    return found[0], found["category"], part[found.end() :].removeprefix("_")


def find_handle(part: str) -> Handle | None:
    """The handle of a drawer's region, a microwave or a stove; None for everything else."""
    _, category, region = split_part(part)
    return HANDLES.get((category, region))


def handle_names(layout: SnapshotLayout) -> tuple[str, ...]:
    """Handles of a scene, as specs call them: a part's name and ``_handle``."""
    parts = (*layout.objects[layout.num_movables :], *layout.sites)
    return tuple(part + HANDLE_SUFFIX for part in parts if find_handle(part) and part_joints(part, layout))


def part_joints(part: str, layout: SnapshotLayout) -> tuple[int, ...]:
    """Rows of the joints that move a region, or that a fixture has."""
    if part in layout.sites:
        return tuple(np.flatnonzero(layout.joint_sites_J == layout.site_row(part)).tolist())
    if part in layout.objects:
        return tuple(np.flatnonzero(layout.joint_objects_J == layout.object_row(part)).tolist())
    return ()


def handle_position(handle: Handle, fixture: int, joint: int, snapshot: Snapshot) -> FloatArray:
    """Where the handle is, (N, 3), metres in the world.

    Args:
        handle: The table's entry.
        fixture: Row of the fixture on axis O.
        joint: Row of its joint on axis J.
        snapshot: The state.
    """
    qpos_N = snapshot.joint_qpos_NJ[:, joint]
    x, y, z = handle.arm
    arm_N3 = np.empty((len(qpos_N), 3))
    if handle.motion == "slide":
        arm_N3[:] = x, y, z
        arm_N3[:, 1] += qpos_N
    else:
        cos_N, sin_N = np.cos(qpos_N), np.sin(qpos_N)
        arm_N3[:, 0], arm_N3[:, 1], arm_N3[:, 2] = cos_N * x - sin_N * y, sin_N * x + cos_N * y, z
    arm_N3 += handle.pivot
    rotated_N3 = np.einsum("nij,nj->ni", snapshot.object_mat_NO33[:, fixture], arm_N3)
    position_N3: FloatArray = snapshot.object_pos_NO3[:, fixture] + rotated_N3
    return position_N3
