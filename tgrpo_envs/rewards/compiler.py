"""Writes a stage spec from a task's goal, without a language model: the baseline every other spec has to beat.

Each conjunct that puts an object somewhere becomes five stages: reach, grasp, lift, carry, place. Conjuncts are
parallel branches, except that an object is carried onto another only after that one has been placed itself.
"""

from __future__ import annotations

import json
from typing import Any

from tgrpo_envs.bddl import Problem
from tgrpo_envs.errors import SpecError
from tgrpo_envs.rewards.spec import StageSpec, parse_spec
from tgrpo_envs.tasks import Task

REACH_WITHIN_M = 0.05  # the grip site this close to the origin of a 2-14 cm object has its fingers about to close
GRASP_HOLD_STEPS = 3  # 0.15 s: longer than contacts flicker
LIFT_BY_M = 0.05
CARRY_WITHIN_M = 0.05  # inside the 6.1 cm half width of LIBERO's basket, its narrowest common container
ONTO_WITHIN_M = 0.03  # LIBERO's own tolerance of On(object, object): centres 3 cm apart (ObjectState.check_ontop)
LOWER_FROM_M = 0.15  # height over the target from which lowering earns; objects are carried 5 to 15 cm over rims

PLACE_EFFORTS = {"reach": 1, "grasp": 2, "lift": 1, "carry": 3, "place": 2}


def compile_spec(problem: Problem, task: Task) -> StageSpec:
    """The deterministic spec of a task whose goal only places objects.

    Args:
        problem: The task's parsed BDDL file.
        task: The task; names the spec.

    Raises:
        SpecError: A conjunct is not `In` or `On` of a movable object, or there are too many of them.
    """
    moved = [_moved_object(problem, task, conjunct) for conjunct in problem.goal]
    stages: list[dict[str, Any]] = []
    for index, conjunct in enumerate(problem.goal):
        carrier = _carrier(problem, conjunct[2])
        first = [f"place_{other}" for other in moved if other == carrier]
        stages += _place_stages(index, conjunct, onto_region=conjunct[2] in problem.regions, carry_after=first)
    return _spec(task, stages)


def goals_spec(task: Task) -> StageSpec:
    """The coarsest spec, which every task has: one stage per goal conjunct, no partial credit."""
    done = [{"op": "goal", "index": index} for index in range(len(task.goal))]
    return _spec(task, [{"id": f"goal_{g['index']}", "effort": 1, "done": g, "latch": "live"} for g in done])


def _spec(task: Task, stages: list[dict[str, Any]]) -> StageSpec:
    """Through the same door as every other spec: the compiler has no privileges."""
    document = {
        "schema": "stage-spec/1",
        "task": {"suite": task.suite, "name": task.name},
        "stages": stages,
    }
    return parse_spec(json.dumps(document), source=f"the compiled spec of {task.suite}/{task.name}")


def _moved_object(problem: Problem, task: Task, conjunct: tuple[str, ...]) -> str:
    """The movable that a place goal moves; refuses every other goal."""
    words = f"({' '.join(conjunct)})"
    supported = "the compiler supports (in OBJECT REGION) and (on OBJECT REGION-OR-OBJECT) of movable objects"
    if len(conjunct) != 3 or conjunct[0] not in ("in", "on"):
        raise SpecError(f"Cannot compile the goal {words} of {task.name}: {supported}; give a spec file instead.")
    predicate, moved, target = conjunct
    is_region = target in problem.regions
    is_object = target in problem.objects or target in problem.fixtures
    if moved not in problem.objects or not (is_region or (is_object and predicate == "on")):
        raise SpecError(f"Cannot compile the goal {words} of {task.name}: {supported}; check the names in its BDDL.")
    return moved


def _carrier(problem: Problem, target: str) -> str:
    """The instance that has to be in place before anything can be put on or into `target`."""
    return problem.regions[target].target if target in problem.regions else target


def _place_stages(
    index: int, conjunct: tuple[str, ...], *, onto_region: bool, carry_after: list[str]
) -> list[dict[str, Any]]:
    predicate, moved, target = conjunct
    within_m = CARRY_WITHIN_M if onto_region else ONTO_WITHIN_M
    grasped = {"op": "grasped", "a": moved}
    above = {"a": moved, "b": target, "axes": "xy"}
    if predicate == "in":
        lower = {"op": "inside_depth", "a": moved, "b": target, "from_m": LOWER_FROM_M}
    else:  # resting heights differ by object, so the ramp ends where none can: it never fills before the goal holds
        lower = {"op": "approach", "a": moved, "b": target, "to_m": 0.0, "from_m": LOWER_FROM_M}
    reach = {"op": "near", "a": "gripper", "b": moved, "within_m": REACH_WITHIN_M}
    return [
        {
            "id": f"reach_{moved}",
            "effort": PLACE_EFFORTS["reach"],
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
            "ramp": {"op": "approach", **above, "to_m": within_m},
            "done": {"op": "near", **above, "within_m": within_m},
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
