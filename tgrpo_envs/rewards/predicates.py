"""What each word of the vocabulary computes: boolean atoms and ramps, vectorised over environments.

`ATOMS` and `RAMPS` are closed tables from op to a binder. A binder takes the atom and its resolved entities and
returns a function of a `Moment`; nothing a file says is ever evaluated as code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tgrpo_envs.errors import SpecError
from tgrpo_envs.rewards import vocabulary as words
from tgrpo_envs.rewards.handles import find_handle, handle_position, split_part
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot
from tgrpo_envs.sim.success import JOINT_TESTS, Comparison

GRIPPER, MOVABLE, FIXTURE, REGION, HANDLE = "gripper", "movable", "fixture", "region", "handle"

MIN_SPAN_M = 0.01  # a ramp that starts (almost) at its end would otherwise divide by (almost) zero
BOX_FLOOR_SLACK_M = 0.01  # LIBERO lowers the floor of its containment boxes by this much (SiteObject.in_box)

_AXES = {"xyz": slice(0, 3), "xy": slice(0, 2), "z": slice(2, 3)}


@dataclass(frozen=True, slots=True)
class Moment:
    """All that atoms and ramps may look at.

    Attributes:
        now: The snapshot of this control step.
        start: The snapshot at each environment's reset.
        goal_NC: Truth of each goal conjunct by LIBERO's definition.
        squares: Squared distances of this control step, by what they are between: a ramp and its threshold ask for
            the same one.
    """

    now: Snapshot
    start: Snapshot
    goal_NC: BoolArray
    squares: dict[tuple[Place, Place, str], FloatArray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A resolved entity.

    Attributes:
        kind: One of the kinds above.
        row: Its row in the snapshot; a handle's is its fixture's.
        half_size_3: A region's half extents, metres.
        joints: Rows of the joints that move it.
        part: Name of what the joints move; a handle's is that of its part.
    """

    kind: str
    row: int
    half_size_3: FloatArray = field(default_factory=lambda: np.zeros(3))
    joints: tuple[int, ...] = ()
    part: str = ""


Truth = Callable[[Moment], BoolArray]
Distance = Callable[[Moment], FloatArray]
Entities = Mapping[str, Place]

ANYTHING = frozenset({GRIPPER, MOVABLE, FIXTURE, REGION, HANDLE})
OBJECT = frozenset({MOVABLE, FIXTURE})
PART = frozenset({FIXTURE, REGION})
KINDS: dict[str, dict[str, frozenset[str]]] = {
    "near": {"a": ANYTHING, "b": ANYTHING},
    "touching": {"a": OBJECT},
    "grasped": {"a": frozenset({MOVABLE})},
    "released": {"a": frozenset({MOVABLE})},
    "lifted": {"a": frozenset({MOVABLE})},
    "above": {"a": frozenset({MOVABLE}), "b": OBJECT | {REGION}},
    "inside": {"a": frozenset({MOVABLE}), "b": frozenset({REGION})},
    "resting_on": {"a": frozenset({MOVABLE}), "b": OBJECT},
    "upright": {"a": frozenset({MOVABLE})},
    "still": {"a": frozenset({MOVABLE})},
    "moved": {"a": frozenset({MOVABLE})},
    "actuated": {"a": PART},
    "goal": {},
    "approach": {"a": ANYTHING, "b": ANYTHING},
    "raise": {"a": frozenset({MOVABLE})},
    "inside_depth": {"a": frozenset({MOVABLE}), "b": frozenset({REGION})},
    "actuate": {"a": PART},
    "constant": {},
}


@dataclass(frozen=True, slots=True)
class BoundRamp:
    """A ramp over a scene: ``clip(1 - remaining / span, 0, 1)``.

    Attributes:
        remaining: What is left until the ramp is full, (N,), metres (radians of a hinge), never negative.
        span_m: What is left when the ramp is empty; None takes it at each environment's reset.
    """

    remaining: Distance
    span_m: float | None


