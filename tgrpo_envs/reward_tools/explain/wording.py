"""Short texts about one moment of a trace: what a stage is doing, what an atom reads."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from tgrpo_envs.rewards.credit import RAMP_SHARE
from tgrpo_envs.rewards.describe import Conjuncts, condition_words
from tgrpo_envs.rewards.measures import YES_NO
from tgrpo_envs.rewards.trace import PredicateTrace, Reading, Trace

_DECIMALS = {"m": 3, "rad": 3, "deg": 1, "m/s": 3}
_RELATIONS = {"<=": "≤", "<": "<", ">=": "≥", ">": ">"}


class State(StrEnum):
    """What a stage is doing at a moment."""

    WAITS = "waits"
    BLOCKED = "blocked"
    OPEN = "open"
    DONE = "done"
    GOAL = "goal"
    """Done because a goal conjunct it leads to holds."""


def stage_state(trace: Trace, k: int, m: int) -> State:
    """What stage k is doing at moment m."""
    if trace.verdict.done_KN[k, m]:
        return State.GOAL if trace.verdict.implied_KN[k, m] else State.DONE
    if not trace.verdict.open_KN[k, m]:
        return State.WAITS
    return State.OPEN if trace.verdict.seen.allowed_KN[k, m] else State.BLOCKED


def stage_text(trace: Trace, k: int, m: int) -> str:
    """The same with its numbers: what is left of the ramp, how long `done` has held."""
    stage = trace.spec.stages[k]
    match stage_state(trace, k, m):
        case State.DONE:
            return "done"
        case State.GOAL:
            return "done, the goal holds"
        case State.WAITS:
            return "not open"
        case State.BLOCKED:
            return "open, but its “while” fails"
    parts = ["lost" if trace.verdict.completed_KN[k, m] else "open"]
    if stage.ramp is not None:
        if trace.ramp_units[k]:
            parts.append(f"{quantity(trace.verdict.seen.remaining_KN[k, m], trace.ramp_units[k])} left")
        parts.append(f"credit {trace.verdict.credit_KN[k, m]:.2f}")
    if 0 < trace.verdict.held_KN[k, m] < stage.hold_steps:
        parts.append(f"held {trace.verdict.held_KN[k, m]} of {stage.hold_steps}")
    return ", ".join(parts)


def ramp_text(trace: Trace, k: int, m: int) -> str:
    """How a ramp went from moment m - 1 to m."""
    unit = trace.ramp_units[k]
    filled = f"{100 * trace.verdict.ramp_KN[k, m]:.1f} % filled"
    counts = f"a full ramp is worth {RAMP_SHARE:g} of the stage"
    if not unit:
        return f"ramp: {filled}; {counts}"
    before, now = (quantity(trace.verdict.seen.remaining_KN[k, at], unit) for at in (m - 1, m))
    return f"ramp: {now} left of {quantity(trace.span_K[k], unit)} (before: {before}), {filled}; {counts}"


def atom_text(atom: PredicateTrace, m: int, goal: Conjuncts) -> str:
    """An atom at moment m: what it asks, whether it changed, and its numbers."""
    now, before = atom.truth_M[m], atom.truth_M[max(m - 1, 0)]
    state = f"{'became' if now != before else 'is'} {'true' if now else 'false'}"
    return f"“{condition_words(atom.predicate, goal)}” {state}: {readings_text(atom.readings, m)}"


def readings_text(readings: Sequence[Reading], m: int) -> str:
    """The numbers of an atom at moment m, each with its limit."""
    return ", ".join(_reading_text(reading, m) for reading in readings)


def _reading_text(reading: Reading, m: int) -> str:
    value, limit = float(reading.value_M[m]), float(reading.limit_M[m])
    if reading.unit == YES_NO:
        return f"{reading.name} {'yes' if value else 'no'}"
    relation = _RELATIONS[reading.relation]
    return f"{reading.name} {quantity(value, reading.unit)} (wanted {relation} {quantity(limit, reading.unit)})"


def quantity(value: float, unit: str) -> str:
    """A number with as many decimals as its unit deserves."""
    return f"{value:.{_DECIMALS.get(unit, 3)}f} {unit}".rstrip()
