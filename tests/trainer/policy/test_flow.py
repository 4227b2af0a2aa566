"""The stochastic sampler of flows: exact log-probabilities, the ODE's marginals, and paths that learn."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.policy.flow import FlowSampler

DRAWN_K = torch.tensor([3, 0])
"""Of four numbers two get noise, in another order than they lie in."""


def curved(x_NX: Tensor, t: float) -> Tensor:
    """A flow that is no line and mixes the numbers."""
    mixed_NX = x_NX @ torch.tensor([[0.5, 0.2, 0, 1], [0, 1, 0.3, -1], [0.7, 0, -0.4, 0], [-0.2, 0.1, 0.9, 0.3]])
    return torch.sin(2 * mixed_NX) + t * mixed_NX - 0.3


def starts(rows: int, numbers: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(rows, numbers, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_log_probabilities_are_the_product_of_torchs_normals_along_the_path(temperature: float) -> None:
    steps, level = 5, 0.8
    sampler, start_NX = FlowSampler(steps, level), starts(7)
    walk = sampler.draw(curved, start_NX, DRAWN_K, temperature=temperature, generator=torch.Generator().manual_seed(1))
    x_NX, expected_NK, entropy = start_NX.clone(), torch.zeros(7, 2), 0.0
    for index in range(steps):
        t, dt = 1 - index / steps, 1 / steps
        v_NX = curved(x_NX, t)
        score_NX = -(x_NX + (1 - t) * v_NX) / t
        sigma = level * math.sqrt(t)
        mean_NX = x_NX - dt * v_NX + dt * sigma**2 / 2 * score_NX
        normal: Any = Normal(mean_NX[:, DRAWN_K], sigma * math.sqrt(dt * temperature))  # torch has no types here
        expected_NK += normal.log_prob(walk.path_NSK[:, index])
        entropy += normal.entropy()[0, 0].item()
        x_NX = x_NX - dt * v_NX  # what has no noise follows the ODE
        x_NX[:, DRAWN_K] = walk.path_NSK[:, index]
    torch.testing.assert_close(walk.logp_NK, expected_NK, rtol=0, atol=2e-5)
    torch.testing.assert_close(walk.last_NK, normal.mean)
    assert sampler.entropy(temperature) == pytest.approx(entropy, abs=1e-5)


def test_scoring_what_was_drawn_gives_the_same_bits() -> None:
    sampler, start_NX = FlowSampler(6, 1.0), starts(50)
    drawn = sampler.draw(curved, start_NX, DRAWN_K, generator=torch.Generator().manual_seed(1))
    scored = sampler.score(curved, start_NX, DRAWN_K, drawn.path_NSK)
    assert torch.equal(scored.logp_NK, drawn.logp_NK) and torch.equal(scored.path_NSK, drawn.path_NSK)


def test_without_noise_it_is_the_odes_path() -> None:
    sampler, start_NX = FlowSampler(8, 1.0), starts(3)
    x_NX = start_NX
    for index in range(8):
        x_NX = x_NX - curved(x_NX, 1 - index / 8) / 8
    followed = sampler.follow(curved, start_NX, DRAWN_K)
    torch.testing.assert_close(followed.path_NSK[:, -1], x_NX[:, DRAWN_K])
    scored = sampler.score(curved, start_NX, DRAWN_K, followed.path_NSK)
    assert torch.equal(scored.logp_NK, followed.logp_NK)
    # Little noise leads where the ODE leads.
    still = FlowSampler(8, 1e-4).draw(curved, start_NX, DRAWN_K, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(still.path_NSK[:, -1], x_NX[:, DRAWN_K], rtol=0, atol=2e-3)


def test_densities_integrate_to_one_and_tell_how_often_actions_are_drawn() -> None:
    """One number, two steps: the integral over the first gives the action's density, beside a histogram of draws."""

    def velocity(x_NX: Tensor, t: float) -> Tensor:
        return torch.sin(x_NX) + 0.5 * t

    sampler, only, start = FlowSampler(2, 1.0), torch.tensor([0]), 0.4
    grid = torch.linspace(-5, 5, 501)
    step = float(grid[1] - grid[0])
    first, last = (axis.flatten() for axis in torch.meshgrid(grid, grid, indexing="ij"))
    paths_NSK = torch.stack([first, last], dim=1)[:, :, None]
    logp = sampler.score(velocity, torch.full((len(first), 1), start), only, paths_NSK).logp_NK
    density = logp.exp().view(501, 501) * step  # first steps down the rows
    assert (density.sum() * step).item() == pytest.approx(1.0, abs=1e-4)
    drawn = sampler.draw(velocity, torch.full((400_000, 1), start), only, generator=torch.Generator().manual_seed(3))
    action, marginal = drawn.path_NSK[:, -1, 0], density.sum(0)
    for low, high in ((-5.01, -0.81), (-0.81, -0.21), (-0.21, 0.09), (0.09, 5.01)):  # half way between grid points
        expected = marginal[(grid > low) & (grid < high)].sum().item() * step
        assert 0.1 < expected < 0.6
        assert ((action > low) & (action < high)).float().mean().item() == pytest.approx(expected, abs=0.003)


