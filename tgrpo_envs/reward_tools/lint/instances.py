"""Lint errors about names: they exist, fit their words, are the goal's own instances, and the file is this task's."""

from __future__ import annotations

from tgrpo_envs.errors import SpecError
from tgrpo_envs.reward_tools.lint.case import Case, Use
from tgrpo_envs.reward_tools.lint.finding import Fault, Faults
from tgrpo_envs.reward_tools.lint.roles import Roles, jointed_name, roles
from tgrpo_envs.rewards.entities import GRIPPER, HANDLE, MOVABLE, joint_test
from tgrpo_envs.rewards.handles import find_handle
from tgrpo_envs.rewards.predicates import Above, AtOpening, Grasped, Inside, Lifted, Moved, Near, RestingOn, Touching
from tgrpo_envs.rewards.ramps import Approach, ApproachOpening, InsideDepth, Raise
from tgrpo_envs.rewards.vocabulary import KINDS

BY_HAND = (Grasped, Lifted, Moved, Raise, Touching)  # words about what the hand does to `a`
# Words about where `a` is relative to `b`.
PAIRS = (Above, Inside, InsideDepth, AtOpening, ApproachOpening, RestingOn, Near, Approach)


def unknown_entity(case: Case) -> Faults:
    """Every entity is a name of this task file, to the letter.

    Catches: invented and misspelt names.
    Example: `{"op": "grasped", "a": "alphabet_soup"}` where the file has `alphabet_soup_1`.
    """
    for use in case.uses:
        for field, name in use.names.items():
            if name not in case.entities.kinds:
                yield Fault(
                    f"{use.path}.{field}",
                    repr(name),
                    "names of this task's file",
                    "no such thing is in the scene",
                    f"did you mean {case.entities.nearest(name, _fitting(case, use, field))}?",
                )


def _fitting(case: Case, use: Use, field: str) -> list[str]:
    """The names of the scene that a word takes, or all where it takes none of them."""
    kinds = case.entities.kinds
    fitting = [name for name, kind in kinds.items() if kind in KINDS[use.word.op][field]]
    if jointed_name(use.word) is not None:
        fitting = [name for name in fitting if find_handle(name) is not None]
    return fitting or list(kinds)


def wrong_kind(case: Case) -> Faults:
    """Entities are of the kinds their word takes; what is turned has a joint that goes that way.

    Catches: `inside` a plate, `actuated` of a shelf, switching on a drawer, a thing near itself.
    Example: `{"op": "inside", "a": "akita_black_bowl_1", "b": "plate_1"}`.
    """
    kinds = case.entities.kinds
    for use in case.uses:
        for field, name in use.names.items():
            allowed = KINDS[use.word.op][field]
            if name in kinds and kinds[name] not in allowed:
                names = [other for other, kind in kinds.items() if kind in allowed]
                yield Fault(
                    f"{use.path}.{field}",
                    f"{name!r}, a {kinds[name]}",
                    f"a {' or '.join(sorted(allowed))}",
                    f"`{use.word.op}` is not defined for it",
                    f"name {case.entities.nearest(name, names)}" if names else "use another op",
                )
        if len(use.names) == 2 and len(set(use.names.values())) == 1:
            yield Fault(use.path, f"{use.names['a']!r} twice", "two different things", "it is always true", "correct b")
        yield from _wrong_joint(case, use)


def _wrong_joint(case: Case, use: Use) -> Faults:
    turned = jointed_name(use.word)
    if turned is None or case.entities.kinds.get(turned[0]) not in KINDS[use.word.op]["a"]:
        return
    parts = [name for name in case.entities.kinds if find_handle(name) is not None]
    if find_handle(turned[0]) is None:
        hint = f"name {case.entities.nearest(turned[0], parts)}" if parts else "use another op"
        yield Fault(f"{use.path}.a", repr(turned[0]), "a part with a joint", "nothing of it turns or slides", hint)
        return
    try:
        joint_test(*turned)
    except SpecError as error:
        yield Fault(f"{use.path}.toward", repr(turned[1]), "a state LIBERO defines for it", str(error), "correct it")


