"""A flow policy's stochastic sampler: Gaussian steps in place of the ODE's, so that a decision has log-probabilities.

A flow turns noise x_1 ~ N(0, I) into an action x_0 along the ODE dx/dt = v(x, t), from t = 1 to 0. Flow matching learns
v = E[noise - action | x_t = x] where x_t = t noise + (1 - t) action. The ODE draws nothing after x_1, so there is no
density to learn from. An SDE with the same marginals draws at every step (Flow-GRPO, arXiv 2505.05470, section 4.2).
With s = 1 - t, the ODE moves the density p by dp/ds = div(v p). Noise of variance sigma^2 ds adds
div(sigma^2 grad p) / 2, and a drift of sigma^2 grad(log p) / 2 takes it away again, as p grad(log p) = grad p:

    dx = (-v + sigma^2 / 2 grad(log p)) ds + sigma dw

That holds for any sigma that depends on t and on the number of x, but not on x: also where some numbers have none. As
x_t = t noise + (1 - t) action, grad(log p) = -E[noise | x] / t, and E[noise | x] = x + (1 - t) v. A step of length D:

    x_(t-D) = x - D v - D sigma^2 / (2 t) (x + (1 - t) v) + sigma sqrt(D) N(0, 1)

Flow-GRPO's sigma = level sqrt(t / (1 - t)) is infinite at the first step. Here sigma = level sqrt(t): every step takes
off the same share, level^2 D / 2, of the noise, and the last one adds noise of deviation level D.

Only the numbers that are carried out get noise. The others follow the ODE: they are functions of the numbers drawn so
far, and are computed again when a path is scored. So the log-probability of the numbers drawn is exact, a product of
Gaussians. x_1 does not depend on the weights and has no term. A temperature divides the logarithm of every step's
density, as it divides logits; the drift stays the one at temperature 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tgrpo_trainer.policy.densities import draw_numbers, entropy, log_density, tempered
from tgrpo_trainer.policy.randomness import Randomness

Velocity = Callable[[Tensor, float], Tensor]
"""v_NX float32 of x_NX at the time t."""


class Step(NamedTuple):
    """The density of the numbers drawn at a step.

    Attributes:
        mean_NK: Its mean.
        std_K: Its standard deviation, the same for all.
        ode_NK: Where the ODE would go.
    """

    mean_NK: Tensor
    std_K: Tensor
    ode_NK: Tensor


class Walk(NamedTuple):
    """N paths from noise to actions.

    Attributes:
        path_NSK: The numbers drawn, after each of S steps; the last are those of the action.
        logp_NK: float32, the sum over a number's steps.
        last_NK: Means of the last step.
    """

    path_NSK: Tensor
    logp_NK: Tensor
    last_NK: Tensor


@dataclass(frozen=True)
class FlowSampler:
    """Draws paths and scores them.

    Attributes:
        num_steps: S, steps from noise to action.
        level: Noise of the steps: sigma = level sqrt(t); above 0.
    """

    num_steps: int
    level: float

    def draw(
        self,
        velocity: Velocity,
        start_NX: Tensor,
        drawn_K: Tensor,
        *,
        temperature: float = 1.0,
        generator: Randomness = None,
    ) -> Walk:
        """One path from each start.

        Args:
            velocity: The flow.
            start_NX: x_1, float32.
            drawn_K: Positions in X of the numbers that get noise.
            temperature: See the module; above 0.
            generator: Source of randomness.
        """
        return self._walk(
            velocity,
            start_NX,
            drawn_K,
            temperature,
            lambda step, _: draw_numbers("gaussian", step.mean_NK, step.std_K, generator),
        )

    def follow(self, velocity: Velocity, start_NX: Tensor, drawn_K: Tensor, *, temperature: float = 1.0) -> Walk:
        """The ODE's path, with its log-probability among those that `draw` gives."""
        return self._walk(velocity, start_NX, drawn_K, temperature, lambda step, _: step.ode_NK)

    def score(
        self, velocity: Velocity, start_NX: Tensor, drawn_K: Tensor, path_NSK: Tensor, *, temperature: float = 1.0
    ) -> Walk:
        """Given paths, with gradients."""
        return self._walk(velocity, start_NX, drawn_K, temperature, lambda _, index: path_NSK[:, index])

    def entropy(self, temperature: float) -> float:
        """In nats a number: the sum over its steps, which no weight changes."""
        return sum(float(entropy("gaussian", self._std(index, temperature))) for index in range(self.num_steps))

    def _walk(
        self,
        velocity: Velocity,
        start_NX: Tensor,
        drawn_K: Tensor,
        temperature: float,
        choose: Callable[[Step, int], Tensor],
    ) -> Walk:
        x_NX, length, path, logp = start_NX, 1.0 / self.num_steps, [], []
        for index in range(self.num_steps):
            t = 1.0 - index * length
            v_NX = velocity(x_NX, t)
            ode_NX = x_NX - length * v_NX
            noise_NK = (x_NX + (1.0 - t) * v_NX)[:, drawn_K]  # E[noise | x]
            ode_NK = ode_NX[:, drawn_K]
            std_K = self._std(index, temperature).to(x_NX.device)
            step = Step(ode_NK - 0.5 * self.level**2 * length * noise_NK, std_K, ode_NK)
            chosen_NK = choose(step, index)
            path.append(chosen_NK)
            logp.append(log_density("gaussian", chosen_NK, step.mean_NK, std_K))
            x_NX = ode_NX.index_copy(1, drawn_K, chosen_NK)
        return Walk(torch.stack(path, dim=1), torch.stack(logp).sum(0), step.mean_NK)

    def _std(self, index: int, temperature: float) -> Tensor:
        """(1,): level sqrt(t D) of the step at t = 1 - index D, at a temperature."""
        variance = (self.num_steps - index) / self.num_steps**2
        return tempered("gaussian", torch.tensor([self.level * variance**0.5]), temperature)