MEAN_X, COVARIANCE_XX = torch.tensor([0.5, -1.0]), torch.tensor([[0.6, 0.35], [0.35, 0.3]])


def gaussian_flow(x_NX: Tensor, t: float) -> Tensor:
    """v of actions ~ N(MEAN_X, COVARIANCE_XX) in closed form: E[noise | x] - E[action | x]."""
    inverse_XX = torch.linalg.inv(t**2 * torch.eye(2) + (1 - t) ** 2 * COVARIANCE_XX)
    solved_NX = (x_NX - (1 - t) * MEAN_X) @ inverse_XX
    velocity_NX: Tensor = t * solved_NX - (MEAN_X + (1 - t) * solved_NX @ COVARIANCE_XX)
    return velocity_NX


@pytest.mark.parametrize("drawn_K", [torch.tensor([0, 1]), torch.tensor([1])], ids=["noise on both", "noise on one"])
def test_the_marginal_is_the_odes(drawn_K: Tensor) -> None:
    """The actions come out with their own mean and covariance, also where only one number gets noise."""
    sampler, start_NX = FlowSampler(100, 1.5), starts(40_000, 2)
    walk = sampler.draw(gaussian_flow, start_NX, drawn_K, generator=torch.Generator().manual_seed(1))
    everything = torch.arange(2)
    ode_NX = sampler.follow(gaussian_flow, start_NX, everything).path_NSK[:, -1]
    x_NX = ode_NX.clone()
    x_NX[:, drawn_K] = walk.path_NSK[:, -1]
    if len(drawn_K) == 1:  # the other follows the ODE beside the drawn one
        x_NX[:, 0] = _others(sampler, start_NX, drawn_K, walk.path_NSK)
    for found_NX in (ode_NX, x_NX):
        torch.testing.assert_close(found_NX.mean(0), MEAN_X, rtol=0, atol=0.02)
        torch.testing.assert_close(found_NX.T.cov(), COVARIANCE_XX, rtol=0, atol=0.02)
    # The same starts lead elsewhere.
    assert (x_NX - ode_NX)[:, drawn_K].std() > 0.2


def _others(sampler: FlowSampler, start_NX: Tensor, drawn_K: Tensor, path_NSK: Tensor) -> Tensor:
    seen: list[tuple[Tensor, Tensor]] = []

    def watched(x_NX: Tensor, t: float) -> Tensor:
        seen.append((x_NX, gaussian_flow(x_NX, t)))
        return seen[-1][1]

    sampler.score(watched, start_NX, drawn_K, path_NSK)
    x_NX, v_NX = seen[-1]
    return (x_NX - v_NX / sampler.num_steps)[:, 0]