# --- Boolean atoms -----------------------------------------------------------------------------------------------


def _near(atom: words.Near, at: Entities) -> Truth:
    squared, limit = squared_distance(at["a"], at["b"], atom.axes), atom.within_m**2
    return lambda moment: squared(moment) <= limit


def _touching(_atom: words.Touching, at: Entities) -> Truth:
    row = at["a"].row
    return lambda moment: moment.now.touch_NO[:, row]


def _grasped(_atom: words.Grasped, at: Entities) -> Truth:
    row = at["a"].row
    return lambda moment: moment.now.finger_contact_NO2[:, row, 0] & moment.now.finger_contact_NO2[:, row, 1]


def _released(_atom: words.Released, at: Entities) -> Truth:
    row = at["a"].row
    return lambda moment: ~moment.now.touch_NO[:, row]


def _lifted(atom: words.Lifted, at: Entities) -> Truth:
    rise = rise_of(at["a"])
    return lambda moment: rise(moment) >= atom.by_m


def _above(atom: words.Above, at: Entities) -> Truth:
    squared, limit = squared_distance(at["a"], at["b"], "xy"), atom.xy_within_m**2
    position_a, top_b = position_of(at["a"]), top_of(at["b"])

    def holds(moment: Moment) -> BoolArray:
        over = position_a(moment.now)[:, 2] - top_b(moment.now) >= atom.min_m
        return over & (squared(moment) <= limit)

    return holds


def _inside(atom: words.Inside, at: Entities) -> Truth:
    outside = metres_outside(at["a"], at["b"])
    return lambda moment: outside(moment.now) < -atom.margin_m


def _resting_on(_atom: words.RestingOn, at: Entities) -> Truth:
    a, b = at["a"].row, at["b"].row

    def holds(moment: Moment) -> BoolArray:
        height_NO = moment.now.object_pos_NO3[:, :, 2]
        return moment.now.contact_NOO[:, a, b] & (height_NO[:, a] >= height_NO[:, b])

    return holds


def _upright(atom: words.Upright, at: Entities) -> Truth:
    row, cosine = at["a"].row, math.cos(math.radians(atom.within_deg))

    # The body's direction that pointed up at reset is R0^T z; its height component now is (R R0^T z)_z, the dot
    # product of the two matrices' last rows.
    def holds(moment: Moment) -> BoolArray:
        up_now_N3, up_start_N3 = moment.now.object_mat_NO33[:, row, 2], moment.start.object_mat_NO33[:, row, 2]
        return _dot(up_now_N3, up_start_N3) >= cosine

    return holds


def _still(atom: words.Still, at: Entities) -> Truth:
    row = at["a"].row
    return lambda moment: moment.now.object_speed_NO[:, row] < atom.below_mps


def _moved(atom: words.Moved, at: Entities) -> Truth:
    row, limit = at["a"].row, atom.by_m**2

    def holds(moment: Moment) -> BoolArray:
        step_N3 = moment.now.object_pos_NO3[:, row] - moment.start.object_pos_NO3[:, row]
        return _dot(step_N3, step_N3) >= limit

    return holds


def _actuated(atom: words.Actuated, at: Entities) -> Truth:
    remaining = to_threshold(at["a"], atom.toward)
    left_frac = 1.0 - atom.min_frac

    def holds(moment: Moment) -> BoolArray:
        reached: BoolArray = remaining(moment.now) <= left_frac * remaining(moment.start)
        return reached

    return holds


def _goal(atom: words.Goal, _at: Entities) -> Truth:
    return lambda moment: moment.goal_NC[:, atom.index]


ATOMS: dict[str, Callable[[Any, Entities], Truth]] = {
    "near": _near,
    "touching": _touching,
    "grasped": _grasped,
    "released": _released,
    "lifted": _lifted,
    "above": _above,
    "inside": _inside,
    "resting_on": _resting_on,
    "upright": _upright,
    "still": _still,
    "moved": _moved,
    "actuated": _actuated,
    "goal": _goal,
}


