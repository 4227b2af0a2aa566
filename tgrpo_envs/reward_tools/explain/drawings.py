"""What the page draws over time: each stage's state and credit, progress and reward, when a condition held."""

from __future__ import annotations

import numpy as np

from tgrpo_envs.html import Markup
from tgrpo_envs.html.timeline import (
    BLUE,
    EMPTY,
    GREEN,
    OPEN,
    PURPLE,
    RED,
    area,
    band,
    bars,
    drawing,
    line,
    rule,
    stretches,
)
from tgrpo_envs.reward_tools.explain.wording import State, stage_state
from tgrpo_envs.rewards.trace import Trace
from tgrpo_envs.sim.snapshot import BoolArray

STATE_FILLS = {
    State.WAITS: EMPTY,
    State.BLOCKED: "#f6d5c3",
    State.OPEN: OPEN,
    State.DONE: GREEN,
    State.GOAL: "#8fcaa2",
}
CREDIT_FILL = "#e0a52e"
TRUE_FILL, BROKEN_FILL = "#5fa8b8", RED
CURVE_COLOURS = {"φ": BLUE, "M": GREEN, "ψ": PURPLE}
LEGEND = [
    ("not open yet, or false", EMPTY),
    ("open", STATE_FILLS[State.OPEN]),
    ("credit of the ramp (full height: the whole stage)", CREDIT_FILL),
    ("open, but its “while” fails", STATE_FILLS[State.BLOCKED]),
    ("done", STATE_FILLS[State.DONE]),
    ("done, because the goal it leads to holds", STATE_FILLS[State.GOAL]),
    ("true", TRUE_FILL),
]


def stage_strip(trace: Trace, k: int) -> Markup:
    """Stage k over time: waiting, open with its ramp's credit as an area, blocked, or done."""
    states = [stage_state(trace, k, m) for m in range(1, len(trace) + 1)]
    bands = [band(start, end, STATE_FILLS[state]) for start, end, state in stretches(states)]
    credit_M = np.where(trace.verdict.done_KN[k], 0.0, trace.verdict.credit_KN[k])
    return drawing(len(trace), [*bands, area(credit_M, CREDIT_FILL)])


def truth_strip(truth_M: BoolArray, *, false_fill: str = EMPTY) -> Markup:
    """When a condition held."""
    fills = {True: TRUE_FILL, False: false_fill}
    return drawing(len(truth_M) - 1, [band(a, b, fills[holds]) for a, b, holds in stretches(truth_M[1:].tolist())])


def progress_curves(trace: Trace, largest: float) -> Markup:
    """Progress, best so far and paid progress, from 0 to `largest`."""
    values = {"M": trace.best_M, "φ": trace.progress_M, "ψ": trace.psi_M}
    lines = [line(values_M / largest, CURVE_COLOURS[name]) for name, values_M in values.items()]
    return drawing(len(trace), [*(rule(share, len(trace)) for share in (0.0, 0.5, 1.0)), *lines])


def reward_bars(trace: Trace, largest: float) -> Markup:
    """What each step paid; `largest` fills the height."""
    return drawing(len(trace), bars(trace.reward_M, largest))
