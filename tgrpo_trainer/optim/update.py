"""One iteration's learning: passes over the batch in shuffled minibatches, each one clipped optimiser step.

With several ranks each holds some of the rows. Its loss is divided by the whole minibatch's weights, and the gradients
of all ranks are added up, so the step is the one that one process with all rows would take.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from tgrpo_envs.errors import ConfigError, TrainingError
from tgrpo_trainer.config import UpdateConfig
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.objectives import Objective
from tgrpo_trainer.objectives.loss import sampling_gap
from tgrpo_trainer.optim.minibatches import Minibatch, MinibatchSampler
from tgrpo_trainer.optim.optimizer import make_optimizer
from tgrpo_trainer.optim.reference import Reference
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.types import Batch

Others = tuple[Tensor, Tensor | None]
"""old_logp_NK and ref_logp_NK of a batch, on the CPU: its choices under the other policies of the objective."""


class PolicyUpdater:
    """The optimiser of a policy and everything it needs between iterations.

    Args:
        policy: Learns in place.
        reference: What the KL term pulls towards. None exactly when the objective needs none.
        objective: Gives the loss.
        optimiser: Learning rate, passes, minibatch size, gradient norm.
        temperature: The one the choices were drawn with.
        total_iterations: Iterations of the whole run, for the learning-rate decay.
        microbatch_size: Most rows in memory at once; None takes whole minibatches. Changes memory, not the result.
        rounding_seed: Of an optimiser that rounds at random.
        world: The ranks; with several, the policy is sharded over them.

    Raises:
        ConfigError: A reference that the objective does not need, or none where it needs one; an optimiser that does
            not fit the weights.
    """

    def __init__(
        self,
        policy: Policy,
        reference: Reference | None,
        *,
        objective: Objective,
        optimiser: UpdateConfig,
        temperature: float,
        total_iterations: int,
        microbatch_size: int | None = None,
        rounding_seed: int = 0,
        world: World = World(),  # noqa: B008 - frozen
    ) -> None:
        if (reference is None) == objective.needs_reference:
            raise ConfigError(f"beta is {objective.beta}: give a reference policy when it is above 0, and none when 0.")
        self.policy = policy
        self.reference = reference
        self.objective = objective
        self.config = optimiser
        self.temperature = temperature
        self.total_iterations = total_iterations
        self.microbatch_size = microbatch_size or optimiser.minibatch_size
        self.world = world
        self.optimizer = make_optimizer(policy, optimiser, rounding_seed)
        self._first_gradients: list[Tensor] = []

    def update(self, batch: Batch, iteration: int, generator: torch.Generator) -> dict[str, float]:
        """Learn from one batch.

        Args:
            batch: What `build_batch` made of this rank's rollout; it stays on the CPU, parts go to the policy.
            iteration: From 0; sets the learning rate.
            generator: Shuffles the rows (a CPU generator, in the same state on all ranks).

        Returns:
            Of the rows of all ranks: the objective's metrics averaged over all optimiser steps (`_max` and `_min`:
            their extremes), and `loss`, `grad_norm` (before clipping), `learning_rate`, `optimiser_steps`; of the first
            step's rows what `sampling_gap` measures; `grad_cosine` where it is measured and the batch has at least two
            minibatches.

        Raises:
            TrainingError: A loss or gradient is not finite; the weights are those before the failing step.
        """
        learning_rate = learning_rate_at(iteration, self.config, self.total_iterations)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        shares = MinibatchSampler.of(batch, self.world)
        passes = [
            list(shares.minibatches(self.config.minibatch_size, self.microbatch_size, generator))
            for _ in range(self.config.num_iterations)
        ]
        self._first_gradients = []
        steps = self._learn(batch, self._score_others(batch, passes[0]), passes)
        return {**self._summary(steps), "learning_rate": learning_rate, "optimiser_steps": float(len(steps))}

    def _learn(self, batch: Batch, others: Others, passes: Sequence[Sequence[Minibatch]]) -> list[dict[str, float]]:
        """Passes over the batch, until the trust region ends them: the measurements of each step, of all ranks."""
        steps: list[dict[str, float]] = []
        for minibatches in passes:
            history = [self._step(batch, others, minibatch) for minibatch in minibatches]
            latest = [_add_up(parts) for parts in zip(*self.world.gather(history), strict=True)]
            steps += latest
            if self._has_moved_enough(latest):
                break
        return steps

    def _summary(self, steps: Sequence[dict[str, float]]) -> dict[str, float]:
        """The metrics of an iteration from those of its steps."""
        metrics = {key: _over_steps(key)([step[key] for step in steps]) for key in steps[0]}
        metrics["grad_norm"] /= self.world.size  # every rank has the whole one
        # Later steps see a policy that has learnt, whose distance from the drawing one means something else.
        metrics |= {key: value for key, value in steps[0].items() if key.startswith("sampling_")}
        if len(self._first_gradients) == 2:
            one, other = self._first_gradients
            metrics["grad_cosine"] = gradient_cosine(one, other, self.world)
        return metrics

    def _score_others(self, batch: Batch, first_pass: Sequence[Minibatch]) -> Others:
        """The batch's tokens under the old and the reference policy, which do not change while it is learnt from."""
        ref_logp_NK = None if self.reference is None else self.reference.log_probs(batch)
        if self.objective.old_logp == "scored":
            return self._score(batch, first_pass), ref_logp_NK
        return batch.old_logp_NK, ref_logp_NK

    @torch.no_grad()
    def _score(self, batch: Batch, first_pass: Sequence[Minibatch]) -> Tensor:
        """logp_NK of the batch, on the CPU, before any step, by the pass that learns.

        In its micro-batches, because in half precision a row's last bits depend on how many rows are computed with it.
        """
        logp_NK = torch.empty_like(batch.old_logp_NK)
        for rows in (rows for minibatch in first_pass for rows in minibatch.parts):
            part = batch.part(rows).to(self.policy.device)
            scored = self.policy(part.observations, part.choices_NK, self.temperature)
            logp_NK[rows] = scored.logp_NK[: len(rows)].cpu()
        return logp_NK

    def _has_moved_enough(self, latest: list[dict[str, float]]) -> bool:
        """Whether the policy left the trust region around the one that drew the batch, by the pass just done."""
        target = self.config.target_kl
        return target is not None and sum(step["approx_kl"] for step in latest) / len(latest) > target

    def _step(self, batch: Batch, others: Others, minibatch: Minibatch) -> dict[str, float]:
        """One optimiser step, in micro-batches whose gradients add up to the minibatch's; this rank's part of it."""
        self.optimizer.zero_grad(set_to_none=True)
        parts = [self._backward(batch, others, rows, minibatch.denominator) for rows in minibatch.parts]
        if self.config.gradient_cosine and len(self._first_gradients) < 2:
            self._first_gradients.append(own_gradient(self.policy.parameters()))
        grad_norm = clip_gradients(self.policy.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        return {**_add_up(parts), "grad_norm": grad_norm}

    def _backward(self, batch: Batch, others: Others, rows: Tensor, denominator: float) -> dict[str, float]:
        """Add the gradient of some rows to the parameters'; without rows, only take part in the ranks' gathering."""
        part = batch.part(rows).to(self.policy.device)
        old_logp_NK, ref_logp_NK = (
            logp_NK if logp_NK is None else (logp_NK[rows] if len(rows) else part.old_logp_NK).to(self.policy.device)
            for logp_NK in others
        )
        assert old_logp_NK is not None
        scored = self.policy(part.observations, part.choices_NK, self.temperature)
        loss, metrics = self.objective.loss(
            scored, part, old_logp_NK=old_logp_NK, ref_logp_NK=ref_logp_NK, denominator=denominator
        )
        refuse_non_finite(loss, self.world)
        # FSDP averages the ranks' gradients, which are parts of one sum.
        (loss * self.world.size).backward()
        metrics |= sampling_gap(
            scored.logp_NK.detach(), part.old_logp_NK, part.mask_NK, part.weights_N, denominator=denominator
        )
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


def refuse_non_finite(loss: Tensor, world: World) -> None:
    """Stop before a loss that is NaN or infinite reaches the weights, on all ranks if it is so on one.

    Raises:
        TrainingError: It is.
    """
    refused = [value for value in world.gather(loss.item()) if not math.isfinite(value)]
    if refused:
        raise TrainingError(
            f"The loss is {refused[0]}, so this step was refused and the weights are unchanged. "
            "Lower the learning rate, or look for infinite rewards or log-probabilities in this batch."
        )


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients so that their joint 2-norm is at most `max_norm`; returns the norm before.

    Raises:
        TrainingError: The norm is NaN or infinite.
    """
    total = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    norm = float(total.full_tensor() if isinstance(total, DTensor) else total)
    if not norm < float("inf"):
        raise TrainingError(
            f"The gradient's norm is {norm}, so this step was refused and the weights are unchanged. "
            "Lower the learning rate."
        )
    return norm


def own_gradient(parameters: Iterable[Tensor]) -> Tensor:
    """All gradients in one vector; of sharded ones, this rank's part."""
    gradients = (each.grad for each in parameters if each.grad is not None)
    return torch.cat([(each.to_local() if isinstance(each, DTensor) else each).flatten() for each in gradients])


def gradient_cosine(one: Tensor, other: Tensor, world: World) -> float:
    """Cosine of the angle between two gradients: 1 = both halves of a batch ask for the same step, 0 = noise.

    Args:
        one: Of `own_gradient`.
        other: Likewise.
        world: The ranks, each with its own part of both.
    """
    parts = world.gather([float(a @ b) for a, b in ((one, other), (one, one), (other, other))])
    product, square, other_square = (sum(each) for each in zip(*parts, strict=True))
    cosine: float = product / max(math.sqrt(square * other_square), sys.float_info.min)
    return cosine


def _add_up(parts: Iterable[dict[str, float]]) -> dict[str, float]:
    """The measurements of several parts of one step: sums, but for least and largest values."""
    listed = list(parts)
    return {key: _combine(key)(part[key] for part in listed) for key in listed[0]}


def _combine(key: str) -> Callable[[Iterable[float]], float]:
    return max if key.endswith("_max") else min if key.endswith("_min") else sum


def _over_steps(key: str) -> Callable[[Sequence[float]], float]:
    """Several steps as one number: their mean, but for least and largest values."""
    return _combine(key) if key.endswith(("_max", "_min")) else lambda values: sum(values) / len(values)
