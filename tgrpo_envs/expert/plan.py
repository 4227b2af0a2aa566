"""From a goal to an ordered list of skills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tgrpo_envs.bddl import Conjunct, Problem, parse_problem
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.expert.articulate import Articulate
from tgrpo_envs.expert.fixtures import Motion, motion_of
from tgrpo_envs.expert.motion import Skill
from tgrpo_envs.expert.pick_place import PickAndPlace
from tgrpo_envs.expert.places import Place, place_of
from tgrpo_envs.expert.shapes import SHAPES, category_of, owner_of
from tgrpo_envs.rewards.at_reset import doors, starts_open
from tgrpo_envs.sim.snapshot import SnapshotLayout
from tgrpo_envs.tasks import Task, list_tasks

Goal = tuple[Conjunct, ...]

# Two pots on one burner stand this far from its middle.
STOVE_SHARE_M = 0.042
STOVE_SIDES = (1.0, -1.0)


@dataclass(frozen=True)
class Step:
    """One entry of a plan: an object and its place, or a fixture and its motion."""

    name: str
    how: Place | Motion


def plan(goal: Goal, problem: Problem | None = None) -> tuple[Step, ...]:
    """The steps that reach a goal, in order.

    First what must be shut and stays empty, then what must be open or turned, then objects, supports first, and at
    last what is shut over them, or after them.

    Args:
        goal: The predicates to reach.
        problem: The task file, whose `:init` says what starts shut and what starts in a drawer; None where nothing
            starts in one, and what the expert cannot open starts open.

    Raises:
        ConfigError: The goal has a conjunct for which there is no skill, or needs a drawer opened for which there is
            none, or puts more on a stove than finds room.
    """
    filled = {names[1] for predicate, *names in goal if predicate == "in"}
    placed = [entry for entry in goal if entry[0] in ("in", "on")]
    passed, shut = _doors_on_the_way(placed, problem)
    covered = {name for part in filled | passed for name in (part, owner_of(part))}
    early = [entry for entry in goal if entry[0] == "close" and entry[1] not in covered]
    late = [entry for entry in goal if entry[0] == "close" and entry[1] in covered]
    moved = [entry for entry in goal if entry[0] in ("open", "turnon", "turnoff")]
    to_open = shut | {name for name in filled if motion_of("open", name)}
    opened = [name for name in sorted(to_open) if ("open", name) not in moved]
    in_order = sorted(placed, key=lambda entry: _depth(entry, placed))
    before, after = tuple(map(_step, (*early, *moved))), tuple(map(_step, (*in_order, *late)))
    return _side_by_side((*before, *map(_opening, opened), *after))


def can_do(task: Task) -> bool:
    """Whether the expert has a skill for every conjunct of a task's goal; not how often it succeeds."""
    try:
        plan(task.goal, own_problem(task))
    except ConfigError:
        return False
    return True


def own_problem(task: Task) -> Problem | None:
    """The task file of one's own. None for LIBERO's tasks, whose files need not be here: no plan of theirs needs it."""
    return parse_problem(task.bddl) if task.bddl else None


def expert_tasks(suite: str | None = None) -> tuple[Task, ...]:
    """The tasks, of one suite or of all, that the expert can do.

    Raises:
        UnknownNameError: There is no such suite.
    """
    return tuple(task for task in list_tasks(suite) if can_do(task))


def make_skills(goal: Goal, layout: SnapshotLayout, num_envs: int, problem: Problem | None = None) -> list[Skill]:
    """The plan's skills for N environments of a scene.

    Raises:
        ConfigError: See `plan`.
        UnknownNameError: The scene lacks an entity of the goal, or has an object without a row in the tables.
    """
    skills: list[Skill] = []
    for step in plan(goal, problem):
        if isinstance(step.how, Place):
            skills.append(PickAndPlace(layout, step.name, step.how, num_envs))
        else:
            skills.append(Articulate(layout, step.name, step.how, num_envs))
    return skills


def _doors_on_the_way(placed: Sequence[Conjunct], problem: Problem | None) -> tuple[set[str], set[str]]:
    """The doors and drawers through which something is moved, and those of them that start shut."""
    if problem is None:
        return set(), set()
    passed = {part for entry in placed if entry not in problem.init for part in doors(problem, entry)}
    return passed, {part for part in passed if not starts_open(problem, part)}


def _side_by_side(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Two objects that share a stove stand beside each other, not upon each other."""
    on_stoves: dict[str, list[str]] = {}
    for step in steps:
        if isinstance(step.how, Place) and step.how.reference.endswith("cook_region"):
            on_stoves.setdefault(step.how.reference, []).append(step.name)
    sides: dict[str, float] = {}
    for names in on_stoves.values():
        if len(names) > len(STOVE_SIDES):
            raise ConfigError(
                f"The scripted expert has room for two things on a stove, and the goal puts {len(names)} there; give "
                "demonstrations of your own."
            )
        if len(names) == len(STOVE_SIDES):
            sides |= zip(names, STOVE_SIDES, strict=True)
    return tuple(
        replace(step, how=replace(step.how, offset=(sides[step.name] * STOVE_SHARE_M, 0.0, 0.0)))
        if isinstance(step.how, Place) and step.name in sides
        else step
        for step in steps
    )


def _depth(entry: Conjunct, placed: Sequence[Conjunct]) -> int:
    """How many objects of the goal lie under this one."""
    others = [other for other in placed if other is not entry]  # of a user's goal that goes in a circle, each once
    under = [other for other in others if other[1] == entry[2]]
    return 1 + _depth(under[0], others) if under else 0


def _step(entry: Conjunct) -> Step:
    predicate, *names = entry
    if predicate in ("in", "on"):
        place = place_of(names[1])
        if place is not None and _fits(category_of(names[0]), place):
            return Step(names[0], place)
    else:
        motion = motion_of(predicate, names[0])
        if motion is not None:
            return Step(owner_of(names[0]), motion)
    raise ConfigError(
        f"The scripted expert has no skill for the goal ({' '.join(entry)}); "
        "choose one of tgrpo_envs.expert.expert_tasks()."
    )


def _opening(part: str) -> Step:
    motion = motion_of("open", part)
    if motion is None:
        raise ConfigError(
            f"The scripted expert cannot open {part}, which starts shut and through which the goal moves something; "
            f"write '(Open {part})' in :init, or give demonstrations of your own."
        )
    return Step(owner_of(part), motion)


def _fits(category: str, place: Place) -> bool:
    """Whether there is a grasp for a thing, and room for it in the place."""
    shape = SHAPES.get(category)
    return shape is not None and shape.below < place.max_below and shape.above < place.max_above
