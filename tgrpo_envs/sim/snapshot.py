"""What rewards, success and the expert may see of a simulation: batched poses and contacts, no simulator.

Axes: N environments, O objects (movables and fixtures), S sites (regions and zones), J articulated joints.
The arrays hold what LIBERO's own predicates read at the same moment, so poses are those of the last physics
substep's start (robosuite does not recompute kinematics after its last substep).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import UnknownNameError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

NO_PARENT = -1


@dataclass(frozen=True)
class SnapshotLayout:
    """Names and constants of a snapshot's rows; one per scene.

    Attributes:
        objects: BDDL instance names of movables, then fixtures (axis O).
        num_movables: How many of `objects`, from the front, have a free joint.
        sites: BDDL region names (axis S), e.g. ``basket_1_contain_region``.
        site_half_sizes_S3: Half extents of each site's box, metres.
        site_parents_S: Row of the object that carries the site, or `NO_PARENT` for zones of a table or the floor.
        joints: Names of the fixtures' hinge and slide joints (axis J).
        joint_objects_J: Row of the fixture each joint belongs to.
        joint_sites_J: Row of the site that moves with the joint, or `NO_PARENT`.
    """

    objects: tuple[str, ...]
    num_movables: int
    sites: tuple[str, ...]
    site_half_sizes_S3: FloatArray
    site_parents_S: NDArray[np.int64]
    joints: tuple[str, ...]
    joint_objects_J: NDArray[np.int64]
    joint_sites_J: NDArray[np.int64]

    @classmethod
    def of_objects(cls, movables: Sequence[str]) -> SnapshotLayout:
        """Movable objects alone, without regions, fixtures and their joints."""
        none: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        return cls(tuple(movables), len(movables), (), np.zeros((0, 3)), none, (), none, none)

    def object_row(self, name: str) -> int:
        """Row of an object on axis O.

        Raises:
            UnknownNameError: No object of the scene has this name.
        """
        if name not in self.objects:
            raise UnknownNameError("object", name, self.objects)
        return self.objects.index(name)

    def site_row(self, name: str) -> int:
        """Row of a site on axis S.

        Raises:
            UnknownNameError: No site of the scene has this name.
        """
        if name not in self.sites:
            raise UnknownNameError("region", name, self.sites)
        return self.sites.index(name)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of N environments of one scene at one control step; lengths in metres, world frame.

    Attributes:
        object_pos_NO3: Positions of the objects' root bodies.
        object_mat_NO33: Rotation matrices of the same bodies.
        object_speed_NO: Linear speed of movables, metres per second (0 for fixtures).
        site_pos_NS3: Positions of the sites.
        site_mat_NS33: Rotation matrices of the sites.
        joint_qpos_NJ: Positions of fixture joints, metres or radians.
        gripper_pos_N3: Position of the gripper's grip site.
        gripper_mat_N33: Rotation matrix of the grip site; the fingers open along its first column.
        finger_qpos_N2: Finger joint positions; opposite signs, about 0.04 each when open.
        contact_NOO: Whether two objects touch (symmetric, false on the diagonal).
        pad_contact_NO2: Whether the left and the right finger pad touch an object.
        finger_contact_NO2: Whether the left and the right finger, of which the pads are the tips, press on an object
            towards each other: within 60 degrees of the direction in which they close, and not shut.
        touch_NO: Whether any part of the gripper touches an object.
    """

    object_pos_NO3: FloatArray
    object_mat_NO33: FloatArray
    object_speed_NO: FloatArray
    site_pos_NS3: FloatArray
    site_mat_NS33: FloatArray
    joint_qpos_NJ: FloatArray
    gripper_pos_N3: FloatArray
    gripper_mat_N33: FloatArray
    finger_qpos_N2: FloatArray
    contact_NOO: BoolArray
    pad_contact_NO2: BoolArray
    finger_contact_NO2: BoolArray
    touch_NO: BoolArray

    @classmethod
    def empty(cls, layout: SnapshotLayout, num_envs: int) -> Snapshot:
        """A snapshot of zeros, to be filled in place by the simulator."""
        n, o, s, j = num_envs, len(layout.objects), len(layout.sites), len(layout.joints)
        return cls(
            object_pos_NO3=np.zeros((n, o, 3)),
            object_mat_NO33=np.zeros((n, o, 3, 3)),
            object_speed_NO=np.zeros((n, o)),
            site_pos_NS3=np.zeros((n, s, 3)),
            site_mat_NS33=np.zeros((n, s, 3, 3)),
            joint_qpos_NJ=np.zeros((n, j)),
            gripper_pos_N3=np.zeros((n, 3)),
            gripper_mat_N33=np.zeros((n, 3, 3)),
            finger_qpos_N2=np.zeros((n, 2)),
            contact_NOO=np.zeros((n, o, o), dtype=bool),
            pad_contact_NO2=np.zeros((n, o, 2), dtype=bool),
            finger_contact_NO2=np.zeros((n, o, 2), dtype=bool),
            touch_NO=np.zeros((n, o), dtype=bool),
        )

    def copy(self) -> Snapshot:
        """An independent copy: the simulator overwrites its own snapshot at every step."""
        return self.map(lambda array: array.copy())

    def take(self, rows: slice) -> Snapshot:
        """These rows of axis N, as views."""
        return self.map(lambda array: array[rows])

    def map(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Snapshot:
        """A snapshot of what `change` makes of each array."""
        return Snapshot(**{field.name: change(getattr(self, field.name)) for field in fields(self)})

    @classmethod
    def join(cls, snapshots: Sequence[Snapshot]) -> Snapshot:
        """The rows of several snapshots of one scene, in order."""
        return cls._combine(np.concatenate, snapshots)

    @classmethod
    def stack(cls, snapshots: Sequence[Snapshot]) -> Snapshot:
        """Several snapshots of the same rows, along a new first axis."""
        return cls._combine(np.stack, snapshots)

    @classmethod
    def _combine(cls, combine: Callable[[list[NDArray[Any]]], NDArray[Any]], snapshots: Sequence[Snapshot]) -> Snapshot:
        names = [field.name for field in fields(cls)]
        return cls(**{name: combine([getattr(each, name) for each in snapshots]) for name in names})

    def overwrite(self, other: Snapshot, rows: slice | BoolArray = slice(None)) -> None:
        """Fill these rows of axis N, in place, with another snapshot's."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)[rows]
