"""Writes a stage spec from a task's goal, without a language model: the baseline every other spec has to beat.

| conjunct | stages |
|---|---|
| `in`, `on`: an object goes somewhere | reach, grasp, lift, carry, place |
| `in` of a shelf or microwave, `on` of a zone of the table | the same; another carry, see `_target` |
| `on` a zone of the table, of a plate, which lies too flat to be grasped well | reach, touch, push |
| `open`, `close`, `turnon`, `turnoff` of a part | reach its handle, touch, move |
| any that holds at reset already | none; it is maintained |

Conjuncts are parallel branches, except where one cannot be done after the other: what carries something is placed
first, a drawer is opened before and shut after something goes into it or comes out. A drawer that nothing in the goal
opens, but that starts shut, gets stages of its own. Where these are more than a spec may have, those of `SPARE` are
left out.
"""

from __future__ import annotations

import json
from graphlib import CycleError
from typing import Any

from tgrpo_envs.bddl import Conjunct, Problem
from tgrpo_envs.errors import SpecError
from tgrpo_envs.rewards.at_reset import doors, is_maintained, passages, placings, starts_open
from tgrpo_envs.rewards.handles import find_handle, split_part
from tgrpo_envs.rewards.openings import opens_to_front
from tgrpo_envs.rewards.spec import MAX_DEPTH, MAX_NAME_CHARS, MAX_STAGES, StageSpec, longest_chain, parse_spec
from tgrpo_envs.rewards.templates import (
    CARRY_WITHIN_M,
    ONTO_WITHIN_M,
    OPENED_FRAC,
    OPENING_WITHIN_M,
    SPARE,
    ZONE_WITHIN_M,
    Stages,
    Target,
    part_stages,
    place_stages,
    push_stages,
    without,
)
from tgrpo_envs.tasks import Task

TOWARD = {"open": "open", "close": "close", "turnon": "on", "turnoff": "off"}
TOO_FLAT_TO_GRASP = ("plate",)
OTHERWISE = 'write a spec of your own (python -m tgrpo_envs rewards prompt), or take reward="sparse"'


def spec_from_goal(problem: Problem, task: Task) -> StageSpec:
    """The deterministic spec of a task.

    Args:
        problem: The task's parsed BDDL file.
        task: The task; names the spec.

    Raises:
        SpecError: A conjunct that no template covers, more of them than a spec may have stages for, or none that does
            not hold at reset.
    """
    _check_size(task)
    stages: Stages = []
    maintain = []
    for index, conjunct in enumerate(problem.goal):
        if is_maintained(problem, conjunct):
            maintain.append({"holds": {"op": "goal", "index": index}})
        elif conjunct[0] in TOWARD and len(conjunct) == 2 and find_handle(conjunct[1]):
            stages += _moving(problem, index, conjunct)
        else:
            _check_placing(problem, task, conjunct)
            stages += _placing(problem, index, conjunct)
    if not stages:
        raise SpecError(f"The goal of {task.name} holds already at reset; ask for something that :init has not.")
    stages = _within_limits(stages, task)
    try:
        return _spec(task, stages, maintain)
    except SpecError as error:  # a name that no spec may have, or too much to maintain
        raise SpecError(f"{error}\n  Correct the task, {OTHERWISE}.") from error


def goals_spec(task: Task) -> StageSpec:
    """The coarsest spec, which every task has: one stage per goal conjunct, no partial credit.

    Raises:
        SpecError: More conjuncts, or a longer name of the task, than a spec may have.
    """
    _check_size(task)
    done = [{"op": "goal", "index": index} for index in range(len(task.goal))]
    return _spec(task, [{"id": f"goal_{g['index']}", "effort": 1, "done": g, "latch": "live"} for g in done], [])


def _check_size(task: Task) -> None:
    """Refuses what no spec can be of."""
    if len(task.name) > MAX_NAME_CHARS:
        raise SpecError(
            f"The task's name {task.name[:30]!r}... has {len(task.name)} characters, and in a spec it may have "
            f"{MAX_NAME_CHARS}; give its file a shorter name."
        )
    if len(task.goal) > MAX_STAGES:
        raise SpecError(
            f"The goal of {task.name} has {len(task.goal)} conjuncts, and a spec has at most {MAX_STAGES} stages; ask "
            "for fewer."
        )


