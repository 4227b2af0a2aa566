"""Says a spec in plain English: a clause for each condition, a sentence for each stage."""

from __future__ import annotations

from collections.abc import Sequence

from tgrpo_envs.rewards.entities import GRIPPER
from tgrpo_envs.rewards.handles import HANDLE_SUFFIX, split_part
from tgrpo_envs.rewards.ramps import Ramp
from tgrpo_envs.rewards.spec import Maintain, Stage
from tgrpo_envs.rewards.vocabulary import AllOf, AnyOf, Condition, Not
from tgrpo_envs.rewards.words import Word
from tgrpo_envs.tasks import CONTROL_HZ

CONTROL_STEP_S = 1 / CONTROL_HZ

Conjuncts = Sequence[Sequence[str]]

_AXES = {"xyz": "", "xy": " horizontally", "z": " in height"}
_TOWARD = {"open": "open", "close": "closed", "on": "turned on", "off": "turned off"}


def entity(name: str) -> str:
    """``wooden_cabinet_1_top_region_handle`` as "the handle of the top region of wooden cabinet 1"."""
    if name == GRIPPER:
        return "the gripper"
    if name.endswith(HANDLE_SUFFIX):
        return f"the handle of {entity(name.removesuffix(HANDLE_SUFFIX))}"
    owner, _, region = split_part(name)
    return f"the {_spaced(region)} of {_spaced(owner)}" if region else _spaced(owner)


def condition_words(condition: Condition, goal: Conjuncts = (), *, negated: bool = False) -> str:
    """A condition as a clause.

    Args:
        condition: The condition.
        goal: The task's conjuncts, to name those that the condition asks for.
        negated: Say when it does *not* hold.
    """
    if isinstance(condition, Not):
        return condition_words(condition.negated, goal, negated=not negated)
    if isinstance(condition, AllOf | AnyOf):
        parts = condition.all_of if isinstance(condition, AllOf) else condition.any_of
        both = isinstance(condition, AllOf) is not negated  # not (A and B) is (not A) or (not B)
        clauses = [condition_words(part, goal, negated=negated) for part in parts]
        mixed = [f"({clause})" if isinstance(part, AllOf | AnyOf) and len(parts) > 1 else clause
                 for part, clause in zip(parts, clauses, strict=True)]  # fmt: skip
        return (", and " if both else ", or ").join(mixed)
    phrase = condition.negation if negated else condition.phrase
    return phrase.format(**_fields(condition, goal))


def ramp_words(ramp: Ramp) -> str:
    """What a ramp earns, as a noun phrase."""
    return ramp.phrase.format(**_fields(ramp, ()))


def sentence(stage: Stage, goal: Conjuncts = ()) -> str:
    """One stage: when it opens, when it is done, and what it earns before.

    Args:
        stage: The stage.
        goal: The task's conjuncts, to name those that the stage asks for.
    """
    opens = f"After {_listed([title(name) for name in stage.after])}" if stage.after else "From the start"
    done = condition_words(stage.done, goal)
    hold = ""
    if stage.hold_steps > 1:
        hold = f", for {stage.hold_steps} control steps in a row ({stage.hold_steps * CONTROL_STEP_S:g} s)"
    lasts = "; the credit lasts only while that holds" if stage.latch == "live" else ""
    text = f"{opens}: done when {done}{hold}{lasts}."
    if stage.ramp is not None:
        only = f", while {_listed([condition_words(c, goal) for c in stage.while_])}" if stage.while_ else ""
        text += f" Until then it earns {ramp_words(stage.ramp)}{only}."
    return text


def maintain_sentence(maintain: Maintain, goal: Conjuncts = ()) -> str:
    """What breaking a `maintain` rule costs."""
    broken = condition_words(maintain.holds, goal, negated=True)
    return f"Whenever {broken}, {_percent(maintain.cost_frac)} of all progress does not count."


def title(identifier: str) -> str:
    """``reach_alphabet_soup_1`` as "Reach alphabet soup 1"."""
    words = _spaced(identifier)
    return words[:1].upper() + words[1:]


def _fields(word: Word, goal: Conjuncts) -> dict[str, str]:
    return {name: _field(name, value, goal) for name, value in word.model_dump().items() if name != "op"}


def _field(name: str, value: object, goal: Conjuncts) -> str:
    match name, value:
        case "from_m", None:
            return "its distance at the start"
        case "margin_m", float():
            return f", {_centimetres(value)} clear of every side" if value else ""
        case "axes", str():
            return _AXES[value]
        case "index", int():
            return _conjunct(goal[value]) if value < len(goal) else f"goal condition {value} as met"
        case "toward", str():
            return _TOWARD[value]
        case _, str():
            return entity(value)
        case _, float():
            return _quantity(name, value)
    raise AssertionError(f"{name} has no words")


def _quantity(name: str, value: float) -> str:
    """A number with the unit that its field's name ends in."""
    unit = name.rpartition("_")[2]
    if unit == "deg":
        return f"{value:g} degrees"
    if unit == "frac":
        return _percent(value)
    return _centimetres(value) + ("/s" if unit == "mps" else "")


def _conjunct(conjunct: Sequence[str]) -> str:
    """``(in soup_1 basket_1)`` as "soup 1 as in basket 1"."""
    predicate, *names = conjunct
    subject = entity(names[0])
    target = f" {entity(names[1])}" if len(names) > 1 else ""
    return f"{subject} as {_STATES.get(predicate, predicate)}{target}"


_STATES = {"turnon": "turned on", "turnoff": "turned off", "close": "closed"}


def _centimetres(metres: float) -> str:
    return f"{100 * metres:g} cm"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _listed(items: Sequence[str]) -> str:
    return " and ".join(items)
