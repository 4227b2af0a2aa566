"""Success of each method on each task, with an interval over episodes and one over seeds: pure statistics and text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tgrpo_envs.intervals import Z_95, wilson_interval

T_95 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
)  # fmt: skip
"""Quantiles of Student's t for a two-sided 95 % interval, from one degree of freedom on; `student_95` has the rest."""

ROLLOUTS = "rollouts"
ROLLOUTS_BLOCK = 4
"""Iterations whose training rollouts make one point of a curve: one has too few episodes."""


@dataclass(frozen=True)
class Outcome:
    """What a finished run achieved on one task, by the kind of its evaluation (`heldout_greedy` and the like)."""

    task: str
    method: str
    seed: int
    successes: dict[str, tuple[bool, ...]]
    """After the last iteration, episode by episode in the order of the states."""
    curves: dict[str, dict[int, float]]
    """Success rate by iteration, of each kind of evaluation and of the training rollouts (`ROLLOUTS`)."""

    def rate(self, kind: str) -> float:
        """Success rate after the last iteration."""
        return statistics.fmean(self.successes[kind])


@dataclass(frozen=True)
class MethodSuccess:
    """A row of the table: a method on a task."""

    task: str
    method: str
    rates: tuple[float, ...]
    """Of each finished seed."""
    num_successes: int
    num_episodes: int
    start: float
    """Mean success rate of the clones."""

    @property
    def mean(self) -> float:
        """Of the seeds."""
        return statistics.fmean(self.rates)

    @property
    def over_episodes(self) -> tuple[float, float]:
        """Wilson's 95 % interval of all seeds' episodes together: of these very policies, other episodes."""
        return wilson_interval(self.num_successes, self.num_episodes)

    @property
    def over_seeds(self) -> tuple[float, float] | None:
        """Student's 95 % interval of the mean: other seeds. None with a single seed."""
        return mean_interval(self.rates)


def success_table(outcomes: Sequence[Outcome], kind: str) -> tuple[MethodSuccess, ...]:
    """A row for each task and method that has a finished run, in the order in which they first appear.

    Args:
        outcomes: Of finished runs.
        kind: Which evaluation counts.
    """
    cells: dict[tuple[str, str], list[Outcome]] = {}
    for one in outcomes:
        cells.setdefault((one.task, one.method), []).append(one)
    return tuple(
        MethodSuccess(
            task=task,
            method=method,
            rates=tuple(one.rate(kind) for one in cell),
            num_successes=sum(sum(one.successes[kind]) for one in cell),
            num_episodes=sum(len(one.successes[kind]) for one in cell),
            start=statistics.fmean(one.curves[kind][0] for one in cell),
        )
        for (task, method), cell in cells.items()
    )


def rollout_curve(rows: Iterable[Mapping[str, float | None]]) -> dict[int, float]:
    """Mean success rate of the training rollouts of each block of iterations, by its last iteration.

    Args:
        rows: Of metrics.jsonl; those of evaluations do not count.
    """
    blocks: dict[int, dict[int, float]] = {}
    for row in rows:
        iteration, rate = row.get("iteration"), row.get("rollout/success_rate")
        if iteration is not None and rate is not None:
            blocks.setdefault((int(iteration) - 1) // ROLLOUTS_BLOCK, {})[int(iteration)] = rate
    return {max(block): statistics.fmean(block.values()) for block in blocks.values()}


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95 % interval of a mean, not cut at 0 or 1; None of fewer than two values."""
    if len(values) < 2:
        return None
    half = student_95(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return mean - half, mean + half


def student_95(degrees: int) -> float:
    """Quantile of Student's t for a two-sided 95 % interval.

    Args:
        degrees: Of freedom. Behind the table's end the quantile is expanded in 1 / degrees (Abramowitz and Stegun,
            26.7.5), right to the table's four digits.
    """
    if degrees <= len(T_95):
        return T_95[degrees - 1]
    z, n = Z_95, degrees
    terms = ((z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return z + sum(term / float(n) ** power for power, term in enumerate(terms, start=1))


def percent(interval: tuple[float, float] | None, style: str = ".0f") -> str:
    """An interval in percent, for example `[77, 94]`; nothing for None."""
    return "" if interval is None else f"[{100 * interval[0]:{style}}, {100 * interval[1]:{style}}]"
