"""Worked examples of a prompt: chosen by the shape of the goal, never from the scene family of the task in question."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources

from tgrpo_envs.reward_tools.author.card_text import goal_lines, part_state, pending_goals, start_lines
from tgrpo_envs.reward_tools.author.cards import TaskCard, load_card
from tgrpo_envs.rewards.spec import StageSpec, parse_spec
from tgrpo_envs.tasks import Task, get_task

EXAMPLES = 3  # the fewest shown
MOST_EXAMPLES = 4  # with a fourth where three do not cover the goal's shape

# How much each trait of a goal says about what its spec looks like.
_WEIGHTS = {"opens first": 4, "maintains": 4, "stacks": 3, "two goals": 2, "moves a part": 2, "places": 1}


@dataclass(frozen=True)
class Example:
    """A spec that was written and checked by hand, with the card of its task."""

    name: str
    text: str
    spec: StageSpec
    card: TaskCard
    task: Task

    def show(self) -> str:
        """The example as a prompt has it."""
        starts = start_lines(self.card)
        return f"Goal, all of:\n{goal_lines(self.card)}\n{starts}{chr(10) * bool(starts)}Spec:\n{self.text}"


def scene_family(task: Task) -> str:
    """``libero_spatial``, ``libero_object``, ``libero_goal``, ``kitchen``, ``living_room`` or ``study``."""
    head, found, _ = task.name.partition("_SCENE")
    return head.lower() if found else task.suite


def traits(card: TaskCard) -> frozenset[str]:
    """What the goal of a task asks for, in words that say how its spec is built."""
    problem, found = card.problem, set()
    moved = {conjunct[1] for conjunct in problem.goal if len(conjunct) == 3}
    pending = pending_goals(card)
    if len(pending) < len(problem.goal):
        found.add("maintains")
    if len(pending) > 1:
        found.add("two goals")
    for conjunct in pending:
        found.add(conjunct[0])
        found.add("places" if len(conjunct) == 3 else "moves a part")
        if len(conjunct) == 3:
            found |= _target_traits(card, conjunct, moved)
    return frozenset(found)


def choose_examples(task: Task, card: TaskCard) -> tuple[Example, ...]:
    """Three or four examples for a task, those nearest to its goal first; the same ones every time."""
    wanted = traits(card)
    pool = [example for example in _pool() if scene_family(example.task) != scene_family(task)]
    chosen: list[Example] = []
    missing = set(wanted)
    while pool and (len(chosen) < EXAMPLES or (missing and len(chosen) < MOST_EXAMPLES)):
        best = max(pool, key=lambda e: (_weight(traits(e.card) & missing), _likeness(traits(e.card), wanted)))
        if len(chosen) >= EXAMPLES and not traits(best.card) & missing:
            break
        chosen.append(best)
        pool.remove(best)
        missing -= traits(best.card)
    return tuple(chosen)


@functools.cache
def _pool() -> tuple[Example, ...]:
    folder = resources.files("tgrpo_envs").joinpath("reward_tools/author/prompts/examples")
    return tuple(
        _read(entry.name, entry.read_text(encoding="utf-8").strip())
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".json")
    )


def _read(name: str, text: str) -> Example:
    spec = parse_spec(text, source=name)
    task = get_task(spec.task.suite, spec.task.name)
    return Example(name, text, spec, load_card(task), task)


def _target_traits(card: TaskCard, conjunct: tuple[str, ...], moved: set[str]) -> set[str]:
    target = conjunct[2]
    region = next((entry for entry in card.regions if entry.name == target), None)
    carrier = target if region is None else region.carrier
    found = {"onto an object" if region is None else "onto a zone" if carrier is None else "onto a region"}
    if carrier in moved:
        found.add("stacks")
    part = next((entry for entry in card.parts if entry.name in (target, carrier)), None)
    if conjunct[0] == "in" and part is not None:
        found.add("into a part")
        if part_state(part) != "open" and ("open", part.name) not in card.problem.goal:
            found.add("opens first")
    return found


def _weight(found: frozenset[str]) -> int:
    return sum(_WEIGHTS.get(trait, 1) for trait in found)


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """Weighted share of the traits they have in common."""
    return _weight(one & other) / max(_weight(one | other), 1)
