"""What predicates and ramps are made of: a quantity, its limit, and how the two must compare.

A predicate holds when all of its measures keep to their limits. A ramp has one measure, and what is left of it is how
far that is from its limit. Explanations read the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tgrpo_envs.rewards.entities import Moment
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray

Relation = Literal["<=", "<", ">=", ">"]
Unit = Literal["m", "rad", "deg", "m/s", ""]

_SMALLEST = float(np.nextafter(0.0, 1.0))

YES_NO: Unit = ""
"""Unit of a measure that is 1 or 0."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of each environment: a function of `quantities` and what it takes besides the moment.

    Equal quantities of a spec are computed once.
    """

    function: Callable[..., FloatArray | BoolArray]
    arguments: tuple[Hashable, ...]

    def at(self, moment: Moment) -> FloatArray | BoolArray:
        """The quantity at a moment, (N,)."""
        return self.function(moment, *self.arguments)


@dataclass(frozen=True, slots=True)
class Measure:
    """A quantity and what a predicate wants of it.

    Attributes:
        name: What is measured.
        unit: Unit of quantity and limit.
        quantity: The number.
        relation: How it must compare with the limit.
        limit: The limit.
        of_start: The limit is this share of the quantity at reset.
    """

    name: str
    unit: Unit
    quantity: Quantity
    relation: Relation
    limit: float
    of_start: bool = False


def at_most(name: str, unit: Unit, limit: float, function: Callable[..., FloatArray], *arguments: Any) -> Measure:
    """The quantity `function(moment, *arguments)` must not exceed the limit."""
    return Measure(name, unit, Quantity(function, arguments), "<=", limit)


def at_least(name: str, unit: Unit, limit: float, function: Callable[..., FloatArray], *arguments: Any) -> Measure:
    """The quantity `function(moment, *arguments)` must reach the limit."""
    return Measure(name, unit, Quantity(function, arguments), ">=", limit)


def below(name: str, unit: Unit, limit: float, function: Callable[..., FloatArray], *arguments: Any) -> Measure:
    """The quantity `function(moment, *arguments)` must stay below the limit."""
    return Measure(name, unit, Quantity(function, arguments), "<", limit)


def yes(name: str, function: Callable[..., BoolArray], *arguments: Any) -> Measure:
    """`function(moment, *arguments)` must be true."""
    return Measure(name, YES_NO, Quantity(function, arguments), ">=", 1.0)


def no(name: str, function: Callable[..., BoolArray], *arguments: Any) -> Measure:
    """`function(moment, *arguments)` must be false."""
    return Measure(name, YES_NO, Quantity(function, arguments), "<=", 0.0)


@dataclass(frozen=True, slots=True)
class Readings:
    """M measures at a moment.

    Attributes:
        value_MN: The quantities, 1 and 0 for yes and no.
        limit_MN: Their limits.
        room_MN: How far inside its limit each is; negative outside, NaN for a diverged environment.
        holds_MN: Whether each keeps to its limit.
    """

    value_MN: FloatArray
    limit_MN: FloatArray
    room_MN: FloatArray
    holds_MN: BoolArray


class MeasureTable:
    """Several measures, taken together.

    Args:
        measures: M measures.
    """

    def __init__(self, measures: Sequence[Measure]) -> None:
        self._quantities = tuple(dict.fromkeys(measure.quantity for measure in measures))
        self._rows_M = np.array([self._quantities.index(measure.quantity) for measure in measures])
        self._limit_M1 = np.array([[measure.limit] for measure in measures])
        self._sign_M1 = np.array([[1.0 if measure.relation in ("<=", "<") else -1.0] for measure in measures])
        # More room than none is at least the smallest number over 0.
        self._needed_M1 = np.array([[0.0 if "=" in measure.relation else _SMALLEST] for measure in measures])
        self._of_start = [(m, measure.quantity) for m, measure in enumerate(measures) if measure.of_start]

    def read(self, moment: Moment) -> Readings:
        """Take all measures at a moment."""
        value_QN = np.empty((len(self._quantities), len(moment.goal_NC)))
        for q, quantity in enumerate(self._quantities):
            value_QN[q] = quantity.at(moment)
        value_MN = value_QN.take(self._rows_M, axis=0)
        limit_MN = self._limit_M1.repeat(value_QN.shape[1], axis=1)
        for m, quantity in self._of_start:
            limit_MN[m] *= quantity.at(Moment(moment.start, moment.start, moment.goal_NC))
        # The difference of two numbers is 0 only if they are equal: it says all that comparing them would.
        room_MN = self._sign_M1 * (limit_MN - value_MN)
        holds_MN = room_MN >= self._needed_M1
        return Readings(value_MN, limit_MN, room_MN, holds_MN)
