"""Made-up policies, observations and trajectories, small enough to reason about."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tgrpo_trainer.config import RolloutConfig
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.objectives import Objective
from tgrpo_trainer.objectives.advantages import AdvantageResult, Comparison
from tgrpo_trainer.optim import batch as batches
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.types import Batch, EpisodeEnd, PolicyInput, Trajectory, TrajectoryGroup

IMAGE_SIZE = 16


def tiny_nano(seed: int = 0, *, action_chunk: int = 1, num_bins: int = 5, steps_per_token: int = 1) -> NanoPolicy:
    torch.manual_seed(seed)
    return NanoPolicy(NanoConfig(IMAGE_SIZE, action_chunk, num_bins, num_words=64, steps_per_token=steps_per_token))


def random_input(num_rows: int, seed: int = 0, image_size: int = IMAGE_SIZE) -> PolicyInput:
    rng = torch.Generator().manual_seed(seed)
    shape = (num_rows, image_size, image_size, 3)
    return PolicyInput(
        agentview_NHWC=torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng),
        wrist_NHWC=torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng),
        proprio_NP=torch.randn(num_rows, 12, generator=rng),
        instruction_NL=torch.randint(1, 64, (num_rows, 3), generator=rng),
    )


def make_trajectory(
    policy: NanoPolicy, rewards: Sequence[float], *, seed: int = 0, stages: Sequence[int] | None = None
) -> Trajectory:
    """Decisions drawn from the policy on random observations, with the given rewards."""
    observations = random_input(len(rewards), seed)
    sample = policy.sample(observations, generator=torch.Generator().manual_seed(seed))
    return Trajectory(
        observations=observations,
        choices_TK=sample.choices_NK,
        logp_TK=sample.logp_NK,
        executed_TK=torch.ones_like(sample.choices_NK, dtype=torch.bool),
        rewards_T=torch.tensor(rewards, dtype=torch.float64),
        stage_T=torch.tensor(stages if stages is not None else [0] * len(rewards)),
        end=EpisodeEnd.HORIZON,
        progress=0.0,
        control_steps=len(rewards) * policy.action_chunk,
    )


def make_group(policy: NanoPolicy, rewards: Sequence[Sequence[float]], *, seed: int = 0) -> TrajectoryGroup:
    members = [make_trajectory(policy, row, seed=seed * 100 + i) for i, row in enumerate(rewards)]
    return TrajectoryGroup(tuple(members), "made-up task")


def step_term(result: AdvantageResult) -> Comparison:
    """The step term of an objective that has one."""
    assert result.step is not None
    return result.step


def build_batch(
    groups: Sequence[TrajectoryGroup],
    objective: Objective,
    *,
    kept: str = "spread",
    world: World | None = None,
    like: Trajectory | None = None,
) -> tuple[Batch | None, dict[str, float]]:
    """Score, keep, flatten, as an iteration does."""
    world = world or World()
    scored = batches.score_groups(groups, objective)
    chosen = batches.keep_groups(scored, RolloutConfig(filter=kept))
    batch = batches.build_batch(chosen, world, like, has_kl=objective.needs_reference)
    return batch, batches.group_metrics(scored, chosen, world)


def flat_parameters(policy: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in policy.parameters()])


def flat_gradient(policy: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
