"""Metrics of a progress signal: pure functions of recorded progress, each with its formula.

phi is the progress after each control step, M its maximum so far; `docs/rewards.md`, section "Certificates".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tgrpo_envs.base_settings import Frozen
from tgrpo_envs.sim.snapshot import FloatArray

RESAMPLES = 1000
CONFIDENCE = 0.95
STILL = 1e-3  # progress that moves less in a control step counts as standing still: far below any quantum
_TINY = 1e-12


class Estimate(Frozen):
    """A mean or rate over episodes with its bootstrap interval.

    Attributes:
        value: The estimate; None where there was nothing to measure.
        low: Lower end of the 95 % interval.
        high: Upper end.
        n: Episodes it rests on.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        return "-" if self.value is None else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}], n={self.n}"


def auc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """P(positive > negative) + P(equal) / 2, over all pairs; NaN where one side is empty."""
    high, low = np.asarray(positives, dtype=float)[:, None], np.asarray(negatives, dtype=float)[None, :]
    if not high.size or not low.size:
        return math.nan
    return float(((high > low) + 0.5 * (high == low)).mean())


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Correlation of ranks, ties sharing their mean rank; 0 where one side is constant and so orders nothing."""
    ranks = [_ranks(np.asarray(values, dtype=float)) for values in (x, y)]
    a, b = (rank - rank.mean() for rank in ranks)
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > _TINY else 0.0


def order_with_time(phi_T: FloatArray) -> float:
    """VOC, value-order correlation: Spearman of progress with time."""
    return spearman(phi_T, np.arange(len(phi_T)))


def backsliding(phi_T: FloatArray) -> float:
    """MV, monotonicity violation: what progress fell, as a share of all it moved."""
    step = np.diff(phi_T)
    travel = float(np.abs(step).sum())
    return float(np.maximum(-step, 0.0).sum()) / travel if travel > _TINY else 0.0


def dead_time(phi_T: FloatArray) -> float:
    """Share of control steps in which progress stands still."""
    step = np.abs(np.diff(phi_T))
    return float((step < STILL).mean()) if len(step) else 0.0


def longest_plateau(phi_T: FloatArray) -> float:
    """Longest stretch in which progress stands still, as a share of the episode."""
    still = np.abs(np.diff(phi_T)) < STILL
    if not len(still):
        return 0.0
    ends = np.flatnonzero(~np.concatenate([[False], still, [False]]))
    return float((np.diff(ends) - 1).max()) / len(still)


def density(stage_T: NDArray[np.int64], num_stages: int) -> float:
    """How evenly an episode's time is spread over the stages: entropy of the shares over ln K; 1 is even.

    Args:
        stage_T: First stage that is not done, K once all are; that time is left out.
        num_stages: K.
    """
    spent_K = np.bincount(stage_T, minlength=num_stages + 1)[:num_stages].astype(float)
    share_K = spent_K / max(spent_K.sum(), 1.0)
    share_K = share_K[share_K > 0]
    return float(-(share_K * np.log(share_K)).sum()) / math.log(num_stages) if num_stages > 1 else 1.0


def order_agreement(
    edges: Sequence[tuple[int, int]], first_rise_K: Sequence[float], last_rise_K: Sequence[float]
) -> float:
    """Share of the edges (i, j) of the stage graph along which j turns true no earlier than i.

    A condition may turn true in passing, long before its turn, so an edge holds when i's first time is not after j's
    last. A time is NaN where a condition never turns: such an edge is not judged.

    Returns:
        1 where no edge can be judged.
    """
    times = [(first_rise_K[i], last_rise_K[j]) for i, j in edges]
    known = [(i, j) for i, j in times if not (math.isnan(i) or math.isnan(j))]
    return sum(i <= j for i, j in known) / len(known) if known else 1.0


def pairs_in_order(scores: Sequence[float]) -> float:
    """Share of pairs in which the later score is larger; equal ones count half."""
    pairs = [(scores[i], scores[j]) for j in range(len(scores)) for i in range(j)]
    return sum((later > earlier) + 0.5 * (later == earlier) for earlier, later in pairs) / len(pairs)


def margin(successes: ArrayLike, failures: ArrayLike) -> float:
    """Least return of a success less the largest of a failure; NaN where one side is empty."""
    high, low = np.asarray(successes, dtype=float), np.asarray(failures, dtype=float)
    return float(high.min() - low.max()) if high.size and low.size else math.nan


def bootstrap(
    samples: Sequence[ArrayLike], statistic: Callable[..., float] = lambda values: float(np.mean(values)), seed: int = 0
) -> Estimate:
    """A statistic with its percentile interval: each sample's episodes are drawn anew, with replacement.

    Args:
        samples: One array of per-episode numbers for each argument of the statistic.
        statistic: The mean, unless said otherwise.
        seed: Of the draws.
    """
    arrays = [np.asarray(sample, dtype=float) for sample in samples]
    n = sum(len(array) for array in arrays)
    if any(not len(array) for array in arrays):
        return Estimate(value=None, low=None, high=None, n=n)
    rng = np.random.default_rng(seed)
    drawn = [
        statistic(*(array[rng.integers(len(array), size=len(array))] for array in arrays)) for _ in range(RESAMPLES)
    ]
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(drawn, [tail, 100.0 - tail])
    return Estimate(value=statistic(*arrays), low=float(low), high=float(high), n=n)


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks from 0, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    ranks: FloatArray = (last - (counts - 1) / 2)[inverse]
    return ranks
