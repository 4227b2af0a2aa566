"""What a task file says about the moment of reset: what of the goal holds, what is open, and what goes through a door.

As LIBERO reads it: a fixture speaks for all of its joints, and a joint that `:init` does not name is at 0.
"""

from __future__ import annotations

import numpy as np

from tgrpo_envs.bddl import Conjunct, Problem
from tgrpo_envs.rewards.handles import HANDLES, find_handle, split_part
from tgrpo_envs.rewards.openings import opens_to_front
from tgrpo_envs.sim.success import ANY_JOINT, JOINT_TESTS, passes_test


def is_maintained(problem: Problem, conjunct: Conjunct) -> bool:
    """Whether a conjunct of the goal holds at reset and nothing else in the goal makes it come undone on the way."""
    return holds_at_reset(problem, conjunct) and not passages(problem, conjunct)


def holds_at_reset(problem: Problem, conjunct: Conjunct) -> bool:
    """Whether a conjunct follows from `:init`."""
    if len(conjunct) == 3:
        return any(_implies(problem, start, conjunct) for start in problem.init)
    predicate, name = conjunct
    test = JOINT_TESTS[predicate].get(split_part(name)[1])
    if test is None:  # LIBERO does not define it
        return conjunct in problem.init
    at_zero = bool(passes_test(test, np.zeros(())))
    states = [_state(problem, part) for part in _parts(name)]
    passes = [at_zero if state is None else state == predicate for state in states]
    return any(passes) if predicate in ANY_JOINT else all(passes)


def starts_open(problem: Problem, part: str) -> bool:
    """Whether `:init` opens a drawer or a door, by its own name or by that of all that its fixture has."""
    return _state(problem, part) == "open"


def placings(problem: Problem) -> list[Conjunct]:
    """The conjuncts of the goal that put something somewhere where it does not start."""
    return [conjunct for conjunct in problem.goal if len(conjunct) == 3 and not holds_at_reset(problem, conjunct)]


def passages(problem: Problem, conjunct: Conjunct) -> list[Conjunct]:
    """Those of `placings` whose object goes into what a conjunct shuts, or comes out of it."""
    predicate, part = conjunct[:2]
    if predicate != "close":
        return []
    return [other for other in placings(problem) if part in doors(problem, other)]


def doors(problem: Problem, placing: Conjunct) -> list[str]:
    """What has to be open for an object to come out of where it starts and get in where it goes."""
    predicate, moved, target = placing
    ways = [held[2] for held in problem.init if held[0] == "in" and held[1] == moved]
    ways += [target] if predicate == "in" else []
    return list(dict.fromkeys(part for part in map(door, ways) if part is not None))


def door(region: str) -> str | None:
    """The part that has to be open for something to get into a region: the drawer that it is, or the door before it."""
    if find_handle(region):
        return region
    fixture = split_part(region)[0]
    return fixture if opens_to_front(region) and find_handle(fixture) else None


def _implies(problem: Problem, start: Conjunct, wanted: Conjunct) -> bool:
    """Whether what is placed so is where the goal wants it: just there, or in a zone that lies within that one."""
    if start == wanted or start[1] != wanted[1] or len(start) != len(wanted):
        return start == wanted
    starts, goals = (problem.regions[name].ranges if name in problem.regions else () for name in (start[2], wanted[2]))
    return bool(starts and goals) and all(
        gx0 <= x0 and gy0 <= y0 and x1 <= gx1 and y1 <= gy1
        for x0, y0, x1, y1 in starts
        for gx0, gy0, gx1, gy1 in goals  # one
    )


def _parts(name: str) -> tuple[str, ...]:
    """The parts that move: this one, or all that a fixture has."""
    _, category, region = split_part(name)
    drawers = [f"{name}_{part}" for fixture, part in HANDLES if fixture == category and part]
    return (name,) if region or not drawers else tuple(drawers)


def _state(problem: Problem, part: str) -> str | None:
    """The predicate that `:init` last asks of a part, or of the fixture that has it."""
    named = (part, split_part(part)[0])
    return next((held[0] for held in reversed(problem.init) if len(held) == 2 and held[1] in named), None)
