"""What returns say of a group of episodes: whether they differ at all, and how well they order the members."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.sim.snapshot import FloatArray

MIN_GAP_STEPS = 10
"""Times that differ by less, half a second, are taken for equal: the expert's own scatter."""
MIN_SPREAD = 1e-6
"""Returns that differ by less are equal: group-relative advantages are 0."""


@dataclass(frozen=True)
class Order:
    """How well returns order pairs of episodes.

    Attributes:
        right: Pairs in the right order; pairs with equal returns count half.
        pairs: All pairs that the reference can order.
    """

    right: float
    pairs: int

    @property
    def index(self) -> float:
        """Harrell's C, the share in the right order: 0.5 is chance, 1 perfect; NaN without a pair."""
        return self.right / self.pairs if self.pairs else math.nan


def concordance(returns_N: FloatArray, steps_N: NDArray[np.int64], among: NDArray[np.bool_] | None = None) -> Order:
    """Harrell's concordance (Harrell et al. 1982) of returns with times to success; more return, less time.

    A pair can be ordered where the shorter time is known and the other is longer by `MIN_GAP_STEPS` or more, or
    unknown: then it is longer than the longest that was waited for.

    Args:
        returns_N: Return of each episode.
        steps_N: Control steps to success from its end; negative where it is not known.
        among: The episodes that count; None takes all.
    """
    time_N = np.where(steps_N < 0, math.inf, steps_N)
    counts_N = np.ones(len(time_N), dtype=bool) if among is None else among
    known_N = np.isfinite(time_N) & counts_N
    longer_NN = (time_N[None, :] >= time_N[:, None] + MIN_GAP_STEPS) & known_N[:, None] & counts_N[None, :]
    gain_NN = returns_N[:, None] - returns_N[None, :]
    score_NN = np.where(np.abs(gain_NN) < MIN_SPREAD, 0.5, gain_NN > 0)
    return Order(float(score_NN[longer_NN].sum()), int(longer_NN.sum()))


def has_spread(returns_N: FloatArray) -> bool:
    """Whether a group's returns differ, so that its advantages are not all 0."""
    return bool(np.ptp(returns_N) >= MIN_SPREAD)


def told_apart(returns_N: FloatArray) -> float:
    """Share of the pairs of a group whose returns differ."""
    rows, columns = np.triu_indices(len(returns_N), 1)
    return float((np.abs(returns_N[rows] - returns_N[columns]) >= MIN_SPREAD).mean())


def alike(a_N: FloatArray, b_N: FloatArray) -> float:
    """Pearson correlation of a group's returns under two rewards; NaN where one has no spread."""
    if not (has_spread(a_N) and has_spread(b_N)):
        return math.nan
    return float(np.corrcoef(a_N, b_N)[0, 1])


def pooled(orders: Iterable[Order]) -> Order:
    """All pairs of several groups together."""
    found = list(orders)
    return Order(sum(order.right for order in found), sum(order.pairs for order in found))


def mean(values: Sequence[float]) -> float:
    """Mean of the numbers among them; NaN where there is none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
