"""Densities of drawn numbers: beside torch's, beside numerical integrals, and what is drawn has the spread it says."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from torch.distributions import Laplace, Normal

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.objectives.loss import clipped_loss
from tgrpo_trainer.policy.densities import Density, draw_numbers, entropy, log_density, tempered

THEIRS: dict[Density, Any] = {"gaussian": Normal, "laplace": Laplace}  # torch has no types here
DENSITIES: tuple[Density, ...] = get_args(Density)
GRID = torch.linspace(-40.0, 40.0, 800_001, dtype=torch.float64)
STEP = float(GRID[1] - GRID[0])


@pytest.mark.parametrize("density", DENSITIES)
def test_they_are_torchs(density: Density) -> None:
    generator = torch.Generator().manual_seed(0)
    mean_NK, values_NK = torch.randn(2, 50, 14, generator=generator).unbind()
    scale_K = torch.rand(14, generator=generator) + 0.05
    theirs = THEIRS[density](mean_NK, scale_K)
    torch.testing.assert_close(log_density(density, values_NK, mean_NK, scale_K), theirs.log_prob(values_NK))
    torch.testing.assert_close(entropy(density, scale_K).expand_as(mean_NK), theirs.entropy())


def test_by_hand() -> None:
    # Laplace with scale 1/2 at distance 1 of its mean: log(1 / (2 / 2)) - 1 / (1/2) = -2; entropy 1 + log(1) = 1.
    half, three, two = (torch.tensor([[value]]) for value in (0.5, 3.0, 2.0))
    assert log_density("laplace", three, two, half[0]).item() == -2.0 and entropy("laplace", half[0]).item() == 1.0
    # At temperature 3 the same with scale 3/2; a Gaussian's variance is 3 times as large.
    assert tempered("laplace", half[0], 3.0).item() == 1.5
    assert tempered("gaussian", half[0], 4.0).item() == 1.0


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.6])
def test_a_temperature_divides_the_logarithm_and_the_integrals_agree(density: Density, temperature: float) -> None:
    mean, scale = torch.tensor([[0.7]], dtype=torch.float64), torch.tensor([0.4], dtype=torch.float64)
    cold = log_density(density, GRID[:, None], mean, scale)[:, 0]
    logp = log_density(density, GRID[:, None], mean, tempered(density, scale, temperature))[:, 0]
    powered = cold / temperature
    powered = powered - torch.log(powered.exp().sum() * STEP)  # normalised by the integral
    torch.testing.assert_close(logp, powered, rtol=0, atol=1e-5)
    assert (logp.exp().sum() * STEP).item() == pytest.approx(1.0, abs=1e-6)
    integral = -(logp.exp() * logp).sum() * STEP
    assert entropy(density, tempered(density, scale, temperature)).item() == pytest.approx(integral.item(), abs=1e-6)


@pytest.mark.parametrize("density", DENSITIES)
def test_what_is_drawn_has_the_density(density: Density) -> None:
    mean_NK, scale_K = torch.zeros(200_000, 2), torch.tensor([0.1, 2.0])
    drawn_NK = draw_numbers(density, mean_NK, scale_K, torch.Generator().manual_seed(0))
    assert drawn_NK.mean(0).abs().max() < 0.02
    for quantile in (0.05, 0.25, 0.6, 0.95):
        expected = THEIRS[density](torch.zeros(2), scale_K).icdf(torch.tensor(quantile))
        torch.testing.assert_close(drawn_NK.quantile(quantile, dim=0) / scale_K, expected / scale_K, rtol=0, atol=0.02)
    # A row's numbers come from its own generator.
    rows = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    both = draw_numbers(density, mean_NK[:2], scale_K, rows)
    assert torch.equal(both[1:], draw_numbers(density, mean_NK[:1], scale_K, [torch.Generator().manual_seed(6)]))


@pytest.mark.parametrize("density", DENSITIES)
def test_the_trainers_kl_is_the_closed_form_on_average(density: Density) -> None:
    """KL of two densities: for Laplace log(b2/b1) + (b1 exp(-|m1-m2|/b1) + |m1-m2|) / b2 - 1."""
    (m1, s1), (m2, s2) = (0.1, 0.3), (0.3, 0.4)
    if density == "laplace":
        closed = math.log(s2 / s1) + (s1 * math.exp(-abs(m1 - m2) / s1) + abs(m1 - m2)) / s2 - 1.0
    else:
        closed = math.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5
    one, other = torch.tensor(m1, dtype=torch.float64), torch.tensor(m2, dtype=torch.float64)
    scale1, scale2 = torch.tensor([s1], dtype=torch.float64), torch.tensor([s2], dtype=torch.float64)
    logp, ref = (log_density(density, GRID[:, None], m, s) for m, s in ((one, scale1), (other, scale2)))
    assert (logp.exp() * (logp - ref)).sum().item() * STEP == pytest.approx(closed, abs=1e-5)
    drawn = draw_numbers(density, one.expand(400_000, 1), scale1, torch.Generator().manual_seed(0))
    logp, ref = (log_density(density, drawn, m, s) for m, s in ((one, scale1), (other, scale2)))
    rows = len(drawn)
    _, metrics = clipped_loss(
        logp,
        logp,
        ref,
        torch.zeros(rows),
        torch.ones(rows, 1, dtype=torch.bool),
        torch.full((rows,), 1.0 / rows, dtype=torch.float64),
        denominator=1.0,
        entropy_NK=torch.zeros(rows, 1),
        beta=1.0,
    )
    assert metrics["kl"].item() == pytest.approx(closed, rel=0.02)


@pytest.mark.parametrize("density", DENSITIES)
def test_a_temperature_is_above_0(density: Density) -> None:
    with pytest.raises(ConfigError, match="temperature is 0"):
        tempered(density, torch.ones(1), 0.0)
