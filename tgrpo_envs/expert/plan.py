"""From a goal to an ordered list of skills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.expert.articulate import Articulate
from tgrpo_envs.expert.fixtures import Motion, motion_of
from tgrpo_envs.expert.motion import Skill
from tgrpo_envs.expert.pick_place import PickAndPlace
from tgrpo_envs.expert.places import Place, place_of
from tgrpo_envs.expert.shapes import SHAPES, category_of, owner_of
from tgrpo_envs.sim.snapshot import SnapshotLayout
from tgrpo_envs.tasks import Task, list_tasks

Goal = tuple[tuple[str, ...], ...]

# Two pots on one burner stand this far from its middle.
STOVE_SHARE_M = 0.042


@dataclass(frozen=True)
class Step:
    """One entry of a plan: an object and its place, or a fixture and its motion."""

    name: str
    how: Place | Motion


def plan(goal: Goal) -> tuple[Step, ...]:
    """The steps that reach a goal, in order.

    First what must be shut and stays empty, then what must be open or turned, then objects, supports first, and at
    last what is shut over them.

    Raises:
        ConfigError: The goal has a conjunct for which there is no skill.
    """
    filled = {names[1] for predicate, *names in goal if predicate == "in"}
    covered = filled | {owner_of(name) for name in filled}
    early = [entry for entry in goal if entry[0] == "close" and entry[1] not in covered]
    late = [entry for entry in goal if entry[0] == "close" and entry[1] in covered]
    moved = [entry for entry in goal if entry[0] in ("open", "turnon", "turnoff")]
    opened = [("open", name) for name in sorted(filled) if motion_of("open", name) and ("open", name) not in moved]
    placed = [entry for entry in goal if entry[0] in ("in", "on")]
    in_order = sorted(placed, key=lambda entry: _depth(entry, placed))
    return _side_by_side(tuple(_step(entry) for entry in (*early, *moved, *opened, *in_order, *late)))


def can_do(task: Task) -> bool:
    """Whether the expert has a skill for every conjunct of a task's goal; not how often it succeeds."""
    try:
        plan(task.goal)
    except ConfigError:
        return False
    return True


def expert_tasks(suite: str | None = None) -> tuple[Task, ...]:
    """The tasks, of one suite or of all, that the expert can do.

    Raises:
        UnknownNameError: There is no such suite.
    """
    return tuple(task for task in list_tasks(suite) if can_do(task))


def make_skills(goal: Goal, layout: SnapshotLayout, num_envs: int) -> list[Skill]:
    """The plan's skills for N environments of a scene.

    Raises:
        ConfigError: See `plan`.
        UnknownNameError: The scene lacks an entity of the goal, or has an object without a row in the tables.
    """
    skills: list[Skill] = []
    for step in plan(goal):
        if isinstance(step.how, Place):
            skills.append(PickAndPlace(layout, step.name, step.how, num_envs))
        else:
            skills.append(Articulate(layout, step.name, step.how, num_envs))
    return skills


def _side_by_side(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Two objects that share a stove stand beside each other, not upon each other."""
    sharing = [step for step in steps if isinstance(step.how, Place) and step.how.reference.endswith("cook_region")]
    if len(sharing) < 2:
        return steps
    sides = {step.name: side for step, side in zip(sharing, (1.0, -1.0), strict=True)}
    return tuple(
        replace(step, how=replace(step.how, offset=(sides[step.name] * STOVE_SHARE_M, 0.0, 0.0)))
        if isinstance(step.how, Place) and step.name in sides
        else step
        for step in steps
    )


def _depth(entry: tuple[str, ...], placed: Sequence[tuple[str, ...]]) -> int:
    """How many objects of the goal lie under this one."""
    others = [other for other in placed if other is not entry]  # of a user's goal that goes in a circle, each once
    under = [other for other in others if other[1] == entry[2]]
    return 1 + _depth(under[0], others) if under else 0


def _step(entry: tuple[str, ...]) -> Step:
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


def _fits(category: str, place: Place) -> bool:
    """Whether there is a grasp for a thing, and room for it in the place."""
    shape = SHAPES.get(category)
    return shape is not None and shape.below < place.max_below and shape.above < place.max_above
