"""Real numbers drawn around a mean: Gaussian and Laplace densities, in closed form and float32.

    gaussian  log p = -((x - mean) / scale)^2 / 2 - log(scale) - log(2 pi) / 2    entropy = log(2 pi e) / 2 + log(scale)
    laplace   log p = -|x - mean| / scale - log(2 scale)                          entropy = 1 + log(2 scale)

A temperature divides the logarithm of a density as it divides logits: the same density with a wider scale comes out.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from tgrpo_trainer.policy.randomness import Randomness, check_temperature, drawn_like

Density = Literal["gaussian", "laplace"]


def tempered(density: Density, scale: Tensor, temperature: float) -> Tensor:
    """The scale of a density at a temperature.

    Raises:
        ConfigError: temperature is not above 0.
    """
    check_temperature(temperature)
    return scale * (math.sqrt(temperature) if density == "gaussian" else temperature)


def draw_numbers(density: Density, mean_NK: Tensor, scale_K: Tensor, generator: Randomness) -> Tensor:
    """One number from each density."""
    if density == "gaussian":
        noise_NK = drawn_like(mean_NK, generator, _fill_normal)
    else:  # the difference of two waiting times
        noise_NK = drawn_like(mean_NK, generator, _fill_exponential) - drawn_like(mean_NK, generator, _fill_exponential)
    return mean_NK + scale_K * noise_NK


def log_density(density: Density, values_NK: Tensor, mean_NK: Tensor, scale_K: Tensor) -> Tensor:
    """Logarithm of the density of each number."""
    if density == "gaussian":
        return -0.5 * ((values_NK - mean_NK) / scale_K) ** 2 - scale_K.log() - 0.5 * math.log(2.0 * math.pi)
    return -(values_NK - mean_NK).abs() / scale_K - (2.0 * scale_K).log()


def entropy(density: Density, scale_K: Tensor) -> Tensor:
    """In nats a number; it does not depend on the mean."""
    if density == "gaussian":
        return 0.5 * math.log(2.0 * math.pi * math.e) + scale_K.log()
    return 1.0 + (2.0 * scale_K).log()


def _fill_normal(values: Tensor, generator: torch.Generator | None) -> Tensor:
    return values.normal_(generator=generator)


def _fill_exponential(values: Tensor, generator: torch.Generator | None) -> Tensor:
    return values.exponential_(generator=generator)
