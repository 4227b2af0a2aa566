"""Behaviour cloning: the supervised start of reinforcement learning."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.bc.dataset import DemoDataset
from tgrpo_trainer.config import SftConfig
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.optim.optimizer import MasterAdam, StochasticAdam, trained_parameters
from tgrpo_trainer.optim.update import clip_gradients, refuse_non_finite
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.types import PolicyInput

MAX_SHIFT_PIXELS = 2
MAX_GRAD_NORM = 1.0
BETAS = (0.9, 0.999)
"""Adam's decay rates, torch's defaults."""
AVERAGED_STEPS = 50
"""The reported loss and accuracy are means over this many of the last steps."""

OnStep = Callable[[int, Mapping[str, float]], None]


def train_sft(
    policy: Policy,
    dataset: DemoDataset,
    *,
    config: SftConfig,
    generator: torch.Generator,
    on_step: OnStep | None = None,
    world: World = World(),  # noqa: B008 - frozen
    stochastic: bool = False,
) -> dict[str, float]:
    """Clone demonstrations: the policy's own loss (`Policy.bc_loss`), `cloning_optimizer` with cosine decay to 0.

    Stops after `config.max_steps` steps rather than a time, so that equal seeds give equal policies.

    Args:
        policy: Learns in place.
        dataset: Demonstrations with the policy's chunk length and image size.
        config: Steps, batch size, learning rate.
        generator: Draws rows and shifts (a CPU generator).
        on_step: Called after every step with the number of steps done and the latest metrics, for a progress bar.
        world: The ranks; each takes its part of every batch, and the policy is sharded over them.
        stochastic: Round bfloat16 weights at random, in place of float32 master weights, which take twice the memory.

    Returns:
        `loss` (of tokens and Gaussians: nats per choice) and `accuracy` (share of choices whose most probable value is
        the expert's), means over the last steps.

    Raises:
        ConfigError: Fewer decisions in a batch than ranks.
        TrainingError: A loss or gradient is not finite.
    """
    if config.batch_size < world.size:
        raise ConfigError(f"sft.batch_size is {config.batch_size}, with {world.size} ranks; use at least one for each.")
    instruction_UL = policy.encode_instructions(dataset.instructions)
    optimizer = cloning_optimizer(policy, generator.initial_seed() if stochastic else None)
    recent: deque[dict[str, float]] = deque(maxlen=AVERAGED_STEPS)
    for step in range(config.max_steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * step / config.max_steps))
        rows = torch.randint(len(dataset), (config.batch_size,), generator=generator)
        obs = PolicyInput(
            agentview_NHWC=random_shift(dataset.agentview_MHWC[rows], generator),
            wrist_NHWC=random_shift(dataset.wrist_MHWC[rows], generator),
            proprio_NP=dataset.proprio_MP[rows],
            instruction_NL=instruction_UL[dataset.task_M[rows].to(instruction_UL.device)],
        )
        counted_NK = policy.counted(dataset.valid_MC[rows])
        own = slice(world.rank, None, world.size)
        step_metrics = _clone_step(
            policy,
            optimizer,
            obs.rows(own),
            dataset.actions_MCA[rows][own],
            counted_NK[own],
            num_counted=float(counted_NK.sum()),
            world=world,
        )
        recent.append(step_metrics)
        if on_step is not None:
            on_step(step + 1, recent[-1])
    return {key: sum(each[key] for each in recent) / len(recent) for key in recent[-1]}


def cloning_optimizer(policy: nn.Module, rounding_seed: int | None = None) -> torch.optim.Optimizer:
    """AdamW for weights in full precision; where some are in half, Adam that keeps small steps.

    In bfloat16 AdamW loses most steps of a fine-tuning, and in float16 it makes weights NaN (`optimizer.py`). What
    takes its place has no weight decay, which is smaller than these steps.

    Args:
        policy: Its trained parameters are stepped.
        rounding_seed: Of bfloat16 weights that are rounded at random; None keeps float32 master weights.
    """
    parameters = list(trained_parameters(policy).values())
    if all(parameter.dtype.itemsize >= torch.float32.itemsize for parameter in parameters):
        return torch.optim.AdamW(parameters, betas=BETAS)
    if rounding_seed is not None:
        return StochasticAdam(parameters, seed=rounding_seed)
    return MasterAdam(parameters, betas=BETAS)


def random_shift(images_NHWC: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture moved by up to MAX_SHIFT_PIXELS along both axes, its edge repeated where nothing moved in.

    After DrQ (Yarats et al., 2021): the cheapest augmentation that keeps a small CNN from memorising pixels.
    """
    num, height, width, channels = images_NHWC.shape
    shifts_2N1 = torch.randint(-MAX_SHIFT_PIXELS, MAX_SHIFT_PIXELS + 1, (2, num, 1), generator=generator)
    rows_NH = (torch.arange(height) + shifts_2N1[0]).clamp(0, height - 1)
    columns_NW = (torch.arange(width) + shifts_2N1[1]).clamp(0, width - 1)
    # One flat index per pixel: ten times as fast as indexing with three arrays, and a tenth of a training step.
    pixel_NHW = (torch.arange(num)[:, None, None] * height + rows_NH[:, :, None]) * width + columns_NW[:, None, :]
    return images_NHWC.reshape(-1, channels).index_select(0, pixel_NHW.flatten()).view_as(images_NHWC)


def _clone_step(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    obs: PolicyInput,
    actions_NCA: Tensor,
    counted_NK: Tensor,
    *,
    num_counted: float,
    world: World,
) -> dict[str, float]:
    """One step on this rank's rows of a batch whose choices count `num_counted` times in all; the batch's metrics."""
    counted_NK = counted_NK.to(policy.device)
    terms = policy.bc_loss(obs.to(policy.device), actions_NCA.to(policy.device))
    loss = (terms.loss_NK * counted_NK).sum() / num_counted
    refuse_non_finite(loss, world)
    optimizer.zero_grad(set_to_none=True)
    # FSDP averages the ranks' gradients, which are parts of one sum.
    (loss * world.size).backward()
    clip_gradients(policy.parameters(), MAX_GRAD_NORM)
    optimizer.step()
    matched = (terms.matched_NK & counted_NK).sum() / num_counted
    parts = world.gather((loss.item(), matched.item()))
    return {"loss": sum(part[0] for part in parts), "accuracy": sum(part[1] for part in parts)}