def _spec(task: Task, stages: Stages, maintain: list[dict[str, Any]]) -> StageSpec:
    """Checked as every other spec is."""
    document = {
        "schema": "stage-spec/1",
        "task": {"suite": task.suite, "name": task.name},
        "stages": stages,
        "maintain": maintain,
    }
    return parse_spec(json.dumps(document), source=f"the spec from the goal of {task.suite}/{task.name}")


def _within_limits(stages: Stages, task: Task) -> Stages:
    """The stages without as many kinds of `SPARE` as it takes to keep a spec's limits."""
    try:
        for kind in SPARE:
            if _fits(stages):
                return stages
            stages = without(kind, stages)
        fits = _fits(stages)
    except CycleError as error:
        loop = " -> ".join(error.args[1])
        raise SpecError(
            f"The goal of {task.name} puts things onto each other in a circle, so that stages would wait for "
            f"themselves ({loop}); correct it."
        ) from None
    if not fits:
        raise SpecError(
            f"The template for the goal of {task.name} needs {len(stages)} stages or more, {_depth(stages)} in a row, "
            f"and a spec may have {MAX_STAGES}, {MAX_DEPTH} in a row; {OTHERWISE}."
        )
    return stages


def _fits(stages: Stages) -> bool:
    return _depth(stages) <= MAX_DEPTH and len(stages) <= MAX_STAGES


def _depth(stages: Stages) -> int:
    return longest_chain({stage["id"]: stage.get("after", ()) for stage in stages})


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
    if sum(other[1] == moved for other in placings(problem)) > 1:
        raise SpecError(f"No template covers two places of {moved} in the goal of {task.name}; {OTHERWISE}.")


def _placing(problem: Problem, index: int, conjunct: Conjunct) -> Stages:
    _, moved, target = conjunct
    if _is_pushed(problem, conjunct):
        return push_stages(index, moved, target)
    carrier = problem.regions[target].target if target in problem.regions else target
    carry_after = [_last_stage(problem, other) for other in placings(problem) if other[1] == carrier]
    reach_after = [f"open_{part}" for part in _shut_parts(problem, conjunct)]
    placing = place_stages(index, conjunct, _target(problem, conjunct), reach_after, carry_after)
    return _opening(problem, conjunct) + placing


def _is_pushed(problem: Problem, conjunct: Conjunct) -> bool:
    """Whether something is pushed: only over a table, since everything else asks for a lift."""
    predicate, moved, target = conjunct
    on_table = predicate == "on" and target in problem.regions and bool(problem.regions[target].ranges)
    return on_table and split_part(moved)[1] in TOO_FLAT_TO_GRASP and not doors(problem, conjunct)


def _last_stage(problem: Problem, conjunct: Conjunct) -> str:
    """The stage that puts something somewhere."""
    return f"{'push' if _is_pushed(problem, conjunct) else 'place'}_{conjunct[1]}"


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


def _shut_parts(problem: Problem, conjunct: Conjunct) -> list[str]:
    """Those of `doors` that start shut."""
    return [part for part in doors(problem, conjunct) if not starts_open(problem, part)]


def _opening(problem: Problem, conjunct: Conjunct) -> Stages:
    """Stages that open what no conjunct opens, before the first of the things that go in or come out."""
    stages: Stages = []
    for part in _shut_parts(problem, conjunct):
        through = [other for other in placings(problem) if part in _shut_parts(problem, other)]
        if conjunct == through[0] and ("open", part) not in problem.goal:
            opened = {"op": "actuated", "a": part, "toward": "open", "min_frac": OPENED_FRAC}
            stages += part_stages("open", part, opened, after=[])
    return stages


def _moving(problem: Problem, index: int, conjunct: Conjunct) -> Stages:
    predicate, part = conjunct
    passed = [_last_stage(problem, other) for other in passages(problem, conjunct)]
    *way, move = part_stages(TOWARD[predicate], part, {"op": "goal", "index": index}, after=passed)
    if not starts_open(problem, part):  # what starts shut would count as shut before something has passed it
        move["after"] += passed
    return [*way, move]
