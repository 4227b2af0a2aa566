"""What measures are taken of: distances, heights, angles and contacts, each (N,) for N environments at a moment."""

from __future__ import annotations

import numpy as np

from tgrpo_envs.rewards.entities import GRIPPER, REGION, Moment, Place
from tgrpo_envs.rewards.handles import handle_position
from tgrpo_envs.rewards.openings import opens_to_front, way_to_opening
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot
from tgrpo_envs.sim.success import BOX_BOTTOM_SLACK

_AXES = {"xyz": slice(0, 3), "xy": slice(0, 2), "z": slice(2, 3)}
_SLACK_3 = np.array([0.0, 0.0, BOX_BOTTOM_SLACK / 2])  # moves the box's centre down and makes it higher


def distance(moment: Moment, a: Place, b: Place, axes: str = "xyz") -> FloatArray:
    """Between two entities over the named world axes, metres."""
    gap = (position(moment.now, a) - position(moment.now, b))[:, _AXES[axes]]
    return _length(gap)


def rise(moment: Moment, a: Place) -> FloatArray:
    """How much higher an object is than at reset, metres."""
    risen: FloatArray = moment.now.object_pos_NO3[:, a.row, 2] - moment.start.object_pos_NO3[:, a.row, 2]
    return risen


def way_from_start(moment: Moment, a: Place) -> FloatArray:
    """How far an object is from where it was at reset, metres."""
    return _length(moment.now.object_pos_NO3[:, a.row] - moment.start.object_pos_NO3[:, a.row])


def height_over_top(moment: Moment, a: Place, b: Place) -> FloatArray:
    """Of `a` over the upper side of a region's box, or over an object's origin, metres."""
    top_N = position(moment.now, b)[:, 2]
    if b.kind == REGION:
        top_N = top_N + half_extents(moment.now, b)[:, 2]
    height: FloatArray = position(moment.now, a)[:, 2] - top_N
    return height


def height_over_origin(moment: Moment, a: Place, b: Place) -> FloatArray:
    """Of `a` over the origin of the object `b`, metres."""
    height: FloatArray = moment.now.object_pos_NO3[:, a.row, 2] - moment.now.object_pos_NO3[:, b.row, 2]
    return height


def outside(moment: Moment, a: Place, region: Place) -> FloatArray:
    """How far the origin of `a` is outside LIBERO's box on the worst axis; negative inside (SiteObject.in_box)."""
    offset_N3 = np.abs(position(moment.now, a) - moment.now.site_pos_NS3[:, region.row] + _SLACK_3)
    worst: FloatArray = np.maximum.reduce(offset_N3 - half_extents(moment.now, region) - _SLACK_3, axis=1)
    return worst


def to_opening(moment: Moment, a: Place, region: Place) -> FloatArray:
    """How far the origin of `a` still has to go to be in the opening of a region; 0 once it has passed through."""
    now, row = moment.now, region.row
    box = now.site_pos_NS3[:, row], now.site_mat_NS33[:, row], region.half_size_3
    return way_to_opening(position(now, a), *box, to_front=opens_to_front(region.part))


def lean(moment: Moment, a: Place) -> FloatArray:
    """Angle between an object's attitude and that at reset, turning about the vertical left out, degrees.

    The body's direction that pointed up at reset is R0^T z; its height component now is (R R0^T z)_z, the dot product
    of the two matrices' last rows.
    """
    product_N3 = moment.now.object_mat_NO33[:, a.row, 2] * moment.start.object_mat_NO33[:, a.row, 2]
    degrees: FloatArray = np.degrees(np.arccos(np.clip(np.add.reduce(product_N3, axis=1), -1.0, 1.0)))
    return degrees


def speed(moment: Moment, a: Place) -> FloatArray:
    """Of an object, metres per second."""
    return moment.now.object_speed_NO[:, a.row]


def to_threshold(moment: Moment, joint: int, sense: str, bound: float) -> FloatArray:
    """How far a joint is from LIBERO's threshold: metres of a drawer, radians of a door or knob; 0 beyond it.

    Args:
        moment: The moment.
        joint: The joint's row.
        sense: Comparison with the threshold that the joint must pass, as in `sim.success.JOINT_TESTS`.
        bound: The threshold.
    """
    left_N = bound - moment.now.joint_qpos_NJ[:, joint]
    remaining: FloatArray = np.maximum(-left_N if sense == "<" else left_N, 0.0)
    return remaining


def gripper_contact(moment: Moment, a: Place) -> BoolArray:
    """Whether any part of the gripper touches an object."""
    return moment.now.touch_NO[:, a.row]


def finger_contact(moment: Moment, a: Place, finger: int) -> BoolArray:
    """Whether the left (0) or the right (1) finger presses on an object, towards the other finger."""
    return moment.now.finger_contact_NO2[:, a.row, finger]


def contact(moment: Moment, a: Place, b: Place) -> BoolArray:
    """Whether two objects touch."""
    return moment.now.contact_NOO[:, a.row, b.row]


def goal_holds(moment: Moment, index: int) -> BoolArray:
    """Whether a conjunct of the goal holds, by LIBERO's definition."""
    return moment.goal_NC[:, index]


def fixed(moment: Moment, value: float) -> FloatArray:
    """The same number always."""
    return np.full(len(moment.goal_NC), value)


def position(snapshot: Snapshot, place: Place) -> FloatArray:
    """Where an entity is, (N, 3), metres in the world."""
    if place.kind == GRIPPER:
        return snapshot.gripper_pos_N3
    if place.kind == REGION:
        return snapshot.site_pos_NS3[:, place.row]
    if place.handle is not None:
        return handle_position(place.handle, place.row, place.joints[0], snapshot)
    return snapshot.object_pos_NO3[:, place.row]


def half_extents(snapshot: Snapshot, region: Place) -> FloatArray:
    """LIBERO's half extents |R s|, (N, 3), quirk included: they shrink as the region turns about the vertical."""
    half: FloatArray = np.abs(snapshot.site_mat_NS33[:, region.row] @ region.half_size_3)
    return half


def _length(vector_NX: FloatArray) -> FloatArray:
    """Euclidean; np.vecdot's last bit would depend on the processor."""
    length: FloatArray = np.sqrt(np.add.reduce(vector_NX * vector_NX, axis=1))
    return length
