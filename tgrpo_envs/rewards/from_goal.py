"""Writes a stage spec from a task's goal, without a language model: the baseline every other spec has to beat.

| conjunct | stages |
|---|---|
| `in`, `on`: an object goes somewhere | reach, grasp, lift, carry, place |
| `in` of a shelf or microwave, `on` of a zone of the table | the same; another carry, see `_target` |
| `on` of a plate, which lies too flat to be grasped | reach, touch, push |
| `open`, `close`, `turnon`, `turnoff` of a part | reach its handle, touch, move |
| any that holds at reset already | none; it is maintained |

Conjuncts are parallel branches, except where one cannot be done after the other: what carries something is placed
first, a drawer is opened before and shut after something goes into it. A drawer that nothing in the goal opens, but
that starts shut, gets stages of its own.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tgrpo_envs.bddl import Conjunct, Problem
from tgrpo_envs.errors import SpecError
from tgrpo_envs.rewards.handles import HANDLE_SUFFIX, find_handle, split_part
from tgrpo_envs.rewards.openings import opens_to_front
from tgrpo_envs.rewards.spec import StageSpec, parse_spec
from tgrpo_envs.tasks import Task

REACH_WITHIN_M = 0.05  # the grip site this close to the origin of a 2-14 cm object has its fingers about to close
GRASP_HOLD_STEPS = 3  # 0.15 s: longer than contacts flicker
LIFT_BY_M = 0.05
CARRY_WITHIN_M = 0.05  # inside the 6.1 cm half width of LIBERO's basket, its narrowest common container
ONTO_WITHIN_M = 0.03  # LIBERO's own tolerance of On(object, object): centres 3 cm apart (ObjectState.check_ontop)
ZONE_WITHIN_M = 0.10  # 5 cm before the edge of a zone of the table, all of which are 10 cm wide
OPENING_WITHIN_M = 0.10  # a hand's breadth in front of a shelf or microwave: from there it is slid in
LOWER_FROM_M = 0.15  # height over the target from which lowering earns; objects are carried 5 to 15 cm over rims
PLATE_RADIUS_M = 0.10  # the grip site at a plate's rim is about this far from its middle
HANDLE_WITHIN_M = 0.06  # handle bars are up to 13 cm long: a hand at their end is this far from their middle
TOUCH_HOLD_STEPS = 2
OPENED_FRAC = 0.9  # of the way to LIBERO's own "open": enough room for what goes in

PLACE_EFFORTS = {"reach": 1, "grasp": 2, "lift": 1, "carry": 3, "place": 2}
PUSH_EFFORTS = {"reach": 1, "touch": 1, "push": 3}
MOVE_EFFORTS = {"reach": 1, "touch": 1, "move": 3}

TOWARD = {"open": "open", "close": "close", "turnon": "on", "turnoff": "off"}
TOO_FLAT_TO_GRASP = ("plate",)

Stages = list[dict[str, Any]]


class Target(NamedTuple):
    """Where an object has to be carried before it can be put down.

    Attributes:
        within_m: How near to the target, in the plane, or to its opening.
        lower_from_m: How far from the target lowering begins to earn; None for as far as at reset.
        by_opening: Whether it is carried to the front of what it goes into, not over it.
    """

    within_m: float
    lower_from_m: float | None = LOWER_FROM_M
    by_opening: bool = False


def spec_from_goal(problem: Problem, task: Task) -> StageSpec:
    """The deterministic spec of a task.

    Args:
        problem: The task's parsed BDDL file.
        task: The task; names the spec.

    Raises:
        SpecError: A conjunct that no template covers, or too many of them.
    """
    stages: Stages = []
    maintain = []
    for index, conjunct in enumerate(problem.goal):
        if conjunct in problem.init:
            maintain.append({"holds": {"op": "goal", "index": index}})
        elif conjunct[0] in TOWARD and len(conjunct) == 2 and find_handle(conjunct[1]):
            stages += _move_stages(index, conjunct, after=_filled_before(problem, conjunct))
        else:
            _check_placing(problem, task, conjunct)
            stages += _placing(problem, index, conjunct)
    return _spec(task, stages, maintain)


def goals_spec(task: Task) -> StageSpec:
    """The coarsest spec, which every task has: one stage per goal conjunct, no partial credit."""
    done = [{"op": "goal", "index": index} for index in range(len(task.goal))]
    return _spec(task, [{"id": f"goal_{g['index']}", "effort": 1, "done": g, "latch": "live"} for g in done], [])


def _spec(task: Task, stages: Stages, maintain: list[dict[str, Any]]) -> StageSpec:
    """Checked as every other spec is."""
    document = {
        "schema": "stage-spec/1",
        "task": {"suite": task.suite, "name": task.name},
        "stages": stages,
        "maintain": maintain,
    }
    return parse_spec(json.dumps(document), source=f"the spec from the goal of {task.suite}/{task.name}")


def _check_placing(problem: Problem, task: Task, conjunct: Conjunct) -> None:
    """Refuses what does not put a movable object somewhere."""
    words = f"({' '.join(conjunct)})"
    supported = (
        "templates cover (in OBJECT REGION) and (on OBJECT REGION-OR-OBJECT) of movable objects, and "
        "open, close, turnon and turnoff of drawers, microwaves and stoves"
    )
    if len(conjunct) != 3 or conjunct[0] not in ("in", "on"):
        raise SpecError(f"No template covers the goal {words} of {task.name}: {supported}; give a spec file instead.")
    predicate, moved, target = conjunct
    is_region = target in problem.regions
    is_object = target in problem.objects or target in problem.fixtures
    if moved not in problem.objects or not (is_region or (is_object and predicate == "on")):
        raise SpecError(f"No template covers the goal {words} of {task.name}: {supported}; check its names.")


def _placing(problem: Problem, index: int, conjunct: Conjunct) -> Stages:
    _, moved, target = conjunct
    if split_part(moved)[1] in TOO_FLAT_TO_GRASP:
        return _push_stages(index, moved, target)
    carrier = problem.regions[target].target if target in problem.regions else target
    moved_by_goal = {other[1] for other in problem.goal if len(other) == 3}
    carry_after = [f"place_{carrier}"] if carrier in moved_by_goal else []
    opening, reach_after = _opening(problem, conjunct)
    return opening + _place_stages(index, conjunct, _target(problem, conjunct), reach_after, carry_after)


def _target(problem: Problem, conjunct: Conjunct) -> Target:
    """Over an object or a container, to the opening of a shelf or microwave, or close to a zone of the table.

    A zone counts up to 10 cm above it (SiteObject.under): an object carried low is in it as soon as it is over it,
    one carried high has far to go down. So the last stage begins before the zone's edge and is measured from reset.
    """
    predicate, _, target = conjunct
    if target not in problem.regions:
        return Target(ONTO_WITHIN_M)
    if problem.regions[target].ranges:
        return Target(ZONE_WITHIN_M, lower_from_m=None)
    if predicate == "in" and opens_to_front(target):
        return Target(OPENING_WITHIN_M, by_opening=True)
    return Target(CARRY_WITHIN_M)


def _opening(problem: Problem, conjunct: Conjunct) -> tuple[Stages, list[str]]:
    """Stages that open what something goes into, unless it starts open or another conjunct opens it."""
    predicate, _, target = conjunct
    part = target if find_handle(target) else split_part(target)[0]
    opens = ("open", part)
    if predicate != "in" or not find_handle(part) or opens in problem.init:
        return [], []
    if opens in problem.goal:
        return [], [f"open_{part}"]
    opened = {"op": "actuated", "a": part, "toward": "open", "min_frac": OPENED_FRAC}
    return _part_stages("open", part, opened, after=[]), [f"open_{part}"]


def _filled_before(problem: Problem, conjunct: Conjunct) -> list[str]:
    """The stages that put something into what this conjunct shuts."""
    predicate, part = conjunct
    if predicate != "close":
        return []
    into = [other for other in problem.goal if other[0] == "in" and part in (other[2], split_part(other[2])[0])]
    return [f"place_{other[1]}" for other in into]


def _move_stages(index: int, conjunct: Conjunct, after: list[str]) -> Stages:
    predicate, part = conjunct
    return _part_stages(TOWARD[predicate], part, {"op": "goal", "index": index}, after)


def _part_stages(toward: str, part: str, done: dict[str, Any], after: list[str]) -> Stages:
    """Reach the handle of a part, touch it, and open, close or turn it until `done`."""
    handle, name = part + HANDLE_SUFFIX, f"{toward}_{part}"
    touching = {"op": "touching", "a": split_part(part)[0]}
    near = {"op": "near", "a": "gripper", "b": handle, "within_m": HANDLE_WITHIN_M}
    return [
        {
            "id": f"reach_to_{name}",
            "effort": MOVE_EFFORTS["reach"],
            "after": after,
            "ramp": {"op": "approach", "a": "gripper", "b": handle, "to_m": HANDLE_WITHIN_M},
            "done": near,
        },
        {
            "id": f"touch_to_{name}",
            "effort": MOVE_EFFORTS["touch"],
            "after": [f"reach_to_{name}"],
            "done": touching,
            "hold_steps": TOUCH_HOLD_STEPS,
        },
        {
            "id": name,
            "effort": MOVE_EFFORTS["move"],
            "after": [f"touch_to_{name}"],
            "ramp": {"op": "actuate", "a": part, "toward": toward},
            "done": done,
            "latch": "live",
        },
    ]


def _push_stages(index: int, moved: str, target: str) -> Stages:
    near = {"a": moved, "b": target, "axes": "xy"}
    return [
        {
            "id": f"reach_{moved}",
            "effort": PUSH_EFFORTS["reach"],
            "ramp": {"op": "approach", "a": "gripper", "b": moved, "to_m": PLATE_RADIUS_M},
            "done": {"op": "near", "a": "gripper", "b": moved, "within_m": PLATE_RADIUS_M},
        },
        {
            "id": f"touch_{moved}",
            "effort": PUSH_EFFORTS["touch"],
            "after": [f"reach_{moved}"],
            "done": {"op": "touching", "a": moved},
            "hold_steps": TOUCH_HOLD_STEPS,
        },
        {
            "id": f"push_{moved}",
            "effort": PUSH_EFFORTS["push"],
            "after": [f"touch_{moved}"],
            "ramp": {"op": "approach", **near, "to_m": 0.0},
            "done": {"op": "goal", "index": index},
            "latch": "live",
        },
    ]


def _place_stages(
    index: int, conjunct: Conjunct, where: Target, reach_after: list[str], carry_after: list[str]
) -> Stages:
    predicate, moved, target = conjunct
    grasped = {"op": "grasped", "a": moved}
    pair = {"a": moved, "b": target}
    carry, arrived = {"op": "approach", **pair, "axes": "xy"}, {"op": "near", **pair, "axes": "xy"}
    if where.by_opening:
        carry, arrived = {"op": "approach_opening", **pair}, {"op": "at_opening", **pair}
    lower = pair | ({"from_m": where.lower_from_m} if where.lower_from_m else {})
    if predicate == "in":
        lower |= {"op": "inside_depth"}
    else:  # resting heights differ by object, so the ramp ends where none can: it never fills before the goal holds
        lower |= {"op": "approach", "to_m": 0.0}
    reach = {"op": "near", "a": "gripper", "b": moved, "within_m": REACH_WITHIN_M}
    return [
        {
            "id": f"reach_{moved}",
            "effort": PLACE_EFFORTS["reach"],
            "after": reach_after,
            "ramp": {"op": "approach", "a": "gripper", "b": moved, "to_m": REACH_WITHIN_M},
            # touching: wide objects are held by the rim, far from their origin
            "done": {"any": [reach, {"op": "touching", "a": moved}]},
        },
        {
            "id": f"grasp_{moved}",
            "effort": PLACE_EFFORTS["grasp"],
            "after": [f"reach_{moved}"],
            "done": grasped,
            "hold_steps": GRASP_HOLD_STEPS,
            "latch": "live",
        },
        {
            "id": f"lift_{moved}",
            "effort": PLACE_EFFORTS["lift"],
            "after": [f"grasp_{moved}"],
            "while": [grasped],
            "ramp": {"op": "raise", "a": moved, "to_m": LIFT_BY_M},
            "done": {"op": "lifted", "a": moved, "by_m": LIFT_BY_M},
        },
        {
            "id": f"carry_{moved}",
            "effort": PLACE_EFFORTS["carry"],
            "after": [f"lift_{moved}", *carry_after],
            "while": [grasped],
            "ramp": {**carry, "to_m": where.within_m},
            "done": {**arrived, "within_m": where.within_m},
            "latch": "live",
        },
        {
            "id": f"place_{moved}",
            "effort": PLACE_EFFORTS["place"],
            "after": [f"carry_{moved}"],
            "ramp": lower,
            "done": {"op": "goal", "index": index},
            "latch": "live",
        },
    ]
