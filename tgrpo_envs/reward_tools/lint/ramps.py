"""Lint error E11: a ramp measures what its stage's `done` asks for, and fills where `done` becomes true.

`FITS` is a closed table from (ramp, atom) to a comparison: None where the ramp says nothing about the atom, else by how
many metres the ramp fills before (negative) or after (positive) the atom holds. A ramp that fills before leaves a dead
zone without pay; one that fills long after leaves a cliff.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tgrpo_envs.bddl import Conjunct
from tgrpo_envs.reward_tools.lint.case import Case
from tgrpo_envs.reward_tools.lint.entities import Entities, joint_of, place_of
from tgrpo_envs.reward_tools.lint.finding import Fault, Faults
from tgrpo_envs.rewards.entities import GRIPPER
from tgrpo_envs.rewards.predicates import (
    Above,
    Actuated,
    AtOpening,
    Goal,
    Grasped,
    Inside,
    Lifted,
    Moved,
    Near,
    Predicate,
    RestingOn,
    Touching,
)
from tgrpo_envs.rewards.ramps import Actuate, Approach, ApproachOpening, Constant, InsideDepth, Raise, Ramp
from tgrpo_envs.rewards.vocabulary import AllOf, AnyOf, Condition, Not, children

MAX_CLIFF_M = 0.02  # how far beyond `done` a ramp may still rise
MIN_SPAN_M = 0.08  # a ramp over less than the width of an object starts when it is almost over
TOUCH_M = 0.10  # from the origin of the widest objects, plates, to their rim
ONTO_M = 0.03  # LIBERO's tolerance between the centres of an object and what it stands on
INTO_M = 0.06  # half width of LIBERO's basket, its narrowest common container
ROUNDING_M = 1e-9

Fit = Callable[[Any, Any, Entities], float | None]


def unfit_ramp(case: Case) -> Faults:
    """A ramp is about what its stage's `done` asks for, and fills where `done` becomes true, not before.

    Catches: ramps about another thing, dead zones without pay, cliffs, ramps too short to be felt.
    Example: `approach` with `to_m` 0.15 in a stage that is done within 0.05 m.
    """
    for k, stage in enumerate(case.spec.stages):
        ramp, where = stage.ramp, f"stages[{k}].ramp"
        if ramp is None or isinstance(ramp, Constant):
            continue
        start_m = getattr(ramp, "from_m", None)
        if start_m is not None and start_m - getattr(ramp, "to_m", 0.0) < MIN_SPAN_M - ROUNDING_M:
            hint = "leave from_m out to start from the distance at reset"
            got = f"a ramp that starts at {start_m:g} m"
            yield Fault(f"{where}.from_m", got, f"{MIN_SPAN_M} m or more beyond its end", "it comes too late", hint)
        late = _lateness(ramp, stage.done, case)
        if late is None:
            yield Fault(
                where,
                f"`{ramp.op}` of {_arguments(ramp)}",
                "a ramp about what `done` asks for",
                "it would pay for something else",
                "give the ramp the arguments of `done`, or make two stages",
            )
        elif late < -ROUNDING_M:
            why = f"it is full {-late:.3g} m before the stage is done and pays nothing from there"
            yield Fault(where, f"`{ramp.op}` that ends too early", "an end where `done` holds", why, _end_hint(ramp))
        elif late > MAX_CLIFF_M + ROUNDING_M:
            why = f"it still rises {late:.3g} m beyond where the stage is done"
            yield Fault(where, f"`{ramp.op}` that ends too late", "an end where `done` holds", why, _end_hint(ramp))


def _lateness(ramp: Ramp, done: Condition, case: Case) -> float | None:
    """Metres by which the ramp fills after `done` (before it: negative); None if no part of `done` is comparable."""
    if isinstance(done, Not):
        return None
    if isinstance(done, AllOf | AnyOf):
        parts = [late for part in children(done) if (late := _lateness(ramp, part, case)) is not None]
        if not parts:
            return None
        # `all` holds with its last part, `any` with its first.
        return min(parts) if isinstance(done, AllOf) else max(parts)
    if isinstance(done, Goal):
        return _goal_lateness(ramp, case.goal[done.index], case.entities) if done.index < len(case.goal) else 0.0
    fit = FITS.get((type(ramp), type(done)))
    return None if fit is None else fit(ramp, done, case.entities)


def _goal_lateness(ramp: Ramp, conjunct: Conjunct, entities: Entities) -> float | None:
    place, turned = place_of(conjunct), joint_of(conjunct)
    if turned is not None:
        return 0.0 if isinstance(ramp, Actuate) and (ramp.a, ramp.toward) == turned else None
    assert place is not None
    moved, target = place
    if isinstance(ramp, InsideDepth):
        return 0.0 if (ramp.a, ramp.b) == place else None
    if isinstance(ramp, ApproachOpening):
        return -ramp.to_m if (ramp.a, ramp.b) == place else None
    if isinstance(ramp, Approach) and _pair(ramp) in ({moved, target}, {moved, entities.carrier(target)}):
        onto_object = conjunct[0] == "on" and target not in entities.problem.regions
        return min(0.0, (ONTO_M if onto_object else INTO_M) - ramp.to_m)
    return None


def _near(ramp: Approach, atom: Near, _entities: Entities) -> float | None:
    if _pair(ramp) != _pair(atom):
        return None
    late = atom.within_m - ramp.to_m
    if ramp.axes == atom.axes:
        return late
    # The distance in the plane, or in height, is never more than the distance in space.
    return min(late, 0.0) if ramp.axes == "xyz" else -ramp.to_m if atom.axes == "xyz" else None


def _contact(ramp: Approach, atom: Touching | Grasped, entities: Entities) -> float | None:
    others = _pair(ramp) - {GRIPPER}
    if GRIPPER not in _pair(ramp) or not others:
        return None
    same = atom.a in {*others, *map(entities.part, others), *map(entities.carrier, others)}
    return min(0.0, TOUCH_M - ramp.to_m) if same else None


def _above(ramp: Approach, atom: Above, _entities: Entities) -> float | None:
    if _pair(ramp) != {atom.a, atom.b} or ramp.axes == "z":
        return None
    late = atom.xy_within_m - ramp.to_m
    return late if ramp.axes == "xy" else min(late, 0.0)


def _into(ramp: Approach, atom: Inside, entities: Entities) -> float | None:
    same = _pair(ramp) in ({atom.a, atom.b}, {atom.a, entities.carrier(atom.b)})
    return min(0.0, INTO_M - ramp.to_m) if same else None


def _onto(ramp: Approach, atom: RestingOn, _entities: Entities) -> float | None:
    return min(0.0, INTO_M - ramp.to_m) if _pair(ramp) == {atom.a, atom.b} else None


def _away(ramp: Approach, atom: Moved, _entities: Entities) -> float | None:
    return 0.0 if atom.a in _pair(ramp) else None


def _lifted(ramp: Raise, atom: Lifted, _entities: Entities) -> float | None:
    return ramp.to_m - atom.by_m if ramp.a == atom.a else None


def _risen(ramp: Raise, atom: Above | Moved, _entities: Entities) -> float | None:
    if ramp.a != atom.a:
        return None
    return min(0.0, ramp.to_m - atom.by_m) if isinstance(atom, Moved) else 0.0


def _depth(ramp: InsideDepth, atom: Inside, _entities: Entities) -> float | None:
    # The ramp is full at the box's face: a margin of up to MAX_CLIFF_M inside it is no dead zone worth naming.
    same = (ramp.a, ramp.b) == (atom.a, atom.b)
    return min(0.0, MAX_CLIFF_M - atom.margin_m) if same else None


def _at_opening(ramp: ApproachOpening, atom: AtOpening, _entities: Entities) -> float | None:
    return atom.within_m - ramp.to_m if (ramp.a, ramp.b) == (atom.a, atom.b) else None


def _turned(ramp: Actuate, atom: Actuated, _entities: Entities) -> float | None:
    return 0.0 if (ramp.a, ramp.toward) == (atom.a, atom.toward) else None


FITS: dict[tuple[type, type], Fit] = {
    (Approach, Near): _near,
    (Approach, Touching): _contact,
    (Approach, Grasped): _contact,
    (Approach, Above): _above,
    (Approach, Inside): _into,
    (Approach, RestingOn): _onto,
    (Approach, Moved): _away,
    (Raise, Lifted): _lifted,
    (Raise, Above): _risen,
    (Raise, Moved): _risen,
    (InsideDepth, Inside): _depth,
    (ApproachOpening, AtOpening): _at_opening,
    (Actuate, Actuated): _turned,
}


def _pair(word: Approach | Near) -> set[str]:
    return {word.a, word.b}


def _arguments(ramp: Predicate | Ramp) -> str:
    return " and ".join(repr(getattr(ramp, field)) for field in ("a", "b") if hasattr(ramp, field))


def _end_hint(ramp: Ramp) -> str:
    return "set the ramp's to_m to the number of `done`" if hasattr(ramp, "to_m") else "lower the number of `done`"