def test_gradients_are_those_of_the_closed_form() -> None:
    """A flow that is w everywhere: d logp / dw = -sum (x' - mean) / std^2 (D + D level^2 (1 - t) / 2)."""
    steps, level, w = 4, 0.9, torch.tensor(0.3, requires_grad=True)
    sampler, only, start_NX = FlowSampler(steps, level), torch.tensor([0]), starts(1, 1)
    path_NSK = starts(1, steps, seed=5)[:, :, None]
    sampler.score(lambda x_NX, _: w.expand_as(x_NX), start_NX, only, path_NSK).logp_NK.sum().backward()
    x, expected = start_NX.item(), 0.0
    for index, chosen in enumerate(path_NSK.flatten().tolist()):
        t, dt = 1 - index / steps, 1 / steps
        mean = x - dt * 0.3 - dt * level**2 / 2 * (x + (1 - t) * 0.3)
        expected -= (chosen - mean) / (level**2 * t * dt) * (dt + dt * level**2 / 2 * (1 - t))
        x = chosen
    assert w.grad is not None and w.grad.item() == pytest.approx(expected, rel=1e-4)


def test_numbers_without_noise_carry_gradients_from_step_to_step() -> None:
    """Beside finite differences: a path's density depends on weights also by way of the numbers that follow the ODE."""
    sampler, start_NX, path_NSK = FlowSampler(5, 1.0), starts(6).double(), starts(6, 10, seed=2).view(6, 5, 2).double()
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    turn_XX = starts(4, 4, seed=3).double()

    def logp(of: Tensor) -> Tensor:
        walk = sampler.score(lambda x_NX, t: torch.tanh(of * x_NX @ turn_XX), start_NX, DRAWN_K, path_NSK)
        return walk.logp_NK.sum()

    logp(weight).backward()
    with torch.no_grad():
        numerical = (logp(weight + 1e-5) - logp(weight - 1e-5)) / 2e-5
    assert weight.grad is not None and weight.grad.item() == pytest.approx(numerical.item(), rel=1e-6)


def test_a_bandit_is_learnt() -> None:
    """Reward for actions near 0.8: the policy gradient moves a flow's constant there, from actions around -0.5."""
    constant = torch.tensor(-0.5, requires_grad=True)  # actions ~ N(constant, 0.3^2)

    def velocity(x_NX: Tensor, t: float) -> Tensor:
        solved_NX = (x_NX - (1 - t) * constant) / (t**2 + 0.09 * (1 - t) ** 2)
        return t * solved_NX - (constant + (1 - t) * 0.09 * solved_NX)

    sampler, only, generator = FlowSampler(5, 1.0), torch.tensor([0]), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam([constant], lr=0.05)
    for _ in range(60):
        start_NX = torch.randn(256, 1, generator=generator)
        with torch.no_grad():
            drawn = sampler.draw(velocity, start_NX, only, generator=generator)
        reward_N = -((drawn.path_NSK[:, -1, 0] - 0.8) ** 2)
        advantage_N = (reward_N - reward_N.mean()) / reward_N.std()
        scored = sampler.score(velocity, start_NX, only, drawn.path_NSK)
        optimiser.zero_grad()
        (-(advantage_N * scored.logp_NK[:, 0]).mean()).backward()
        optimiser.step()
    assert constant.item() == pytest.approx(0.8, abs=0.1)


def test_a_rows_draws_are_its_own() -> None:
    sampler, start_NX = FlowSampler(3, 1.0), starts(2)
    rows = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    both = sampler.draw(curved, start_NX, DRAWN_K, generator=rows)
    alone = sampler.draw(curved, start_NX[1:], DRAWN_K, generator=[torch.Generator().manual_seed(6)])
    torch.testing.assert_close(both.path_NSK[1:], alone.path_NSK)
    with pytest.raises(ConfigError, match="temperature is 0"):
        sampler.draw(curved, start_NX, DRAWN_K, temperature=0.0)
