"""What the names in a spec refer to: kinds of entities, their rows in a scene's snapshots, and the moment to judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tgrpo_envs.errors import SpecError, UnknownNameError
from tgrpo_envs.rewards.handles import HANDLE_SUFFIX, Handle, find_handle, handle_names, part_joints, split_part
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout
from tgrpo_envs.sim.success import JOINT_TESTS, Comparison

GRIPPER, MOVABLE, FIXTURE, REGION, HANDLE = "gripper", "movable", "fixture", "region", "handle"
ANYTHING = frozenset({GRIPPER, MOVABLE, FIXTURE, REGION, HANDLE})


@dataclass(frozen=True, slots=True)
class Moment:
    """All that a spec may look at.

    Attributes:
        now: The snapshot of this control step.
        start: The snapshot at each environment's reset.
        goal_NC: Truth of each goal conjunct by LIBERO's definition.
    """

    now: Snapshot
    start: Snapshot
    goal_NC: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A resolved entity.

    Attributes:
        kind: One of the kinds above.
        row: Its row in the snapshot; a handle's is its fixture's.
        half_size_3: A region's half extents, metres.
        joints: Rows of the joints that move it.
        part: Name of what the joints move; a handle's is that of its part.
        handle: Where a handle is on its part.
    """

    kind: str
    row: int
    half_size_3: FloatArray = field(default_factory=lambda: np.zeros(3))
    joints: tuple[int, ...] = ()
    part: str = ""
    handle: Handle | None = None


Entities = Mapping[str, Place]
"""Resolved entities by the field that names them, ``a`` and ``b``."""


def resolve(name: str, layout: SnapshotLayout, where: str) -> Place:
    """The entity of a scene that a name refers to.

    Args:
        name: The name in the spec.
        layout: Names and rows of the scene's snapshots.
        where: The part of the spec that uses it, for the message.

    Raises:
        UnknownNameError: The scene has no entity of this name.
    """
    if name == GRIPPER:
        return Place(GRIPPER, 0)
    if name in layout.objects:
        row = layout.object_row(name)
        kind = MOVABLE if row < layout.num_movables else FIXTURE
        return Place(kind, row, joints=part_joints(name, layout), part=name)
    if name in layout.sites:
        row = layout.site_row(name)
        return Place(REGION, row, layout.site_half_sizes_S3[row], part_joints(name, layout), part=name)
    handles = handle_names(layout)
    if name in handles:
        part = name.removesuffix(HANDLE_SUFFIX)
        joints = part_joints(part, layout)
        row = int(layout.joint_objects_J[joints[0]])
        return Place(HANDLE, row, joints=joints, part=part, handle=find_handle(part))
    raise UnknownNameError(f"entity in {where}:", name, (*layout.objects, *layout.sites, *handles, GRIPPER))


def joint_test(part: str, toward: str) -> Comparison:
    """LIBERO's threshold for a part's category.

    Args:
        part: Name of the part.
        toward: ``open``, ``close``, ``on`` or ``off``.

    Raises:
        SpecError: It does not open, close or turn that way.
    """
    predicate = {"on": "turnon", "off": "turnoff"}.get(toward, toward)
    category = split_part(part)[1]
    tests = JOINT_TESTS[predicate]
    if category not in tests:
        raise SpecError(f"{part!r} has no state {toward!r}; these have: {', '.join(sorted(tests))}.")
    return tests[category]
