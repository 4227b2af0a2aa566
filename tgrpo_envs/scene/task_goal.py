"""Whether the goal of a user's own task file can come true and does not hold already."""

from __future__ import annotations

import numpy as np

from tgrpo_envs.assets import AssetPack
from tgrpo_envs.bddl import Conjunct, Problem, error_at
from tgrpo_envs.scene.parts import Asked, carrier_of, joint_test, joints_of, note_state
from tgrpo_envs.sim.success import ANY_JOINT, passes_test

LOW_ZONES = "kitchen_table"
"""Where LIBERO's zones lie at 0.868 to 0.882 m and the top at 0.90; elsewhere flat things can be within a zone."""


def check_goal(problem: Problem, workspace: str, pack: AssetPack) -> None:
    """Check the goal of a file whose regions and `:init` were found sound.

    Args:
        problem: The task file.
        workspace: Instance of the table or floor.
        pack: Where the shapes come from.

    Raises:
        BddlError: The first fault, with its line.
    """
    asked: Asked = {}
    for conjunct, line in zip(problem.goal, problem.lines.goal, strict=True):
        if len(conjunct) == 3:
            _check_destination(problem, workspace, conjunct, line)
        else:
            note_state(asked, problem, conjunct, line, pack)
    if all(_holds_at_reset(problem, conjunct, pack) for conjunct in problem.goal):
        remedy = "Ask for something that :init has not; doors that it does not name are shut"
        raise error_at(problem.lines.goal[0], "the goal holds already at reset", remedy)


def _check_destination(problem: Problem, workspace: str, conjunct: Conjunct, line: int) -> None:
    """Where the goal wants an object."""
    predicate, name, support = conjunct
    words, carrier = f"({' '.join(conjunct)})", carrier_of(problem, support)
    if name not in problem.objects:
        raise error_at(line, f"{words} moves {name!r}, which is no object", "Name one of :objects first")
    below = {goal[1]: carrier_of(problem, goal[2]) for goal in problem.goal if len(goal) == 3}
    thing = carrier
    for _ in below:
        if thing == name:
            raise error_at(line, f"{words} has {name!r} stand on or in itself in the end", "Name another thing")
        thing = below.get(thing, thing)
    if support == workspace or (predicate == "in" and support not in problem.regions):
        raise error_at(line, f"{words} needs a region of {support}", "Declare one in :regions and name it here")
    if predicate == "in" and carrier == workspace == LOW_ZONES:
        what = f"{words} never holds: zones of {workspace} end below its top"
        raise error_at(line, what, f"Write '(On {name} {support})'")


def _holds_at_reset(problem: Problem, conjunct: Conjunct, pack: AssetPack) -> bool:
    """Whether it follows from `:init`; a joint that this does not name is at 0."""
    if len(conjunct) == 3:
        return any(_implies(problem, start, conjunct) for start in problem.init)
    predicate, name = conjunct
    starts = {
        joint: start[0] for start in problem.init if len(start) == 2 for joint in joints_of(problem, start[1], pack)
    }
    at_zero = bool(passes_test(joint_test(problem, conjunct), np.zeros(())))
    passes = [starts[joint] == predicate if joint in starts else at_zero for joint in joints_of(problem, name, pack)]
    return any(passes) if predicate in ANY_JOINT else all(passes)


def _implies(problem: Problem, start: Conjunct, wanted: Conjunct) -> bool:
    """Whether what is placed so is where the goal wants it: just there, or in a zone that lies within that one."""
    if start == wanted or start[1] != wanted[1]:
        return start == wanted
    starts, goals = (problem.regions[name].ranges if name in problem.regions else () for name in (start[2], wanted[2]))
    return bool(starts and goals) and all(
        gx0 <= x0 and gy0 <= y0 and x1 <= gx1 and y1 <= gy1
        for x0, y0, x1, y1 in starts
        for gx0, gy0, gx1, gy1 in goals  # one
    )