def wrong_instance(case: Case) -> Faults:
    """What a stage moves, where to, and what it turns are the instances of the goal it leads to.

    Catches: the other bowl, the other plate, the drawer above, the soup's chain moving the sauce.
    Example: `{"op": "grasped", "a": "akita_black_bowl_2"}` where the goal is `(on akita_black_bowl_1 plate_1)`.
    """
    whole = roles(case.entities, case.goal)
    alike = frozenset[str]().union(*(case.entities.siblings(name) for name in whole.named)) - whole.named
    for use in case.uses:
        play = roles(case.entities, case.conjuncts(use.stage))
        for field, name in use.names.items():
            starts_there = use.negated and name in whole.starts
            if name in alike and not starts_there:
                yield _not_the_goals(use, field, name, whole.named & case.entities.siblings(name), "is another one")
        if not alike.intersection(use.names.values()):
            yield from _wrong_role(case, use, play)


def _wrong_role(case: Case, use: Use, play: Roles) -> Faults:
    kinds, word, names = case.entities.kinds, use.word, use.names
    turned = jointed_name(word)
    if turned is not None and turned[0] not in play.joints:
        yield _not_the_goals(use, "a", turned[0], frozenset(play.joints), "need not be turned here")
    by_hand = isinstance(word, BY_HAND) and not use.negated and kinds.get(names["a"]) == MOVABLE
    if by_hand and names["a"] not in play.moved:
        yield _not_the_goals(use, "a", names["a"], play.moved, "is not what this stage has to move")
    if not isinstance(word, PAIRS):
        return
    if GRIPPER in names.values():
        field = "b" if names["a"] == GRIPPER else "a"
        name, carrying = names[field], _carries(case, use.stage, play)
        allowed = play.moved.union(*play.targets.values()) if carrying else play.moved
        if kinds.get(name) == MOVABLE and name not in allowed and not use.negated:
            yield _not_the_goals(use, field, name, play.moved, "is not what this stage has to reach")
        if kinds.get(name) == HANDLE and case.entities.part(name) not in play.joints:
            yield _not_the_goals(use, field, name, frozenset(play.joints), "belongs to what need not be turned here")
    elif not _is_placing(use, play):
        got = f"{names['a']!r} and {names['b']!r}"
        wanted = [f"{moved} and {' or '.join(sorted(to))}" for moved, to in sorted(play.targets.items())]
        allowed_text = "; ".join(wanted) or "nothing: the goal here is about a joint"
        yield Fault(use.path, got, allowed_text, "the goal puts other things together", "name the goal's own pair")


def _is_placing(use: Use, play: Roles) -> bool:
    a, b = use.names["a"], use.names["b"]
    pairs = [(a, b), (b, a)] if isinstance(use.word, Near | Approach) else [(a, b)]
    away = play.starts if use.negated else frozenset[str]()
    return any(
        to in play.targets.get(moved, frozenset()) or (moved in play.moved and to in away) for moved, to in pairs
    )


def _carries(case: Case, stage: int, play: Roles) -> bool:
    """The object is in the hand by now: the stage's `while` or `done`, or an earlier stage, demands it."""
    rows = {stage, *case.before[stage]} if stage >= 0 else set[int]()
    uses = [use for row in rows for role in ("done", "while") for use in case.demanded(row, role)]
    return any(isinstance(use.word, Grasped | Lifted) and use.word.a in play.moved for use in uses)


def _not_the_goals(use: Use, field: str, name: str, wanted: frozenset[str], why: str) -> Fault:
    allowed = " or ".join(sorted(wanted)) or "nothing of its kind"
    return Fault(f"{use.path}.{field}", repr(name), allowed, f"{name!r} {why}", "name the goal's own instance")


def wrong_task(case: Case) -> Faults:
    """The file names the task it is used for, and the vocabulary's version is this one.

    Catches: a spec of another task, or one written for another version of the vocabulary.
    Example: `"task": {"suite": "libero_object", ...}` in a file used for libero_goal.
    """
    for field, got, allowed in (
        ("suite", case.spec.task.suite, case.task.suite),
        ("name", case.spec.task.name, case.task.name),
    ):
        if got != allowed:
            yield Fault(
                f"task.{field}", repr(got), repr(allowed), "the spec was written for another task", "use its own"
            )
