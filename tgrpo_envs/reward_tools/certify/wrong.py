"""Distractor goals: what a policy might do instead of its task; a spec must not pay that like the task."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from tgrpo_envs.sim.snapshot import SnapshotLayout
from tgrpo_envs.tasks import Task

GoalNames = tuple[tuple[str, ...], ...]

_INSTANCE = re.compile(r"_\d+$")


class WrongGoal(NamedTuple):
    """A goal that is not the task's.

    Attributes:
        kind: ``wrong_object`` moves only things that the task does not move; ``wrong_target`` moves the task's own.
        goal: Its conjuncts.
    """

    kind: Literal["wrong_object", "wrong_target"]
    goal: GoalNames


def wrong_goals(task: Task, layout: SnapshotLayout) -> list[WrongGoal]:
    """Goals that could be pursued in the task's scene instead: most confusing first, none sharing a conjunct with it.

    First the task's own goal with the moved object exchanged for one of its kind, then the goals of other tasks of
    the suite whose names all exist in this scene, then the exchange for any other object.
    """
    own = set(task.goal)
    moved = {conjunct[1] for conjunct in task.goal}
    like, unlike = _exchanges(task.goal, layout)
    names = {*layout.objects, *layout.sites}
    siblings = (
        other.goal
        for other in task.siblings
        if other.name != task.name and all(name in names for conjunct in other.goal for name in conjunct[1:])
    )
    goals = dict.fromkeys(goal for source in (like, siblings, unlike) for goal in source if own.isdisjoint(goal))
    return [
        WrongGoal("wrong_target" if moved & {conjunct[1] for conjunct in goal} else "wrong_object", goal)
        for goal in goals
    ]


def _exchanges(goal: GoalNames, layout: SnapshotLayout) -> tuple[list[GoalNames], list[GoalNames]]:
    """The goal with its first moved object exchanged for another movable: of the same kind, and of another."""
    movables = layout.objects[: layout.num_movables]
    moved = [conjunct[1] for conjunct in goal if conjunct[1] in movables]
    if not moved:
        return [], []
    used = {name for conjunct in goal for name in conjunct[1:]} | _carriers(goal, layout)
    found: tuple[list[GoalNames], list[GoalNames]] = ([], [])
    for other in movables:
        if other not in used:
            exchanged = tuple(_renamed(goal, moved[0], other))
            found[_kind(other) != _kind(moved[0])].append(exchanged)
    return found


def _renamed(goal: GoalNames, old: str, new: str) -> Iterator[tuple[str, ...]]:
    for conjunct in goal:
        yield tuple(new if name == old else name for name in conjunct)


def _carriers(goal: GoalNames, layout: SnapshotLayout) -> set[str]:
    """Objects whose regions the goal names: nothing is put into itself."""
    sites = {name for conjunct in goal for name in conjunct[1:] if name in layout.sites}
    parents = (int(layout.site_parents_S[layout.site_row(site)]) for site in sites)
    return {layout.objects[parent] for parent in parents if parent >= 0}


def _kind(instance: str) -> str:
    """``akita_black_bowl`` for ``akita_black_bowl_2``."""
    return _INSTANCE.sub("", instance)
