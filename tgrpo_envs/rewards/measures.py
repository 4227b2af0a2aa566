"""What an atom compares with what, for explanations: distances, angles, contacts, each with its unit and its limit.

The tracker needs only truth, which `observing` computes. A person who asks why wants the number behind it. An
atom holds when all of its measures do (`tests/envs/rewards/test_measures.py` compares the two on random states).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tgrpo_envs.rewards import vocabulary as words
from tgrpo_envs.rewards.geometry import (
    Distance,
    Entities,
    metres_outside,
    position_of,
    rise_of,
    squared_distance,
    to_threshold,
    top_of,
)
from tgrpo_envs.rewards.predicates import REGION, Moment, Place
from tgrpo_envs.rewards.vocabulary import Atom, Ramp
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray

Relation = Literal["<=", "<", ">=", ">"]

YES_NO = ""
"""Unit of a measure that is 1 or 0."""

_RELATIONS: dict[Relation, np.ufunc] = {
    "<=": np.less_equal,
    "<": np.less,
    ">=": np.greater_equal,
    ">": np.greater,
}


@dataclass(frozen=True, slots=True)
class Measure:
    """A quantity and what an atom wants of it.

    Attributes:
        name: What is measured.
        unit: m, rad, deg, m/s, or `YES_NO`.
        relation: How the value must compare with the limit.
        limit: The limit, in the unit.
        value: The quantity at a moment, (N,).
    """

    name: str
    unit: str
    relation: Relation
    limit: Distance
    value: Distance

    def holds(self, moment: Moment) -> BoolArray:
        """Whether the value keeps to the limit, (N,)."""
        held: BoolArray = _RELATIONS[self.relation](self.value(moment), self.limit(moment))
        return held


def measures(atom: Atom, at: Entities) -> tuple[Measure, ...]:
    """The comparisons that an atom is made of.

    Args:
        atom: The atom.
        at: Its resolved entities (`BoundSpec.entities`).
    """
    return _MEASURES[atom.op](atom, at)


def ramp_unit(ramp: Ramp, at: Entities) -> str:
    """Unit of what remains of a ramp; none of a constant's.

    Args:
        ramp: The ramp.
        at: Its resolved entities (`BoundSpec.entities`).
    """
    if ramp.op == "actuate":
        return _joint_unit(at["a"])
    return "" if ramp.op == "constant" else "m"


def _joint_unit(part: Place) -> str:
    """Drawers, which are regions, slide; fixtures with one joint turn."""
    return "m" if part.kind == REGION else "rad"


def _at_most(name: str, unit: str, limit: float, value: Distance) -> Measure:
    return Measure(name, unit, "<=", _constant(limit), value)


def _at_least(name: str, unit: str, limit: float, value: Distance) -> Measure:
    return Measure(name, unit, ">=", _constant(limit), value)


def _is(name: str, truth: Callable[[Moment], BoolArray], *, wanted: bool = True) -> Measure:
    relation: Relation = ">=" if wanted else "<="
    return Measure(name, YES_NO, relation, _constant(float(wanted)), lambda moment: truth(moment).astype(np.float64))


def _constant(limit: float) -> Distance:
    return lambda moment: np.full(len(moment.goal_NC), limit)


def _near(atom: words.Near, at: Entities) -> tuple[Measure, ...]:
    squared = squared_distance(at["a"], at["b"], atom.axes)
    return (_at_most("distance", "m", atom.within_m, lambda moment: np.sqrt(squared(moment))),)


def _touching(_atom: words.Touching, at: Entities) -> tuple[Measure, ...]:
    return (_is("gripper contact", _touch(at)),)


def _released(_atom: words.Released, at: Entities) -> tuple[Measure, ...]:
    return (_is("gripper contact", _touch(at), wanted=False),)


def _touch(at: Entities) -> Callable[[Moment], BoolArray]:
    row = at["a"].row
    return lambda moment: moment.now.touch_NO[:, row]


def _grasped(_atom: words.Grasped, at: Entities) -> tuple[Measure, ...]:
    row = at["a"].row
    return (
        _is("left finger contact", lambda moment: moment.now.finger_contact_NO2[:, row, 0]),
        _is("right finger contact", lambda moment: moment.now.finger_contact_NO2[:, row, 1]),
    )


def _lifted(atom: words.Lifted, at: Entities) -> tuple[Measure, ...]:
    return (_at_least("rise", "m", atom.by_m, rise_of(at["a"])),)


def _above(atom: words.Above, at: Entities) -> tuple[Measure, ...]:
    squared, position_a, top_b = squared_distance(at["a"], at["b"], "xy"), position_of(at["a"]), top_of(at["b"])

    def height(moment: Moment) -> FloatArray:
        over: FloatArray = position_a(moment.now)[:, 2] - top_b(moment.now)
        return over

    return (
        _at_least("height over the top", "m", atom.min_m, height),
        _at_most("horizontal distance", "m", atom.xy_within_m, lambda moment: np.sqrt(squared(moment))),
    )


def _inside(atom: words.Inside, at: Entities) -> tuple[Measure, ...]:
    outside = metres_outside(at["a"], at["b"])
    limit = _constant(-atom.margin_m)
    return (Measure("distance to the box (negative inside)", "m", "<", limit, lambda moment: outside(moment.now)),)


def _resting_on(_atom: words.RestingOn, at: Entities) -> tuple[Measure, ...]:
    a, b = at["a"].row, at["b"].row

    def height(moment: Moment) -> FloatArray:
        above: FloatArray = moment.now.object_pos_NO3[:, a, 2] - moment.now.object_pos_NO3[:, b, 2]
        return above

    return (
        _is("contact", lambda moment: moment.now.contact_NOO[:, a, b]),
        _at_least("height over its origin", "m", 0.0, height),
    )


def _upright(atom: words.Upright, at: Entities) -> tuple[Measure, ...]:
    row = at["a"].row

    def lean(moment: Moment) -> FloatArray:
        up_now_N3, up_start_N3 = moment.now.object_mat_NO33[:, row, 2], moment.start.object_mat_NO33[:, row, 2]
        cosine_N = np.clip(np.vecdot(up_now_N3, up_start_N3), -1.0, 1.0)
        degrees_N: FloatArray = np.degrees(np.arccos(cosine_N))
        return degrees_N

    return (_at_most("lean", "deg", atom.within_deg, lean),)


def _still(atom: words.Still, at: Entities) -> tuple[Measure, ...]:
    row = at["a"].row
    return (Measure("speed", "m/s", "<", _constant(atom.below_mps), lambda moment: moment.now.object_speed_NO[:, row]),)


def _moved(atom: words.Moved, at: Entities) -> tuple[Measure, ...]:
    row = at["a"].row

    def way(moment: Moment) -> FloatArray:
        far: FloatArray = np.linalg.norm(
            moment.now.object_pos_NO3[:, row] - moment.start.object_pos_NO3[:, row], axis=1
        )
        return far

    return (_at_least("distance from the start", "m", atom.by_m, way),)


def _actuated(atom: words.Actuated, at: Entities) -> tuple[Measure, ...]:
    remaining = to_threshold(at["a"], atom.toward)

    def limit(moment: Moment) -> FloatArray:
        left_N: FloatArray = (1.0 - atom.min_frac) * remaining(moment.start)
        return left_N

    return (
        Measure("way to LIBERO's threshold", _joint_unit(at["a"]), "<=", limit, lambda moment: remaining(moment.now)),
    )


def _goal(atom: words.Goal, _at: Entities) -> tuple[Measure, ...]:
    return (_is("LIBERO's check", lambda moment: moment.goal_NC[:, atom.index]),)


_MEASURES: dict[str, Callable[[Any, Entities], tuple[Measure, ...]]] = {
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
