"""One gradient step of TGRPO on made-up decisions: how fast, what share of the card's throughput, how much memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.table import Measurement, not_run
from benchmarks.trainer.decisions import decision_of
from benchmarks.trainer.roofline import Roof
from benchmarks.trainer.subject import random_input
from benchmarks.trainer.timing import free_memory, peak_memory, reset_peak_memory, seconds_of
from benchmarks.trainer.work import BACKWARD_FROZEN, BACKWARD_FULL, update_flops
from tgrpo_trainer.config import UpdateConfig
from tgrpo_trainer.metrics.timing import GIB
from tgrpo_trainer.objectives import Tgrpo
from tgrpo_trainer.optim.update import PolicyUpdater
from tgrpo_trainer.policy.lora import LoraSettings
from tgrpo_trainer.policy.openvla.base import BaseCheckpoint
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.types import Batch, PolicyInput

ADAM_COPIES = 4
"""Weights, gradients and Adam's two moments, each of the weights' size."""
MFU_GOAL = ">= 40"
MEMORY_GOAL = "<= 139"
NO_BASE = BaseCheckpoint("random weights", None, "")
"""These adapters are measured, never saved."""


@dataclass(frozen=True)
class UpdateVariant:
    """A way to learn that gets rows of its own.

    Attributes:
        name: In the rows.
        prepare: Changes the policy for it; variants run in order on one policy.
        backward: Useful backward operations per forward one (`work.BACKWARD_FULL`, `work.BACKWARD_FROZEN`).
        copies: Tensors of all weights' size that it keeps; activations come on top.
    """

    name: str
    prepare: Callable[[OpenVlaPolicy], object]
    backward: float
    copies: int


FULL_UPDATE = UpdateVariant("full update", lambda policy: policy, BACKWARD_FULL, ADAM_COPIES)
CHECKPOINTED_UPDATE = UpdateVariant(
    "full update, gradient checkpointing",
    lambda policy: policy.model.enable_gradient_checkpointing(),
    BACKWARD_FULL,
    ADAM_COPIES,
)
LORA_UPDATE = UpdateVariant(
    "LoRA update, rank 32, gradient checkpointing",
    lambda policy: policy.adapt(LoraSettings(), NO_BASE, seed=0),
    BACKWARD_FROZEN,
    copies=1,
)
UPDATES = (FULL_UPDATE, CHECKPOINTED_UPDATE, LORA_UPDATE)
"""In this order: adapters stay, and so does gradient checkpointing."""


def update_rows(
    policy: OpenVlaPolicy,
    variants: tuple[UpdateVariant, ...],
    *,
    num_decisions: int,
    microbatch_size: int,
    roof: Roof,
    data_sheet: Roof | None,
    repeats: int,
) -> list[Measurement]:
    """All variants; one that does not fit gives a row that says so."""
    policy.decoder.release()
    rows = []
    for variant in variants:
        variant.prepare(policy)
        needed = variant.copies * sum(p.nbytes for p in policy.parameters()) / GIB
        # The weights are there already.
        free = free_memory(policy.device) + needed / variant.copies
        if needed > free:
            why = f"needs more than {needed:.0f} GiB for weights and what learns, of {free:.0f}"
            rows.append(not_run(f"{variant.name}: tokens per second", "1/s", why))
            continue
        try:
            rows += variant_rows(policy, variant, num_decisions, microbatch_size, roof, data_sheet, repeats=repeats)
        except torch.OutOfMemoryError:
            policy.zero_grad(set_to_none=True)
            why = f"out of memory with {microbatch_size} decisions at once; give a smaller --microbatch-size"
            rows.append(not_run(f"{variant.name}: tokens per second", "1/s", why))
        gc.collect()  # the optimiser's state goes before the next one's comes
    return rows


def variant_rows(
    policy: OpenVlaPolicy,
    variant: UpdateVariant,
    num_decisions: int,
    microbatch_size: int,
    roof: Roof,
    data_sheet: Roof | None,
    *,
    repeats: int,
) -> list[Measurement]:
    """One way to learn: speed, share of the throughput, memory."""
    batch = made_up_batch(policy, num_decisions, microbatch_size)
    size = decision_of(policy, batch.observations)
    updater = make_updater(policy, microbatch_size, num_decisions)
    generator = torch.Generator().manual_seed(0)
    policy.train()
    reset_peak_memory(policy.device)
    seconds = seconds_of(lambda: updater.update(batch, 0, generator), policy.device, repeats=repeats)
    memory = peak_memory(policy.device)
    policy.zero_grad(set_to_none=True)
    policy.eval()
    length = size.places + size.tokens - 1
    one = update_flops(policy.model.architecture, size.places, size.tokens, backward=variant.backward)
    flops_per_s = num_decisions * one / seconds
    name, mfu = variant.name, f"{variant.name}: MFU by the data sheet"
    return [
        Measurement(f"{name}: a step of {num_decisions} decisions", 1e3 * seconds, "ms"),
        Measurement(f"{name}: decisions per second", num_decisions / seconds, "1/s"),
        Measurement(f"{name}: tokens per second", num_decisions * length / seconds, "1/s"),
        Measurement(f"{name}: useful operations", flops_per_s / 1e12, "TFLOP/s"),
        Measurement(f"{name}: share of the measured matrix product", 100 * flops_per_s / roof.flops_per_s, "%"),
        not_run(mfu, "%", "no data sheet of this device here", MFU_GOAL)
        if data_sheet is None
        else Measurement(mfu, 100 * flops_per_s / data_sheet.flops_per_s, "%", MFU_GOAL),
        Measurement(f"{name}: peak memory", memory, "GiB", MEMORY_GOAL),
    ]


def make_updater(policy: OpenVlaPolicy, microbatch_size: int, num_decisions: int) -> PolicyUpdater:
    """The trainer's own, set to one gradient step for the whole batch and no reference policy, as in openvla_libero."""
    in_float16 = any(parameter.dtype == torch.float16 for parameter in policy.parameters())  # which adamw cannot step
    return PolicyUpdater(
        policy,
        None,
        objective=Tgrpo(beta=0.0),
        optimiser=UpdateConfig(
            learning_rate=5e-6,
            warmup_iterations=0,
            num_iterations=1,
            minibatch_size=num_decisions,
            optimizer="adamw_master" if in_float16 else "adamw",
        ),
        temperature=1.0,
        total_iterations=1,
        microbatch_size=microbatch_size,
    )


def made_up_batch(policy: OpenVlaPolicy, num_decisions: int, rows_at_once: int) -> Batch:
    """Decisions that the policy draws on noise, with random advantages, on the CPU as after a rollout."""
    generator = torch.Generator(policy.device).manual_seed(0)
    seen, drawn = [], []
    for start in range(0, num_decisions, rows_at_once):
        seen.append(random_input(policy, min(rows_at_once, num_decisions - start)))
        drawn.append(policy.sample(seen[-1], generator=generator))
    policy.decoder.release()
    choices_NK = torch.cat([sample.choices_NK for sample in drawn]).cpu()
    return Batch(
        observations=PolicyInput.cat(seen).to("cpu"),
        choices_NK=choices_NK,
        old_logp_NK=torch.cat([sample.logp_NK for sample in drawn]).cpu(),
        mask_NK=torch.ones_like(choices_NK, dtype=torch.bool),
        advantages_N=torch.randn(num_decisions, generator=torch.Generator().manual_seed(0)),
        weights_N=torch.full((num_decisions,), 1.0 / num_decisions, dtype=torch.float64),
    )
