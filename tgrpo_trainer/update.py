"""One iteration's learning: passes over the batch in shuffled minibatches, each one clipped optimiser step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from tgrpo_envs.errors import ConfigError, TrainingError
from tgrpo_trainer.config import TgrpoConfig, UpdateConfig
from tgrpo_trainer.loss import tgrpo_loss
from tgrpo_trainer.optimizer import make_optimizer
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.reference import Reference
from tgrpo_trainer.types import Batch


class PolicyUpdater:
    """The optimiser of a policy and everything it needs between iterations.

    Args:
        policy: Learns in place.
        reference: What the KL term pulls towards. None exactly when the objective's beta is 0.
        objective: Clip ranges, KL weight, kind of ratio.
        optimiser: Learning rate, passes, minibatch size, gradient norm.
        temperature: The one the tokens were drawn with.
        total_iterations: Iterations of the whole run, for the learning-rate decay.
        microbatch_size: Most rows in memory at once; None takes whole minibatches. Changes memory, not the result.
        rounding_seed: Of an optimiser that rounds at random.

    Raises:
        ConfigError: A reference without beta or beta without a reference; an optimiser that does not fit the weights.
    """

    def __init__(
        self,
        policy: Policy,
        reference: Reference | None,
        *,
        objective: TgrpoConfig,
        optimiser: UpdateConfig,
        temperature: float,
        total_iterations: int,
        microbatch_size: int | None = None,
        rounding_seed: int = 0,
    ) -> None:
        if (reference is None) != (objective.beta == 0.0):
            raise ConfigError(f"beta is {objective.beta}: give a reference policy when it is above 0, and none when 0.")
        self.policy = policy
        self.reference = reference
        self.objective = objective
        self.config = optimiser
        self.temperature = temperature
        self.total_iterations = total_iterations
        self.microbatch_size = microbatch_size or optimiser.minibatch_size
        self.optimizer = make_optimizer(policy, optimiser, rounding_seed)

    def update(self, batch: Batch, iteration: int, generator: torch.Generator) -> dict[str, float]:
        """Learn from one batch.

        Args:
            batch: What `build_batch` made of this iteration's rollout; it stays on the CPU, parts go to the policy.
            iteration: From 0; sets the learning rate.
            generator: Shuffles the rows (a CPU generator).

        Returns:
            The loss's metrics averaged over all optimiser steps (`ratio_max`: their maximum), and `loss`, `grad_norm`
            (before clipping), `learning_rate`, `optimiser_steps`.

        Raises:
            TrainingError: A loss or gradient is not finite; the weights are those before the failing step.
        """
        learning_rate = learning_rate_at(iteration, self.config, self.total_iterations)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        # The reference does not change while the batch is learnt from, so once is enough.
        ref_logp_NK = None if self.reference is None else self.reference.log_probs(batch)
        history = [
            self._step(batch, ref_logp_NK, rows)
            for _ in range(self.config.num_iterations)
            for rows in _minibatches(len(batch), self.config.minibatch_size, generator)
        ]
        metrics = {key: sum(step[key] for step in history) / len(history) for key in history[0]}
        metrics["ratio_max"] = max(step["ratio_max"] for step in history)
        return {**metrics, "learning_rate": learning_rate, "optimiser_steps": float(len(history))}

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's state; the policy's weights are saved by the policy."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.optimizer.load_state_dict(state)

    def _step(self, batch: Batch, ref_logp_NK: Tensor | None, rows: Tensor) -> dict[str, float]:
        """One optimiser step on some rows, in micro-batches whose gradients add up to the minibatch's."""
        denominator = float(batch.weights_N[rows].sum())
        self.optimizer.zero_grad(set_to_none=True)
        parts = [
            self._backward(
                batch.rows(chunk).to(self.policy.device),
                None if ref_logp_NK is None else ref_logp_NK[chunk].to(self.policy.device),
                denominator,
            )
            for chunk in torch.split(rows, self.microbatch_size)
        ]
        grad_norm = clip_gradients(self.policy.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        metrics = {key: sum(part[key] for part in parts) for key in parts[0]}
        metrics["ratio_max"] = max(part["ratio_max"] for part in parts)
        return {**metrics, "grad_norm": grad_norm}

    def _backward(self, part: Batch, ref_logp_NK: Tensor | None, denominator: float) -> dict[str, float]:
        """Add the gradient of some rows to the parameters'."""
        scored = self.policy(part.observations, part.tokens_NK, self.temperature)
        loss, metrics = tgrpo_loss(
            scored.logp_NK,
            part.old_logp_NK,
            ref_logp_NK,
            part.advantages_N,
            part.mask_NK,
            part.weights_N,
            denominator=denominator,
            entropy_NK=scored.entropy_NK,
            epsilon=self.objective.epsilon,
            epsilon_high=self.objective.epsilon_high,
            beta=self.objective.beta,
            ratio=self.objective.ratio,
        )
        refuse_non_finite(loss)
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.item(), **{key: value.item() for key, value in metrics.items()}}


def learning_rate_at(iteration: int, config: UpdateConfig, total_iterations: int) -> float:
    """Linear warm-up to the peak over `warmup_iterations`, then linear decay to its final share at the last iteration.

    With a warm-up of 3, iterations 0, 1, 2 run at 1/3, 2/3 and all of the peak.
    """
    if iteration + 1 < config.warmup_iterations:
        return config.learning_rate * (iteration + 1) / config.warmup_iterations
    peak_at = max(0, config.warmup_iterations - 1)
    decayed = min(1.0, (iteration - peak_at) / max(1, total_iterations - 1 - peak_at))
    return config.learning_rate * (1.0 - decayed * (1.0 - config.final_learning_rate_ratio))


def refuse_non_finite(loss: Tensor) -> None:
    """Stop before a loss that is NaN or infinite reaches the weights.

    Raises:
        TrainingError: It is.
    """
    if not torch.isfinite(loss):
        raise TrainingError(
            f"The loss is {loss.item()}, so this step was refused and the weights are unchanged. "
            "Lower the learning rate, or look for infinite rewards or log-probabilities in this batch."
        )


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients so that their joint 2-norm is at most `max_norm`; returns the norm before.

    Raises:
        TrainingError: The norm is NaN or infinite.
    """
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, max_norm))
    if not norm < float("inf"):
        raise TrainingError(
            f"The gradient's norm is {norm}, so this step was refused and the weights are unchanged. "
            "Lower the learning rate."
        )
    return norm


def _minibatches(num_rows: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Shuffled row indices in parts of nearly equal size: a small last part would make one very noisy step."""
    shuffled = torch.randperm(num_rows, generator=generator)
    yield from shuffled.tensor_split(-(-num_rows // size))
