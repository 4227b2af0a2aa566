"""Whether the goal of a user's own task file can come true and does not hold already."""

from __future__ import annotations

from collections.abc import Sequence

from tgrpo_envs.assets import AssetPack
from tgrpo_envs.bddl import Conjunct, Problem, error_at
from tgrpo_envs.rewards.at_reset import holds_at_reset
from tgrpo_envs.rewards.handles import split_part
from tgrpo_envs.scene.parts import Joint, carrier_of, checked_joints
from tgrpo_envs.sim.success import ANY_JOINT

# Parts that want the other predicate. A stove's region is a plate under its surface, where "in" looks for a thing's
# origin. A drawer's region lies on its side, so that "on" looks beside the cabinet, not at what the drawer holds.
OTHER_PREDICATE = {
    ("in", "flat_stove", "cook_region"): "on",
    **{
        ("on", f"{colour}_cabinet", f"{level}_region"): "in"
        for colour in ("wooden", "white")
        for level in ("top", "middle", "bottom")
    },
}

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
    states, zones = [], []
    for conjunct, line in zip(problem.goal, problem.lines.goal, strict=True):
        if len(conjunct) == 2:
            states.append((conjunct, line, checked_joints(problem, conjunct, line, pack)))
            continue
        _check_destination(problem, workspace, conjunct, line)
        if carrier_of(problem, conjunct[2]) == workspace:
            zones.append((conjunct, line))
    _check_states(states)
    _check_zones(problem, zones)
    if all(holds_at_reset(problem, conjunct) for conjunct in problem.goal):
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
    other = OTHER_PREDICATE.get((predicate, *split_part(support)[1:]))
    if other is not None:
        what = f"{words} does not hold where {name} lies {other} {support}"
        raise error_at(line, what, f"Write '({other.capitalize()} {name} {support})'")


def _check_states(states: Sequence[tuple[Conjunct, int, tuple[Joint, ...]]]) -> None:
    """No joint has to be in two states; what asks for any of several joints has one that is free."""
    pinned: dict[Joint, tuple[Conjunct, int]] = {}
    for conjunct, line, joints in states:
        if len(joints) == 1 or conjunct[0] not in ANY_JOINT:
            pinned = dict.fromkeys(joints, (conjunct, line)) | pinned
    for conjunct, line, joints in states:
        against = [pinned[joint] for joint in joints if joint in pinned and pinned[joint][0][0] != conjunct[0]]
        if len(against) == len(joints) or (against and conjunct[0] not in ANY_JOINT):
            other, before = against[0]
            what = f"({' '.join(conjunct)}) contradicts ({' '.join(other)}) in line {before}"
            raise error_at(line, what, "Keep one of them")


def _check_zones(problem: Problem, zones: Sequence[tuple[Conjunct, int]]) -> None:
    """No object has to be in two zones of the table that do not meet."""
    for index, (conjunct, line) in enumerate(zones):
        for other, before in zones[:index]:
            if other[1] == conjunct[1] and not _meet(problem, other[2], conjunct[2]):
                what = f"({' '.join(conjunct)}) contradicts ({' '.join(other)}) in line {before}: the zones do not meet"
                raise error_at(line, what, "Keep one of them")


def _meet(problem: Problem, zone: str, other: str) -> bool:
    """Whether two zones of the goal, which have one rectangle each, share a place."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = (problem.regions[name].ranges[0] for name in (zone, other))
    return ax0 < bx1 and bx0 < ax1 and ay0 < by1 and by0 < ay1
