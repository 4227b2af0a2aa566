"""The reference policy of the KL term, the policy before reinforcement learning, without a second copy on the device.

What is trained has changed since then, what is frozen has not. So the policy itself becomes the reference for as long
as it scores: by its own means where it has some (`Policy.reference`: LoRA's adapters are switched off, if they started
at zero); otherwise the trained weights change places with their first values, which wait on the CPU, one tensor at a
time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Protocol, TypedDict

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.distributed.fsdp import ShardedPolicy
from tgrpo_trainer.optim.optimizer import trained_parameters
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.types import Batch


class Shared(TypedDict):
    """What every reference is told about the scoring."""

    temperature: float
    microbatch_size: int


class Reference(Protocol):
    """What the update asks of a reference policy."""

    def log_probs(self, batch: Batch) -> Tensor:
        """logp_NK, float32 on the CPU: how probable the batch's choices are under the reference."""
        ...


class SwappedReference:
    """The policy with other values in the weights it trains.

    Args:
        student: Holds the policy that learns; of one spread over ranks, each rank swaps its part.
        weights: The reference's values of exactly the trained parameters, by name, as `first_weights` gives them; they
            must be the caller's to give away: they hold the policy's own weights while it scores.
        temperature: The one the choices were drawn with.
        microbatch_size: Most rows in memory at once.
    """

    def __init__(
        self, student: ShardedPolicy, weights: Mapping[str, Tensor], *, temperature: float, microbatch_size: int
    ) -> None:
        self.student = student
        self.weights = dict(weights)
        self.temperature = temperature
        self.microbatch_size = microbatch_size

    def log_probs(self, batch: Batch) -> Tensor:
        """See `Reference`."""
        with self._swapped(), self.student.gathered() as policy:
            return score_batch(policy, batch, self.temperature, self.microbatch_size)

    @contextmanager
    def _swapped(self) -> Iterator[None]:
        trained = trained_parameters(self.student.policy)
        exchange(trained, self.weights)
        try:
            yield
        finally:
            exchange(trained, self.weights)


class OwnReference:
    """The policy as it turns itself into the one from before it learnt (`Policy.reference`).

    Args:
        student: Holds the policy that learns.
        temperature: The one the choices were drawn with.
        microbatch_size: Most rows in memory at once.
    """

    def __init__(self, student: ShardedPolicy, *, temperature: float, microbatch_size: int) -> None:
        self.student = student
        self.temperature = temperature
        self.microbatch_size = microbatch_size

    def log_probs(self, batch: Batch) -> Tensor:
        """See `Reference`."""
        with self.student.gathered() as policy, policy.reference() or nullcontext():
            return score_batch(policy, batch, self.temperature, self.microbatch_size)


def make_reference(config: TrainConfig, student: ShardedPolicy, load_first: Callable[[], Policy | None]) -> Reference:
    """The reference of a run.

    Args:
        config: The run's settings.
        student: Holds the policy that learns.
        load_first: Reads the policy before reinforcement learning; None where the student's still is that one.
    """
    size = config.update.microbatch_size or config.update.minibatch_size
    shared: Shared = {"temperature": config.rollout.temperature, "microbatch_size": size}
    nothing_was_cloned = config.sft.max_steps == 0  # adapters are still zero
    if nothing_was_cloned and student.policy.reference() is not None:
        return OwnReference(student, **shared)
    return SwappedReference(student, first_weights(student.policy, load_first()), **shared)


def first_weights(policy: Policy, first: Policy | None = None) -> dict[str, Tensor]:
    """Copies on the CPU of what the policy trains; of sharded weights only this rank's part.

    Args:
        policy: The one that learns.
        first: The same policy before it learnt, whole and on the CPU; None where it has not learnt yet.
    """
    values = dict((first or policy).named_parameters())
    return {name: _part(values[name], like).to("cpu", copy=True) for name, like in trained_parameters(policy).items()}


@torch.no_grad()
def score_batch(policy: Policy, batch: Batch, temperature: float, microbatch_size: int) -> Tensor:
    """logp_NK of a whole batch, on the CPU, in parts of at most `microbatch_size` rows, in evaluation mode."""
    if len(batch) == 0:
        return batch.old_logp_NK
    was_training = policy.training
    policy.eval()
    try:
        parts = []
        for rows in torch.split(torch.arange(len(batch)), microbatch_size):
            part = batch.rows(rows).to(policy.device)
            parts.append(policy(part.observations, part.choices_NK, temperature).logp_NK.cpu())
        return torch.cat(parts)
    finally:
        policy.train(was_training)


@torch.no_grad()
def exchange(trained: Mapping[str, nn.Parameter], weights: Mapping[str, Tensor]) -> None:
    """Swap the values of parameters and kept tensors, one after the other.

    Raises:
        ValueError: The names differ.
    """
    if trained.keys() != weights.keys():
        raise ValueError(
            f"The reference holds other weights than are trained: {sorted(trained.keys() ^ weights.keys())}."
        )
    for name, parameter in trained.items():
        mine = _local(parameter)
        held = mine.to("cpu", copy=True)
        mine.copy_(weights[name])
        weights[name].copy_(held)


def _part(value: Tensor, like: Tensor) -> Tensor:
    """What this rank holds of a value that is sharded like another tensor; every rank has the whole value."""
    if isinstance(like, DTensor) and not isinstance(value, DTensor):
        whole = value.detach().to(like.device)
        value = distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)
    return _local(value).detach()


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
