"""Snapshots as two plain tables, numbers and flags, and where in them an entity is.

Compiled code takes two arrays much faster than a dozen, and an instruction need only name columns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tgrpo_envs.rewards.geometry import half_extents, position_of
from tgrpo_envs.rewards.predicates import GRIPPER, HANDLE, REGION, Place
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout


class Columns:
    """Columns of one scene's tables; those that have to be computed are added when they are first asked for.

    Args:
        layout: Names and rows of the scene's snapshots.
    """

    def __init__(self, layout: SnapshotLayout) -> None:
        objects, sites, joints = len(layout.objects), len(layout.sites), len(layout.joints)
        self._num_objects = objects
        self._mat = 3 * objects
        self._speed = self._mat + 9 * objects
        self._site = self._speed + objects
        self._joint = self._site + 3 * sites
        self._gripper = self._joint + joints
        self._first_extra = self._gripper + 3
        self._extras: dict[tuple[Place, str], Callable[[Snapshot], FloatArray]] = {}
        self._finger = objects * objects
        self._touch = self._finger + 2 * objects
        self._goal = self._touch + objects

    def position(self, place: Place) -> int:
        """First of three columns of numbers: where an entity is."""
        if place.kind == GRIPPER:
            return self._gripper
        if place.kind == REGION:
            return self._site + 3 * place.row
        if place.kind == HANDLE:
            return self._extra(place, "position", position_of(place))
        return 3 * place.row

    def box(self, region: Place) -> int:
        """First of three: half extents of LIBERO's box."""
        return self._extra(region, "box", lambda snapshot: half_extents(snapshot, region))

    def up(self, place: Place) -> int:
        """First of three: last row of an object's rotation matrix."""
        return self._mat + 9 * place.row + 6

    def speed(self, place: Place) -> int:
        """An object's speed."""
        return self._speed + place.row

    def joint(self, row: int) -> int:
        """A joint's position."""
        return self._joint + row

    def contact(self, a: Place, b: Place) -> int:
        """Of the flags: whether two objects touch."""
        return a.row * self._num_objects + b.row

    def fingers(self, place: Place) -> int:
        """First of two flags: whether each finger touches an object."""
        return self._finger + 2 * place.row

    def touch(self, place: Place) -> int:
        """Of the flags: whether the gripper touches an object."""
        return self._touch + place.row

    def goal(self, index: int) -> int:
        """Of the flags: truth of a goal conjunct."""
        return self._goal + index

    def numbers(self, snapshot: Snapshot) -> FloatArray:
        """The table of numbers, a row for each environment."""
        parts = (
            snapshot.object_pos_NO3,
            snapshot.object_mat_NO33,
            snapshot.object_speed_NO,
            snapshot.site_pos_NS3,
            snapshot.joint_qpos_NJ,
            snapshot.gripper_pos_N3,
            *[compute(snapshot) for compute in self._extras.values()],
        )
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    def flags(self, snapshot: Snapshot, goal_NC: BoolArray) -> BoolArray:
        """The table of flags, a row for each environment."""
        parts = (snapshot.contact_NOO, snapshot.finger_contact_NO2, snapshot.touch_NO, goal_NC)
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    def _extra(self, place: Place, what: str, compute: Callable[[Snapshot], FloatArray]) -> int:
        self._extras.setdefault((place, what), compute)
        return self._first_extra + 3 * list(self._extras).index((place, what))
