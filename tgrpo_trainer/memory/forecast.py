"""What a training needs of a GPU's memory: arithmetic on a policy's footprint, and the table of what fits.

    weights + gradients + optimiser + the larger of activations (a micro-batch) and what a rollout needs

The first three are divided by the number of GPUs that share them (FSDP2). A rollout needs the key-value cache and,
where weights are shared, a gathered copy of all of them (`distributed/fsdp.py`). The reference policy takes none of it:
it is the policy itself, without adapters or with its first weights from the CPU (`reference.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import torch

from tgrpo_trainer.policy.footprint import Footprint
from tgrpo_trainer.policy.lora import LoraSettings, Targets

GB = 10**9
CARDS_GB = (24, 48, 80, 141)
USABLE = 0.9
"""Share of a card that is planned with: the rest is CUDA's own, workspaces, fragmentation, and under FSDP2 the layers
that are gathered."""


@dataclass(frozen=True)
class Plan:
    """What can be chosen.

    Attributes:
        optimizer: As in `update.optimizer`.
        gradient_checkpointing: Whether activations are computed again.
        microbatch_size: Decisions in memory at once.
        num_envs: Environments of one GPU.
        num_gpus: GPUs that share weights, gradients and optimiser.
    """

    optimizer: str
    gradient_checkpointing: bool
    microbatch_size: int = 1
    num_envs: int = 8
    num_gpus: int = 1


@dataclass(frozen=True)
class Need:
    """Bytes on each GPU."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    rollout: int

    @property
    def lasting(self) -> int:
        """What is there all the time: gradients stay until the next step."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """At the worst moment: learning and acting do not happen at once."""
        return self.lasting + max(self.activations, self.rollout)


def optimizer_bytes(optimizer: str, itemsize: int) -> int:
    """Bytes of state for each trained number (`optimizer.py` has the reasons)."""
    if optimizer == "adamw_master":
        return 8 if itemsize == 4 else 12
    return 2 * itemsize


def estimate(footprint: Footprint, plan: Plan) -> Need:
    """What each GPU has to hold."""
    activations = footprint.checkpointed if plan.gradient_checkpointing else footprint.plain
    trained = footprint.num_trained
    return Need(
        weights=footprint.weights // plan.num_gpus,
        gradients=trained * footprint.itemsize // plan.num_gpus,
        optimizer=trained * optimizer_bytes(plan.optimizer, footprint.itemsize) // plan.num_gpus,
        activations=activations.of(plan.microbatch_size),
        rollout=plan.num_envs * footprint.cache_row + (footprint.weights if plan.num_gpus > 1 else 0),
    )


def largest_microbatch(footprint: Footprint, plan: Plan, available: float) -> int:
    """The largest `microbatch_size` that fits into `available` bytes; 0 if none does, or if the rollout does not."""
    need = estimate(footprint, plan)
    activations = footprint.checkpointed if plan.gradient_checkpointing else footprint.plain
    if need.lasting + need.rollout > available:
        return 0
    return max(0, int((available - need.lasting - activations.fixed) // activations.per_row))


def describe_memory(
    measure: Callable[[torch.dtype, LoraSettings | None], Footprint], dtype: str, rank: int, num_gpus: Sequence[int]
) -> str:
    """The table for a model, with a line that says how to read it.

    Args:
        measure: Counts the model in a type, with adapters or without.
        dtype: torch's name of the weights' type.
        rank: Of the adapters.
        num_gpus: Numbers of GPUs that share weights, gradients and optimiser.

    Raises:
        ConfigError: The rank is 0 or larger than a layer.
    """
    kept: torch.dtype = getattr(torch, dtype)
    optimizers = ["adamw_master"] if kept == torch.float32 else ["adamw_master", "adamw_stochastic"]
    full = measure(kept, None)
    rows = [("full", full, optimizer, number) for optimizer in optimizers for number in num_gpus]
    for targets in get_args(Targets):
        lora = measure(kept, LoraSettings(rank, targets=targets))
        rows += [(f"LoRA {rank}, {targets}", lora, "adamw_master", number) for number in num_gpus[:1]]
    return (
        f"Largest update.microbatch_size without / with gradient checkpointing ({dtype}, {USABLE:.0%} of the card, "
        f"{Plan.num_envs} environments a GPU; GB on each GPU):\n\n{memory_table(rows)}"
    )


def memory_table(rows: Sequence[tuple[str, Footprint, str, int]]) -> str:
    """A table in Markdown: the largest micro-batch per card, without and with gradient checkpointing.

    Args:
        rows: Name, model, optimiser and number of GPUs of each line.
    """
    cards = " | ".join(f"{card} GB" for card in CARDS_GB)
    lines = [
        f"| training | GPUs | weights | gradients | optimiser | {cards} |",
        "|---" * (5 + len(CARDS_GB)) + "|",
    ]
    for name, footprint, optimizer, num_gpus in rows:
        need = estimate(footprint, Plan(optimizer, gradient_checkpointing=True, num_gpus=num_gpus))
        static = " | ".join(f"{part / GB:.1f}" for part in (need.weights, need.gradients, need.optimizer))
        cells = " | ".join(_cell(footprint, optimizer, num_gpus, card) for card in CARDS_GB)
        lines.append(f"| {name}, `{optimizer}` | {num_gpus} | {static} | {cells} |")
    return "\n".join(lines)


def _cell(footprint: Footprint, optimizer: str, num_gpus: int, card_gb: int) -> str:
    plans = [Plan(optimizer, checkpointing, num_gpus=num_gpus) for checkpointing in (False, True)]
    sizes = [largest_microbatch(footprint, plan, USABLE * card_gb * GB) for plan in plans]
    return " / ".join(str(size) if size else "-" for size in sizes)
