"""How decisions are drawn: where the random numbers of rows come from, and at which temperature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.policy.settings import MIN_TEMPERATURE

Randomness = torch.Generator | Sequence[torch.Generator] | None
"""One generator for all rows; or one for each row, which makes a row's draws independent of the rows beside it; or None
for torch's global one. Generators are on the policy's device."""


def drawn_like(
    values_N: Tensor, generator: Randomness, fill: Callable[[Tensor, torch.Generator | None], Tensor]
) -> Tensor:
    """Random numbers of the same shape (N rows and any further axes).

    Args:
        values_N: Only its shape, type and device count.
        generator: Source.
        fill: Fills a tensor with numbers from a generator, in place.
    """
    drawn_N = torch.empty_like(values_N)
    if not isinstance(generator, Sequence):
        return fill(drawn_N, generator)
    for row, own in zip(drawn_N, generator, strict=True):
        fill(row, own)
    return drawn_N


def check_temperature(temperature: float) -> None:
    """Refuse what no distribution can be divided by.

    Raises:
        ConfigError: It is below MIN_TEMPERATURE or not finite.
    """
    if not MIN_TEMPERATURE <= temperature < math.inf:
        raise ConfigError(
            f"temperature is {temperature}; use a value of at least {MIN_TEMPERATURE:g}, or greedy=True for the most "
            "probable action."
        )
