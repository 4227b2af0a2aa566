"""Lint warnings about the way from where an object stands to where it goes: off its support, and in by the opening."""

from __future__ import annotations

from tgrpo_envs.reward_tools.lint.case import Case, Use
from tgrpo_envs.reward_tools.lint.entities import place_of
from tgrpo_envs.reward_tools.lint.finding import Fault, Faults
from tgrpo_envs.reward_tools.lint.roles import roles
from tgrpo_envs.reward_tools.lint.style import is_push
from tgrpo_envs.rewards.openings import opens_to_front
from tgrpo_envs.rewards.predicates import Above, AtOpening, Lifted, Near
from tgrpo_envs.rewards.ramps import Approach, ApproachOpening, InsideDepth

OFF_ITS_SUPPORT = (Lifted, Above)
CARRYING = (Near, Above, AtOpening, Approach, ApproachOpening, InsideDepth)


def carry_without_lift(case: Case) -> Faults:
    """What is put somewhere is lifted before the way to its target earns: `lifted` or `above` in a stage before.

    Catches: rubbing an object over the table to its target, which fills the carry's ramp.
    Example: `carry` straight after `grasp`.
    """
    for k, stage in enumerate(case.spec.stages):
        play = roles(case.entities, case.conjuncts(k))
        for moved in sorted(play.moved) if not is_push(case) else ():
            earns = any(_carries(use, k, moved, play.targets[moved]) for use in case.uses)
            rows = {k: "while"} | dict.fromkeys(case.before[k], "done")
            lifted = any(
                isinstance(use.word, OFF_ITS_SUPPORT) and use.word.a == moved
                for row, role in rows.items()
                for use in case.demanded(row, role)
            )
            if earns and not lifted:
                why = f"rubbing {moved!r} over what it stands on would earn it"
                hint = "add a stage that lifts it and name it in `after`"
                yield Fault(f"stages[{k}]", f"{stage.id!r} without a lift before it", "`lifted` before", why, hint)


def _carries(use: Use, stage: int, moved: str, targets: frozenset[str]) -> bool:
    """The word earns, in this stage, as the object nears its target."""
    pair = set(use.names.values())
    return (
        use.stage == stage
        and use.role in ("ramp", "done")
        and isinstance(use.word, CARRYING)
        and not use.negated
        and moved in pair
        and bool(pair & targets)
    )


def opening_left_out(case: Case) -> Faults:
    """What goes into a microwave or a shelf comes to its opening first: `at_opening` in a stage before the goal's.

    Catches: a mug on a microwave, or beside it, that earns as much as one before its door.
    Example: `near` of `microwave_1_heating_region` over `xy` as the carry's `done`.
    """
    for index, conjunct in enumerate(case.goal):
        place = place_of(conjunct)
        if place is None or conjunct[0] != "in" or not opens_to_front(place[1]):
            continue
        for row in case.goal_stages.get(index, []):
            words = {use.word for p in case.before[row] for use in case.demanded(p)}
            if not any(isinstance(word, AtOpening) and (word.a, word.b) == place for word in words):
                got, why = f"no `at_opening` of {place[1]!r} before", "on it or beside it is as near as before it"
                yield Fault(f"stages[{row}]", got, "a stage with it", why, "carry it there with `approach_opening`")
