"""What `rollout.overlap` saves: a rollout with a small policy that waits as long as a 7B on an H200 would take.

python -m benchmarks.trainer.overlap [--num-groups 4] [--control-steps 64]
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing
from typing import Any

from tgrpo_envs.command import run_command
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.policy import policy_class
from tgrpo_trainer.policy.base import Policy, PolicyStart
from tgrpo_trainer.recipes import quickstart
from tgrpo_trainer.rollout.environment import make_envs
from tgrpo_trainer.rollout.halves import collect_side_by_side
from tgrpo_trainer.rollout.rollout import RolloutResult, Sampling
from tgrpo_trainer.rollout.tasks import TaskEnvs
from tgrpo_trainer.types import ActionSample, PolicyInput

DECISION_S, ROW_S = 0.030, 0.0096
"""Parallel decoding on an H200 (docs/performance.md): 39, 101 and 336 ms for 1, 8 and 32 rows, as a line."""


def slow_policy(config: TrainConfig) -> Policy:
    """A new policy whose decisions take the seconds of a 7B's, in which the CPU is free."""
    policy = policy_class(config.policy.kind).start(
        PolicyStart(
            image_size=config.env.image_size,
            action_chunk=config.env.action_chunk,
            suite=config.env.suite,
            checkpoint=None,
            settings=config.policy.own_settings,
            lora=None,
            weights_seed=0,
            adapters_seed=0,
        )
    )
    sample = policy.sample

    def slow(observations: PolicyInput, **settings: Any) -> ActionSample:
        time.sleep(DECISION_S + ROW_S * len(observations))
        return sample(observations, **settings)

    policy.sample = slow  # type: ignore[assignment, method-assign]
    return policy


def rollout_s(config: TrainConfig, policy: Policy, envs: TaskEnvs, *, overlap: bool) -> tuple[float, RolloutResult]:
    """Seconds of a rollout of all groups, and what was played; pictures have been drawn before."""
    groups, middle = [0] * config.rollout.num_groups, config.rollout.num_groups // 2
    halves = [groups[:middle], groups[middle:]] if overlap else [groups]
    parts = [envs.for_groups(each, half) for half, each in enumerate(halves)]
    options = {"init_states": "train", "group_size": config.rollout.num_generations}
    for part in parts:
        part.reset(seed=list(range(part.num_envs)), options=options)
    begun = time.perf_counter()
    _, played = collect_side_by_side(
        policy,
        parts,
        Sampling(greedy=True),
        seeds=range(config.rollout.num_envs),
        num_generations=config.rollout.num_generations,
        end="each",
    )
    return time.perf_counter() - begun, played


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trainer.overlap", description=__doc__)
    parser.add_argument("--num-groups", type=int, default=4, help="groups of eight members")
    parser.add_argument("--control-steps", type=int, default=64, help="length of an episode")
    given = parser.parse_args()

    def compare() -> str:
        recipe = quickstart()
        config = recipe.replace(
            env={**recipe.env.model_dump(), "horizon": given.control_steps},
            rollout={**recipe.rollout.model_dump(), "num_groups": given.num_groups},
        )
        policy = slow_policy(config)
        num_envs, size = config.rollout.num_envs, config.rollout.num_generations
        with closing(TaskEnvs(config.env, num_envs, size, make_envs)) as envs:
            alone_s, played = rollout_s(config, policy, envs, overlap=False)
            halves_s, _ = rollout_s(config, policy, envs, overlap=True)
        return (
            f"{num_envs} episodes of {given.control_steps} control steps: environment {played.env_s:.2f} s, policy "
            f"{played.policy_s:.2f} s, together {alone_s:.2f} s; with overlap {halves_s:.2f} s, "
            f"{alone_s / halves_s:.2f} x"
        )

    return run_command(compare)


if __name__ == "__main__":
    sys.exit(main())
