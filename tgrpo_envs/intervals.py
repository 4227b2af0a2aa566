"""The Wilson interval of a success rate: k successes of n episodes."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""
TENTHS_FROM = 100
"""Trials from which a rate is given to a tenth of a percent; with fewer, a single trial is more than one percent."""


def wilson_interval(num_successes: int, num_trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a success rate (Wilson 1927): sensible at 0/n and n/n, where k/n +- z s is not.

    Raises:
        ValueError: Not 0 <= num_successes <= num_trials with at least one trial.
    """
    if num_trials < 1 or not 0 <= num_successes <= num_trials:
        raise ValueError(f"{num_successes} successes of {num_trials} trials is not a proportion.")
    rate, spread = num_successes / num_trials, z * z / num_trials
    centre = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(rate * (1 - rate) / num_trials + spread / (4 * num_trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def counted(num_successes: int, num_trials: int) -> str:
    """k/n, rate and interval as text, for example `56/64 = 88% [77%, 94%]` or `423/500 = 84.6% [81.2%, 87.5%]`."""
    numbers = num_successes / num_trials, *wilson_interval(num_successes, num_trials)
    rate, low, high = (rate_text(each, num_trials) for each in numbers)
    return f"{num_successes}/{num_trials} = {rate} [{low}, {high}]"


def rate_text(rate: float, num_trials: int) -> str:
    """A rate of that many trials in percent: with tenths, as benchmarks are published, where they say something.

    Args:
        rate: The rate, or a bound of its interval, from 0 to 1.
        num_trials: Trials it was counted over.
    """
    return f"{rate:.1%}" if num_trials >= TENTHS_FROM else f"{rate:.0%}"
