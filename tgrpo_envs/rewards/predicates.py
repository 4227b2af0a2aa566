"""What each word of the vocabulary means: boolean atoms and ramps as instructions over a scene's snapshot rows.

`ATOMS` and `RAMPS` are closed tables from op to a binder. A binder takes the atom and its resolved entities and
returns an `Instruction`, which `observing` executes; nothing a file says is ever evaluated as code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from tgrpo_envs.errors import SpecError
from tgrpo_envs.rewards import vocabulary as words
from tgrpo_envs.rewards.handles import split_part
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot
from tgrpo_envs.sim.success import JOINT_TESTS, Comparison

if TYPE_CHECKING:
    from tgrpo_envs.rewards.columns import Columns

GRIPPER, MOVABLE, FIXTURE, REGION, HANDLE = "gripper", "movable", "fixture", "region", "handle"

MIN_SPAN_M = 0.01  # a ramp that starts (almost) at its end would otherwise divide by (almost) zero
BOX_FLOOR_SLACK_M = 0.01  # LIBERO lowers the floor of its containment boxes by this much (SiteObject.in_box)

_ALL_AXES = (0, 3)
_AXES = {"xyz": _ALL_AXES, "xy": (0, 2), "z": (2, 3)}


@dataclass(frozen=True, slots=True)
class Moment:
    """All that atoms and ramps may look at.

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
    """

    kind: str
    row: int
    half_size_3: FloatArray = field(default_factory=lambda: np.zeros(3))
    joints: tuple[int, ...] = ()
    part: str = ""


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


class Code(IntEnum):
    """What an instruction computes from the places, rows and numbers it names; `observing` has the formulas."""

    # Of contacts and truths
    TOUCHING = 0
    RELEASED = 1
    GRASPED = 2
    RESTING_ON = 3
    GOAL = 4
    # Of places
    NEAR = 5
    ABOVE = 6
    INSIDE = 7
    # Since reset
    LIFTED = 8
    UPRIGHT = 9
    STILL = 10
    MOVED = 11
    ACTUATED = 12
    # Ramps
    APPROACH = 13
    RAISE = 14
    INSIDE_DEPTH = 15
    ACTUATE = 16
    CONSTANT = 17


@dataclass(frozen=True, slots=True)
class Instruction:
    """A word over a scene; places, boxes and flags are columns of its tables (`Columns`).

    Attributes:
        code: What to compute.
        a: Columns of numbers: the first place, or whatever else is looked at.
        b: The second place.
        box: The box of `b`, or -1.
        flag: Column of flags.
        axes: First axis that counts, and the one after the last.
        limit: What the quantity is compared with, or what a ramp leads to.
        second: A second such number, or the direction in which a joint moves towards its threshold.
        bound: LIBERO's threshold of the joint.
        span_m: Of a ramp: what is left when it is empty; None takes it at each environment's reset.
    """

    code: Code
    a: int = 0
    b: int = 0
    box: int = -1
    flag: int = 0
    axes: tuple[int, int] = _ALL_AXES
    limit: float = 0.0
    second: float = 0.0
    bound: float = 0.0
    span_m: float | None = None


# --- Boolean atoms -----------------------------------------------------------------------------------------------


def _near(atom: words.Near, at: Entities, of: Columns) -> Instruction:
    a, b = of.position(at["a"]), of.position(at["b"])
    return Instruction(Code.NEAR, a, b, axes=_AXES[atom.axes], limit=atom.within_m**2)


def _touching(_atom: words.Touching, at: Entities, of: Columns) -> Instruction:
    return Instruction(Code.TOUCHING, flag=of.touch(at["a"]))


def _grasped(_atom: words.Grasped, at: Entities, of: Columns) -> Instruction:
    return Instruction(Code.GRASPED, flag=of.fingers(at["a"]))


def _released(_atom: words.Released, at: Entities, of: Columns) -> Instruction:
    return Instruction(Code.RELEASED, flag=of.touch(at["a"]))


def _lifted(atom: words.Lifted, at: Entities, of: Columns) -> Instruction:
    return Instruction(Code.LIFTED, of.position(at["a"]), limit=atom.by_m)


def _above(atom: words.Above, at: Entities, of: Columns) -> Instruction:
    a, b = of.position(at["a"]), of.position(at["b"])
    box, limit = of.box(at["b"]) if at["b"].kind == REGION else -1, atom.xy_within_m**2
    return Instruction(Code.ABOVE, a, b, box, axes=_AXES["xy"], limit=limit, second=atom.min_m)


def _inside(atom: words.Inside, at: Entities, of: Columns) -> Instruction:
    a, b = of.position(at["a"]), of.position(at["b"])
    return Instruction(Code.INSIDE, a, b, of.box(at["b"]), limit=-atom.margin_m)


def _resting_on(_atom: words.RestingOn, at: Entities, of: Columns) -> Instruction:
    a, b = of.position(at["a"]), of.position(at["b"])
    return Instruction(Code.RESTING_ON, a, b, flag=of.contact(at["a"], at["b"]))


def _upright(atom: words.Upright, at: Entities, of: Columns) -> Instruction:
    return Instruction(Code.UPRIGHT, of.up(at["a"]), limit=math.cos(math.radians(atom.within_deg)))


def _still(atom: words.Still, at: Entities, of: Columns) -> Instruction:
    return Instruction(Code.STILL, of.speed(at["a"]), limit=atom.below_mps)


def _moved(atom: words.Moved, at: Entities, of: Columns) -> Instruction:
    return Instruction(Code.MOVED, of.position(at["a"]), limit=atom.by_m**2)


def _actuated(atom: words.Actuated, at: Entities, of: Columns) -> Instruction:
    way = _to_threshold(Code.ACTUATED, at["a"], atom.toward, of)
    return replace(way, limit=1.0 - atom.min_frac)


def _goal(atom: words.Goal, _at: Entities, of: Columns) -> Instruction:
    return Instruction(Code.GOAL, flag=of.goal(atom.index))


ATOMS: dict[str, Callable[[Any, Entities, Columns], Instruction]] = {
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


# --- Ramps: what is left until they are full, metres (radians of a hinge), never negative -------------------------


def _approach(ramp: words.Approach, at: Entities, of: Columns) -> Instruction:
    a, b = of.position(at["a"]), of.position(at["b"])
    span_m = None if ramp.from_m is None else ramp.from_m - ramp.to_m
    return Instruction(Code.APPROACH, a, b, axes=_AXES[ramp.axes], limit=ramp.to_m, span_m=span_m)


def _raise(ramp: words.Raise, at: Entities, of: Columns) -> Instruction:
    return Instruction(Code.RAISE, of.position(at["a"]), limit=ramp.to_m, span_m=ramp.to_m)


def _inside_depth(ramp: words.InsideDepth, at: Entities, of: Columns) -> Instruction:
    a, b = of.position(at["a"]), of.position(at["b"])
    return Instruction(Code.INSIDE_DEPTH, a, b, of.box(at["b"]), span_m=ramp.from_m)


def _actuate(ramp: words.Actuate, at: Entities, of: Columns) -> Instruction:
    return _to_threshold(Code.ACTUATE, at["a"], ramp.toward, of)


def _constant(ramp: words.Constant, _at: Entities, _of: Columns) -> Instruction:
    return Instruction(Code.CONSTANT, limit=1.0 - ramp.value_frac, span_m=1.0)


RAMPS: dict[str, Callable[[Any, Entities, Columns], Instruction]] = {
    "approach": _approach,
    "raise": _raise,
    "inside_depth": _inside_depth,
    "actuate": _actuate,
    "constant": _constant,
}


def _to_threshold(code: Code, part: Place, toward: words.Toward, of: Columns) -> Instruction:
    sense, bound = joint_test(part.part, toward)
    return Instruction(code, of.joint(part.joints[0]), second=-1.0 if sense == "<" else 1.0, bound=bound)


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