# --- Ramps -------------------------------------------------------------------------------------------------------


def _approach(ramp: words.Approach, at: Entities) -> BoundRamp:
    squared = squared_distance(at["a"], at["b"], ramp.axes)
    span_m = None if ramp.from_m is None else ramp.from_m - ramp.to_m
    return BoundRamp(lambda moment: np.maximum(np.sqrt(squared(moment)) - ramp.to_m, 0.0), span_m)


def _raise(ramp: words.Raise, at: Entities) -> BoundRamp:
    rise = rise_of(at["a"])
    return BoundRamp(lambda moment: np.maximum(ramp.to_m - rise(moment), 0.0), ramp.to_m)


def _inside_depth(ramp: words.InsideDepth, at: Entities) -> BoundRamp:
    outside = metres_outside(at["a"], at["b"])
    return BoundRamp(lambda moment: np.maximum(outside(moment.now), 0.0), ramp.from_m)


def _actuate(ramp: words.Actuate, at: Entities) -> BoundRamp:
    remaining = to_threshold(at["a"], ramp.toward)
    return BoundRamp(lambda moment: remaining(moment.now), None)


def _constant(ramp: words.Constant, _at: Entities) -> BoundRamp:
    return BoundRamp(lambda moment: np.full(len(moment.goal_NC), 1.0 - ramp.value_frac), 1.0)


RAMPS: dict[str, Callable[[Any, Entities], BoundRamp]] = {
    "approach": _approach,
    "raise": _raise,
    "inside_depth": _inside_depth,
    "actuate": _actuate,
    "constant": _constant,
}


# --- Geometry ----------------------------------------------------------------------------------------------------


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


def joint_test(part: str, toward: words.Toward) -> Comparison:
    """LIBERO's threshold for a part's category.

    Raises:
        SpecError: It does not open, close or turn that way.
    """
    predicate = {"on": "turnon", "off": "turnoff"}.get(toward, toward)
    category = split_part(part)[1]
    tests = JOINT_TESTS[predicate]
    if category not in tests:
        raise SpecError(f"{part!r} has no state {toward!r}; these have: {', '.join(sorted(tests))}.")
    return tests[category]


def _dot(a_N3: FloatArray, b_N3: FloatArray) -> FloatArray:
    dot_N: FloatArray = np.vecdot(a_N3, b_N3)
    return dot_N


def squared_distance(a: Place, b: Place, axes: str) -> Distance:
    """Of two entities over the named axes, square metres."""
    position_a, position_b, chosen, key = position_of(a), position_of(b), _AXES[axes], (a, b, axes)

    def squared(moment: Moment) -> FloatArray:
        known = moment.squares.get(key)
        if known is None:
            gap = (position_a(moment.now) - position_b(moment.now))[:, chosen]
            known = moment.squares[key] = _dot(gap, gap)
        return known

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
    return lambda snapshot: position(snapshot)[:, 2] + _half_extents(snapshot, place)[:, 2]


def _half_extents(snapshot: Snapshot, region: Place) -> FloatArray:
    """LIBERO's half extents |R s|, quirk included: they shrink as the region turns about the vertical."""
    half: FloatArray = np.abs(snapshot.site_mat_NS33[:, region.row] @ region.half_size_3)
    return half


def metres_outside(a: Place, region: Place) -> Callable[[Snapshot], FloatArray]:
    """How far the origin of `a` lies outside LIBERO's box on the worst axis; negative inside (SiteObject.in_box)."""
    position = position_of(a)
    slack_3 = np.array([0.0, 0.0, BOX_FLOOR_SLACK_M / 2])

    def outside(snapshot: Snapshot) -> FloatArray:
        offset = position(snapshot) - snapshot.site_pos_NS3[:, region.row] + slack_3
        worst: FloatArray = (np.abs(offset) - _half_extents(snapshot, region) - slack_3).max(axis=1)
        return worst

    return outside
