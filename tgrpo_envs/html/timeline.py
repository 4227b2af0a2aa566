"""Timelines: rows of small drawings without text, stretched to one width, so that all of them share their time axis."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.html import Markup

BLUE, GREEN, RED, PURPLE = "#1b6ca8", "#3a9d5d", "#b44d12", "#6d2f78"
EMPTY, OPEN = "#eef1f4", "#fbecc8"  # of a stage that is not being worked on, and of one that is
GRID = "#e4e7eb"
MAX_TICKS = 9

Value = TypeVar("Value")

_HEIGHT = 100.0  # of every drawing, in its own units


@dataclass(frozen=True)
class Row:
    """One row of a timeline; the macro `row` of parts.html writes it.

    Attributes:
        label: What the row shows.
        drawing: SVG.
        kind: CSS class: "" (a stage), "tall", "bars" or "thin".
        id: Names the element that a script fills with what the row reads at a moment; "" is none.
    """

    label: str
    drawing: Markup
    kind: str = ""
    id: str = ""


def drawing(steps: int, content: Iterable[str]) -> Markup:
    """An SVG whose x runs from 0 to `steps` and whose y runs down from 0 to 100.

    Args:
        steps: Length of the time axis.
        content: Elements made by this file's functions, or others that hold numbers only.
    """
    return Markup(
        f'<svg viewBox="0 0 {max(steps, 1)} {_HEIGHT:g}" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(content)}</svg>"
    )


def stretches(values: Sequence[Value]) -> Iterator[tuple[int, int, Value]]:
    """(start, end, value) of each stretch of equal values; value i lasts from i to i + 1."""
    start = 0
    for end in range(1, len(values) + 1):
        if end == len(values) or values[end] != values[start]:
            yield start, end, values[start]
            start = end


def band(start: float, end: float, fill: str) -> str:
    """Fill the height from one moment to another."""
    return f'<rect x="{start:g}" y="0" width="{end - start:g}" height="{_HEIGHT:g}" fill="{fill}"/>'


def line(values_M: NDArray[Any], colour: str) -> str:
    """A curve through values from 0 to 1: steps rather than slopes, for moment m fills the step before it."""
    heights = [f"{_HEIGHT * (1 - 0.96 * float(value) - 0.02):.2f}" for value in values_M]
    path = "".join([f"M0 {heights[0]}", *(f"V{height}H{end}" for _, end, height in stretches(heights[1:]))])
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2" vector-effect="non-scaling-stroke"/>'


def area(values_M: NDArray[Any], colour: str) -> str:
    """The area under values from 0 to 1; moment m fills the step before it."""
    heights = [f"{_HEIGHT * (1 - float(value)):.2f}" for value in values_M[1:]]
    corners = "".join(f"V{height}H{end}" for _, end, height in stretches(heights))
    return f'<path d="M0 {_HEIGHT:g}{corners}V{_HEIGHT:g}Z" fill="{colour}"/>'


def rule(share: float, steps: int) -> str:
    """A thin line at a value from 0 to 1."""
    y = _HEIGHT * (1 - 0.96 * share - 0.02)
    return f'<path d="M0 {y:.2f}H{steps}" stroke="{GRID}" vector-effect="non-scaling-stroke"/>'


def bars(values_M: NDArray[Any], largest: float) -> list[str]:
    """Values as bars from the middle, gains up and losses down; moment m fills the step before it.

    Args:
        values_M: The values.
        largest: The value, positive or negative, that fills the height; larger ones are cut.
    """
    middle = _HEIGHT / 2
    drawn = [f'<path d="M0 {middle:g}H{len(values_M) - 1}" stroke="#cbd2d9" vector-effect="non-scaling-stroke"/>']
    for m in np.flatnonzero(values_M):
        size = min(abs(float(values_M[m])) / largest, 1.0) * middle
        top, colour = (middle - size, GREEN) if values_M[m] > 0 else (middle, RED)
        drawn.append(f'<rect x="{m - 1}" y="{top:.2f}" width="1" height="{size:.2f}" fill="{colour}"/>')
    return drawn


def ticks(end: float, unit: float = 1.0) -> list[tuple[float, str]]:
    """(share of the width, text) of the marks of an axis from 0 to `end`, at round places.

    Args:
        end: Length of the axis.
        unit: Smallest distance of two marks; distances are 1, 2 or 5 times a power of ten of it.
    """
    end = max(end, unit)
    sizes = (digit * 10**power * unit for power in itertools.count() for digit in (1, 2, 5))
    every = next(size for size in sizes if end / size <= MAX_TICKS)
    return [(i * every / end, f"{i * every:g}") for i in range(int(end / every + 1e-9) + 1)]
