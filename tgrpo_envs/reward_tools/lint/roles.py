"""Who plays which part in a task's goal: what is moved where, which joints are turned, what else belongs to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tgrpo_envs.bddl import Conjunct
from tgrpo_envs.reward_tools.lint.case import Case, Use
from tgrpo_envs.reward_tools.lint.entities import Entities, joint_of, place_of
from tgrpo_envs.rewards.handles import HANDLE_SUFFIX
from tgrpo_envs.rewards.predicates import Actuated, Goal, Inside
from tgrpo_envs.rewards.ramps import Actuate, InsideDepth
from tgrpo_envs.rewards.words import Toward

MIN_OPEN_FRAC = 0.5  # a drawer of 15 cm lets a bowl in from about half way


@dataclass(frozen=True)
class Roles:
    """The parts that entities play in some goals.

    Attributes:
        moved: Objects that have to be moved.
        targets: Target of each moved object, with the instance that carries it.
        joints: Directions in which each jointed part may have to go.
        named: Every name above, with handles and carriers.
        starts: What the moved objects stand on or in at reset.
    """

    moved: frozenset[str]
    targets: dict[str, frozenset[str]]
    joints: dict[str, frozenset[str]]
    named: frozenset[str]
    starts: frozenset[str]


def roles(entities: Entities, goals: Iterable[Conjunct]) -> Roles:
    """The parts that entities play in the given goal conjuncts."""
    targets: dict[str, set[str]] = {}
    joints: dict[str, set[str]] = {}
    starts: set[str] = set()
    for conjunct in goals:
        if (place := place_of(conjunct)) is not None:
            moved, target = place
            targets.setdefault(moved, set()).update({target, entities.carrier(target)})
            places = entities.start_places(moved)
            starts |= places
            for door in filter(None, map(entities.door, {target, *places})):
                joints.setdefault(door, set()).add("open")
        if (turned := joint_of(conjunct)) is not None:
            joints.setdefault(turned[0], set()).add(turned[1])
    named = {*targets, *joints, *(part + HANDLE_SUFFIX for part in joints), *map(entities.carrier, joints)}
    return Roles(
        moved=frozenset(targets),
        targets={moved: frozenset(names) for moved, names in targets.items()},
        joints={part: frozenset(directions) for part, directions in joints.items()},
        named=frozenset(named.union(*targets.values())),
        starts=frozenset(starts),
    )


def entered_part(case: Case, use: Use) -> str | None:
    """The door or drawer that must be open for a word of a stage to come true, if there is one."""
    word, region = use.word, None
    if isinstance(word, Goal) and word.index < len(case.goal) and case.goal[word.index][0] == "in":
        region = case.goal[word.index][2]
    if isinstance(word, Inside | InsideDepth):
        region = word.b
    if region is None or use.negated or use.role not in ("done", "ramp"):
        return None
    return case.entities.door(region)


def moves_joint(case: Case, use: Use, direction: str) -> str | None:
    """The part that a word takes `direction`: by a goal of LIBERO's, or far enough by `actuated`."""
    word = use.word
    if isinstance(word, Goal) and word.index < len(case.goal):
        turned = joint_of(case.goal[word.index])
        return turned[0] if turned is not None and turned[1] == direction else None
    if isinstance(word, Actuated) and word.toward == direction:
        return word.a if direction != "open" or word.min_frac >= MIN_OPEN_FRAC else None
    return None


def jointed_name(word: object) -> tuple[str, Toward] | None:
    """(part, direction) of a word about a joint."""
    return (word.a, word.toward) if isinstance(word, Actuated | Actuate) else None
