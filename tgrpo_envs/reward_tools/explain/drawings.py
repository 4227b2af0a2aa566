"""Drawings over time as small SVGs without text, stretched to the width of their row; x is the moment, 0 to T."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from tgrpo_envs.reward_tools.explain.wording import State, stage_state
from tgrpo_envs.rewards.trace import Trace
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray

BLUE, GREEN, RED, PURPLE = "#1b6ca8", "#3a9d5d", "#b44d12", "#6d2f78"
STATE_FILLS = {
    State.WAITS: "#eef1f4",
    State.BLOCKED: "#f6d5c3",
    State.OPEN: "#fbecc8",
    State.DONE: GREEN,
    State.GOAL: "#8fcaa2",
}
CREDIT_FILL = "#e0a52e"
TRUE_FILL, FALSE_FILL, BROKEN_FILL = "#5fa8b8", "#eef1f4", RED
CURVE_COLOURS = {"φ": BLUE, "M": GREEN, "ψ": PURPLE}

Value = TypeVar("Value")

_HEIGHT = 100.0  # of every drawing, in its own units


def stage_strip(trace: Trace, k: int) -> str:
    """Stage k over time: waiting, open with its ramp's credit as an area, blocked, or done."""
    states = [stage_state(trace, k, m) for m in range(len(trace) + 1)]
    bands = "".join(_band(start, end, STATE_FILLS[state]) for start, end, state in _runs(states))
    credit_M = np.where(trace.verdict.done_KN[k], 0.0, trace.verdict.credit_KN[k])
    return _svg(len(trace), bands + _area(credit_M, CREDIT_FILL))


def truth_strip(trace: Trace, truth_M: BoolArray, *, false_fill: str = FALSE_FILL) -> str:
    """When a condition held."""
    bands = _runs([bool(holds) for holds in truth_M])
    return _svg(len(trace), "".join(_band(a, b, TRUE_FILL if holds else false_fill) for a, b, holds in bands))


def progress_curves(trace: Trace, largest: float) -> str:
    """Progress, best so far and paid progress, from 0 to `largest`."""
    values = {"M": trace.best_M, "φ": trace.progress_M, "ψ": trace.psi_M}
    grid = "".join(_rule(share) for share in (0.0, 0.5, 1.0))
    lines = "".join(_line(values_M / largest, CURVE_COLOURS[name]) for name, values_M in values.items())
    return _svg(len(trace), grid + lines)


def reward_bars(trace: Trace, largest: float) -> str:
    """What each step paid, gains up and losses down from the middle.

    Args:
        trace: The episode.
        largest: The reward, positive or negative, that fills the height; larger ones are cut.
    """
    middle = _HEIGHT / 2
    bars = [f'<path d="M0 {middle}H{len(trace)}" stroke="#cbd2d9" vector-effect="non-scaling-stroke"/>']
    for m, reward in enumerate(trace.reward_M):
        if reward:
            size = min(abs(float(reward)) / largest, 1.0) * middle
            top = middle - size if reward > 0 else middle
            colour = GREEN if reward > 0 else RED
            bars.append(f'<rect x="{m - 1}" y="{top:.2f}" width="1" height="{size:.2f}" fill="{colour}"/>')
    return _svg(len(trace), "".join(bars))


def _svg(steps: int, content: str) -> str:
    return (
        f'<svg viewBox="0 0 {max(steps, 1)} {_HEIGHT:g}" preserveAspectRatio="none" aria-hidden="true">{content}</svg>'
    )


def _runs(values: Sequence[Value]) -> Iterator[tuple[int, int, Value]]:
    """(first, end, value) of each stretch of equal values; moment m fills the step before it, the reset none."""
    start = 1
    for m in range(1, len(values)):
        if m + 1 == len(values) or values[m + 1] != values[m]:
            yield start - 1, m, values[m]
            start = m + 1


def _band(start: int, end: int, fill: str) -> str:
    return f'<rect x="{start}" y="0" width="{end - start}" height="{_HEIGHT:g}" fill="{fill}"/>'


def _line(values_M: FloatArray, colour: str) -> str:
    heights = [f"{_HEIGHT * (1 - 0.96 * float(value) - 0.02):.2f}" for value in values_M]
    # Steps rather than slopes: a value belongs to the whole control step before its moment.
    path = "".join([f"M0 {heights[0]}", *(f"V{height}H{m}" for m, height in enumerate(heights[1:], start=1))])
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2" vector-effect="non-scaling-stroke"/>'


def _area(values_M: FloatArray, colour: str) -> str:
    corners = "".join(f"V{_HEIGHT * (1 - float(value)):.2f}H{m}" for m, value in enumerate(values_M) if m)
    return f'<path d="M0 {_HEIGHT:g}{corners}V{_HEIGHT:g}Z" fill="{colour}"/>'


def _rule(share: float) -> str:
    y = _HEIGHT * (1 - 0.96 * share - 0.02)
    return f'<path d="M0 {y:.2f}H100000" stroke="#e4e7eb" vector-effect="non-scaling-stroke"/>'
