"""Positions, distances and boxes of resolved entities, as numpy functions of snapshots.

The compiled words of `observing` compute the same for themselves; explanations (`measures`) and what the compiled
code is given ready-made (handles, boxes) come from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tgrpo_envs.rewards import vocabulary as words
from tgrpo_envs.rewards.handles import find_handle, handle_position
from tgrpo_envs.rewards.predicates import BOX_FLOOR_SLACK_M, GRIPPER, HANDLE, REGION, Moment, Place, joint_test
from tgrpo_envs.sim.snapshot import FloatArray, Snapshot

Distance = Callable[[Moment], FloatArray]
Entities = Mapping[str, Place]

_AXES = {"xyz": slice(0, 3), "xy": slice(0, 2), "z": slice(2, 3)}


def position_of(place: Place) -> Callable[[Snapshot], FloatArray]:
    """Where an entity is, (N, 3)."""
    row = place.row
    if place.kind == GRIPPER:
        return lambda snapshot: snapshot.gripper_pos_N3
    if place.kind == REGION:
        return lambda snapshot: snapshot.site_pos_NS3[:, row]
    if place.kind == HANDLE:
        handle, joint = find_handle(place.part), place.joints[0]
        assert handle is not None
        return lambda snapshot: handle_position(handle, row, joint, snapshot)
    return lambda snapshot: snapshot.object_pos_NO3[:, row]


def to_threshold(place: Place, toward: words.Toward) -> Callable[[Snapshot], FloatArray]:
    """How far the joint is from LIBERO's threshold: metres of a drawer, radians of a door or knob; 0 beyond it."""
    joint, (sense, bound) = place.joints[0], joint_test(place.part, toward)
    sign = -1.0 if sense == "<" else 1.0
    return lambda snapshot: np.maximum(sign * (bound - snapshot.joint_qpos_NJ[:, joint]), 0.0)


def squared_distance(a: Place, b: Place, axes: str) -> Distance:
    """Of two entities over the named axes, square metres."""
    position_a, position_b, chosen = position_of(a), position_of(b), _AXES[axes]

    def squared(moment: Moment) -> FloatArray:
        gap = (position_a(moment.now) - position_b(moment.now))[:, chosen]
        squared_N: FloatArray = (gap * gap).sum(1)  # np.vecdot's last bit depends on the processor
        return squared_N

    return squared


def rise_of(place: Place) -> Distance:
    """How much higher an object is than at reset, metres."""
    row = place.row
    return lambda moment: moment.now.object_pos_NO3[:, row, 2] - moment.start.object_pos_NO3[:, row, 2]


def top_of(place: Place) -> Callable[[Snapshot], FloatArray]:
    """Height of a region's upper side, or of an object's origin, metres."""
    position = position_of(place)
    if place.kind != REGION:
        return lambda snapshot: position(snapshot)[:, 2]
    return lambda snapshot: position(snapshot)[:, 2] + half_extents(snapshot, place)[:, 2]


def half_extents(snapshot: Snapshot, region: Place) -> FloatArray:
    """LIBERO's half extents |R s|, quirk included: they shrink as the region turns about the vertical."""
    half: FloatArray = np.abs(snapshot.site_mat_NS33[:, region.row] @ region.half_size_3)
    return half


def metres_outside(a: Place, region: Place) -> Callable[[Snapshot], FloatArray]:
    """How far the origin of `a` lies outside LIBERO's box on the worst axis; negative inside (SiteObject.in_box)."""
    position = position_of(a)
    slack_3 = np.array([0.0, 0.0, BOX_FLOOR_SLACK_M / 2])

    def outside(snapshot: Snapshot) -> FloatArray:
        offset = position(snapshot) - snapshot.site_pos_NS3[:, region.row] + slack_3
        worst: FloatArray = (np.abs(offset) - half_extents(snapshot, region) - slack_3).max(axis=1)
        return worst

    return outside
