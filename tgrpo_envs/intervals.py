"""The Wilson interval of a success rate: k successes of n episodes."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""


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
    """k/n, rate and interval as text, for example `56/64 = 88% [77%, 94%]`."""
    low, high = wilson_interval(num_successes, num_trials)
    return f"{num_successes}/{num_trials} = {num_successes / num_trials:.0%} [{low:.0%}, {high:.0%}]"
