"""What a gradient budget saves: seconds of one update of the quickstart's policy, for several budgets.

python -m benchmarks.trainer.budget
"""

from __future__ import annotations

import sys

import torch

from benchmarks.trainer.timing import seconds_of
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.objectives import Objective
from tgrpo_trainer.optim.batch import build_batch, limit_decisions, score_groups
from tgrpo_trainer.optim.update import PolicyUpdater
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.recipes import quickstart
from tgrpo_trainer.types import Batch, EpisodeEnd, PolicyInput, Trajectory, TrajectoryGroup

BUDGETS = (1.0, 0.5, 0.25)
STAGES = torch.tensor([0] * 8 + [1] * 5 + [2] * 3)
"""Of an episode's decisions: a long approach, a shorter transport, a short placing."""


def main(num_groups: int = 8, num_members: int = 8, repeats: int = 5) -> None:
    """Print decisions, optimiser steps and median seconds of each budget."""
    config = quickstart()
    torch.manual_seed(0)
    policy = NanoPolicy(
        NanoConfig(action_chunk=config.env.action_chunk, steps_per_token=config.policy.nano.steps_per_token)
    )
    groups = [made_up_group(policy, num_members) for _ in range(num_groups)]
    for budget in BUDGETS:
        objective = config.objective.model_copy(update={"beta": 0.0})
        batch = limited_batch(groups, objective, budget)
        steps, seconds = measure(policy, objective, batch, repeats)
        sys.stdout.write(f"budget {budget:.2f}: {len(batch)} decisions, {steps:.0f} steps, {seconds:.2f} s\n")


def measure(policy: NanoPolicy, objective: Objective, batch: Batch, repeats: int) -> tuple[float, float]:
    """Optimiser steps and median seconds of an update with all the quickstart's passes, without a reference policy."""
    optimiser = quickstart().update.model_copy(update={"target_kl": None, "gradient_cosine": False})
    updater = PolicyUpdater(policy, None, objective=objective, optimiser=optimiser, temperature=1.0, total_iterations=1)
    generator = torch.Generator().manual_seed(0)
    policy.train()
    steps = updater.update(batch, 0, generator)["optimiser_steps"]
    return steps, seconds_of(lambda: updater.update(batch, 0, generator), policy.device, repeats=repeats)


def made_up_group(policy: NanoPolicy, num_members: int) -> TrajectoryGroup:
    """Members that decide on noise, with random rewards."""
    members = []
    for _ in range(num_members):
        length = len(STAGES)
        shape = (length, policy.image_size, policy.image_size, 3)
        agentview_NHWC, wrist_NHWC = (torch.randint(0, 256, shape, dtype=torch.uint8) for _ in range(2))
        words_NL = policy.encode_instructions(["pick up the ketchup"] * length)
        seen = PolicyInput(agentview_NHWC, wrist_NHWC, torch.randn(length, 12), words_NL)
        drawn = policy.sample(seen)
        executed_TK = torch.ones_like(drawn.choices_NK, dtype=torch.bool)
        rewards_T = torch.rand(length, dtype=torch.float64)
        end, steps = EpisodeEnd.HORIZON, length * policy.action_chunk
        members.append(
            Trajectory(seen, drawn.choices_NK, drawn.logp_NK, executed_TK, rewards_T, STAGES, end, 0.0, steps)
        )
    return TrajectoryGroup(tuple(members), "made up")


def limited_batch(groups: list[TrajectoryGroup], objective: Objective, budget: float) -> Batch:
    """The rows that the budget leaves of the groups."""
    scored = limit_decisions(score_groups(groups, objective), budget, torch.Generator().manual_seed(0))
    batch = build_batch(scored, World())
    assert batch is not None
    return batch


if __name__ == "__main__":
    main()
