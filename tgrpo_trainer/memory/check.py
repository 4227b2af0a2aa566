"""Warns before training when the GPU's memory will not suffice, and says what would fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tgrpo_envs.errors import TrainingError, first_line
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.memory.forecast import GB, USABLE, Plan, estimate
from tgrpo_trainer.policy import policy_class
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.policy.footprint import Footprint
from tgrpo_trainer.policy.lora import LoraSettings
from tgrpo_trainer.run.checkpoint import latest_checkpoint
from tgrpo_trainer.run.console import say
from tgrpo_trainer.run.layout import LAST_NAME

MORE_GPUS = (2, 4, 8)
GENERAL_ADVICE = "Lower --update.microbatch-size, --rollout.num-groups or --rollout.num-generations."


@contextmanager
def out_of_memory_explained(config: TrainConfig) -> Iterator[None]:
    """Turn a GPU's out-of-memory error inside the `with` into one of ours.

    Raises:
        TrainingError: With what would fit, and how to go on where an iteration, or the clone, is on disk.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        more = policy_class(config.policy.kind).memory_advice or GENERAL_ADVICE
        if latest_checkpoint(config.run.path / LAST_NAME) is None:
            then = " before anything was finished; start the run again with other settings"
        else:
            then = f"; what is finished is on disk, and --resume {config.run.path} goes on with other settings"
        raise TrainingError(f"The GPU's memory ran out{then}. {more} (torch: {first_line(error)})") from error


def warn_if_too_little(config: TrainConfig, policy: Policy) -> None:
    """Say before training on a CUDA device what will not fit into its memory by the estimate."""
    device = policy.device if policy.device.type == "cuda" else _coming_device(config)
    own = None if device is None else policy.footprint(policy.adapters)
    lora = own if policy.adapters is not None or own is None else policy.footprint(LoraSettings())
    if own is None or lora is None:
        return
    free, _ = torch.cuda.mem_get_info(device)
    num_gpus = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    plan = Plan(
        optimizer=config.update.optimizer,
        gradient_checkpointing=policy.gradient_checkpointing,
        microbatch_size=config.update.microbatch_size or config.update.minibatch_size,
        num_envs=config.rollout.num_envs // num_gpus,
        num_gpus=num_gpus,
    )
    warning = advice(own, lora, plan, free + torch.cuda.memory_reserved(device), config.policy.kind)
    if warning is not None:
        say(f"Warning: {warning}")


def advice(own: Footprint, lora: Footprint, plan: Plan, available: float, kind: str) -> str | None:
    """One sentence if a plan does not fit into a GPU's memory: what is needed, what there is, what would fit.

    Args:
        own: The model as it is to be trained.
        lora: The same model with adapters (`own` itself in a LoRA run).
        plan: As chosen.
        available: Free bytes of the GPU.
        kind: Of the policy, whose own options are named.
    """
    budget, need = USABLE * available, estimate(own, plan)
    if need.total <= budget:
        return None
    ways = _ways_out(own, lora, plan, kind)
    fitting = [words for words, footprint, other in ways if estimate(footprint, other).total <= budget]
    more_gpus = [words for words in fitting if "such GPUs" in words]
    fitting = [words for words in fitting if words not in more_gpus[1:]]  # the smallest number is enough
    return (
        f"this training needs about {need.total / GB:.0f} GB of GPU memory (weights {need.weights / GB:.0f}, gradients "
        f"{need.gradients / GB:.0f}, optimiser {need.optimizer / GB:.0f}, activations {need.activations / GB:.0f}, "
        f"a rollout {need.rollout / GB:.0f}), and of {available / GB:.0f} GB about {budget / GB:.0f} can be used; "
        f"{'what would fit: ' + '; or '.join(fitting) if fitting else 'nothing smaller would fit on such GPUs'}."
    )


def _ways_out(own: Footprint, lora: Footprint, plan: Plan, kind: str) -> list[tuple[str, Footprint, Plan]]:
    """Changes to try, the mildest first: each with its words, the model it leads to, and its plan."""
    small = dataclasses.replace(plan, microbatch_size=1, num_envs=min(plan.num_envs, 8))
    checkpointed = dataclasses.replace(small, gradient_checkpointing=True)
    light = dataclasses.replace(checkpointed, optimizer="adamw_stochastic")
    small_words = "--update.microbatch-size 1 and at most 8 environments"
    tight = "with micro-batches of 1 and gradient checkpointing"
    ways = [(small_words, own, small)]
    if not plan.gradient_checkpointing:
        ways.append((f"--policy.{kind}.gradient-checkpointing and {small_words}", own, checkpointed))
    if own.itemsize == 2 and own is not lora:
        ways.append((f"--update.optimizer adamw_stochastic {tight}", own, light))
    if own is not lora:
        ways.append((f"--policy.lora.rank 32 {tight}", lora, checkpointed))
    for factor in MORE_GPUS:
        number = factor * plan.num_gpus
        ways.append((f"{number} such GPUs {tight}", own, dataclasses.replace(checkpointed, num_gpus=number)))
    return ways


def _coming_device(config: TrainConfig) -> torch.device | None:
    """The CUDA device that a policy still on the CPU is about to move to."""
    from tgrpo_trainer.distributed.world import resolve_device

    device = resolve_device(config.run.device)
    return device if device.type == "cuda" else None
