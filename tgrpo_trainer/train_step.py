"""One iteration of TGRPO on all ranks: collect groups, compare within them, update the policy, measure.

Tasks and seeds are drawn for the groups of all ranks and each rank takes its part, so the run plays the same episodes
on any number of ranks. Ranks meet when all have collected, and in the update.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.distributed.fsdp import ShardedPolicy
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.metrics.metrics import Mean, merge_metrics, rollout_metrics
from tgrpo_trainer.metrics.timing import CostMeter, return_free_memory
from tgrpo_trainer.objectives.batch import build_batch
from tgrpo_trainer.optim.update import PolicyUpdater
from tgrpo_trainer.policy import Policy
from tgrpo_trainer.rollout.environment import Members
from tgrpo_trainer.rollout.rollout import Group, RolloutResult, Sampling, collect_groups, trainable_groups
from tgrpo_trainer.rollout.tasks import TaskEnvs, draw_tasks, task_key
from tgrpo_trainer.run.rng import Stream, derive_seeds, make_generator, make_generators


@dataclass(frozen=True)
class Iteration:
    """What one iteration of the algorithm leaves behind, beside the changed policy."""

    groups: tuple[Group, ...]
    """This rank's."""
    tasks: list[int]
    """Place of each one's task in the run's list of tasks."""
    state_seeds: list[int]
    """Seed of the start state of each of them."""
    metrics: dict[str, float | Mean]
    """Of all ranks together."""


def run_iteration(
    config: TrainConfig, envs: TaskEnvs, student: ShardedPolicy, updater: PolicyUpdater, index: int, world: World
) -> Iteration:
    """Do one iteration; all ranks call it together.

    Args:
        config: The run's settings.
        envs: Of the run's tasks; this rank plays its part of `config.rollout.num_envs` members.
        student: Acts, and learns in place.
        updater: Its optimiser.
        index: Finished iterations before this one.
        world: The ranks.

    Raises:
        RankError: Another rank has failed.
        TrainingError: See `PolicyUpdater.update`.
    """
    meter = CostMeter(world.device)
    seed = config.run.seed
    state_seeds = list(world.own(derive_seeds(seed, Stream.STATES, index, count=config.rollout.num_envs)))
    num_tasks = len(envs.tasks)
    tasks = list(world.own(draw_tasks(num_tasks, config.rollout.num_groups, seed=seed, iteration=index)))
    with student.gathered() as player, world.together():
        groups, played = _collect(config, envs.for_groups(tasks), player, state_seeds, index, world)
        finished = time.monotonic()
    collected = time.monotonic()
    with world.together():
        learnable = trainable_groups(groups)
        metrics = rollout_metrics(groups, [task_key(envs.tasks[task]) for task in tasks] if num_tasks > 1 else None)
    batch, batch_metrics = build_batch(
        learnable,
        config.tgrpo,
        drop_uniform=config.tgrpo.drop_uniform_groups,
        world=world,
        like=groups[0][0].trajectory,
    )
    update_metrics = {"optimiser_steps": 0.0}
    if batch is not None:
        student.policy.train()
        update_metrics = updater.update(batch, index, make_generator(seed, Stream.SHUFFLE, index))
    return_free_memory()
    costs = meter.metrics(
        env_s=played.env_s,
        policy_s=played.policy_s,
        update_s=time.monotonic() - collected,
        idle_s=collected - finished if world.size > 1 else 0.0,
    )
    of_all = {
        **merge_metrics(world.gather({**metrics, **costs})),
        **batch_metrics,
        **{f"update/{name}": value for name, value in update_metrics.items()},
    }
    return Iteration(groups, tasks, state_seeds[:: config.rollout.num_generations], of_all)


def _collect(
    config: TrainConfig, envs: Members, player: Policy, state_seeds: list[int], index: int, world: World
) -> tuple[tuple[Group, ...], RolloutResult]:
    """This rank's groups."""
    rollout = config.rollout
    generators = make_generators(config.run.seed, Stream.ACTIONS, index, count=rollout.num_envs, device=player.device)
    return collect_groups(
        player,
        envs,
        Sampling(rollout.temperature, generators=world.own(generators)),
        seeds=state_seeds,
        num_generations=rollout.num_generations,
        end=rollout.end,
    )
