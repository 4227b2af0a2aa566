"""One iteration on all ranks: collect groups, compare within them, update the policy, measure.

Tasks and seeds are drawn for the groups of all ranks and each rank takes its part, so the run plays the same episodes
on any number of ranks. Ranks meet when all have collected, and in the update. With `rollout.max_rounds` above 1 they
collect again, of the same tasks, while too few groups are kept to learn from (dynamic sampling).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.distributed.fsdp import ShardedPolicy
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.metrics.metrics import Mean, merge_metrics, rollout_metrics
from tgrpo_trainer.metrics.timing import CostMeter, return_free_memory
from tgrpo_trainer.optim.batch import (
    ScoredGroup,
    build_batch,
    group_metrics,
    keep_groups,
    limit_decisions,
    score_groups,
)
from tgrpo_trainer.optim.update import PolicyUpdater
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.rollout.environment import Members
from tgrpo_trainer.rollout.halves import collect_side_by_side
from tgrpo_trainer.rollout.rollout import Group, Sampling, trainable_groups
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


@dataclass(frozen=True)
class _Round:
    """One rollout of all of this rank's environments, its start states, and what its groups say."""

    groups: tuple[Group, ...]
    state_seeds: list[int]
    scored: tuple[ScoredGroup, ...]
    kept: tuple[ScoredGroup, ...]
    env_s: float
    policy_s: float


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
    tasks = list(world.own(draw_tasks(len(envs.tasks), config.rollout.num_groups, seed=seed, iteration=index)))
    with student.gathered() as player, world.together():
        middle = len(tasks) // 2
        halves = [tasks[:middle], tasks[middle:]] if config.rollout.overlap else [tasks]
        members = [envs.for_groups(each, half) for half, each in enumerate(halves)]
        rounds, idle_s = _play_rounds(config, members, player, index, world)
        groups = tuple(group for each in rounds for group in each.groups)
        tasks *= len(rounds)
        scored = [one for each in rounds for one in each.scored]
        kept: Sequence[ScoredGroup] = [one for each in rounds for one in each.kept]
        keys = [task_key(envs.tasks[task]) for task in tasks] if len(envs.tasks) > 1 else None
        metrics: dict[str, float | Mean] = {**rollout_metrics(groups, keys)}
    collected = time.monotonic()
    of_groups = {**group_metrics(scored, kept, world), "rollout/rounds": float(len(rounds))}
    if config.update.gradient_budget < 1.0:
        kept = limit_decisions(kept, config.update.gradient_budget, make_generator(seed, Stream.BUDGET, index))
    batch = build_batch(kept, world, like=groups[0][0].trajectory, has_kl=config.objective.needs_reference)
    update_metrics = {"optimiser_steps": 0.0}
    if batch is not None:
        student.policy.train()
        update_metrics = updater.update(batch, index, make_generator(seed, Stream.SHUFFLE, index))
    return_free_memory()
    costs = meter.metrics(
        env_s=sum(each.env_s for each in rounds),
        policy_s=sum(each.policy_s for each in rounds),
        update_s=time.monotonic() - collected,
        idle_s=idle_s,
    )
    of_all = {
        **merge_metrics(world.gather({**metrics, **costs})),
        **of_groups,
        **{f"update/{name}": value for name, value in update_metrics.items()},
    }
    return Iteration(groups, tasks, [one for each in rounds for one in each.state_seeds], of_all)


def _play_rounds(
    config: TrainConfig, members: Sequence[Members], player: Policy, index: int, world: World
) -> tuple[list[_Round], float]:
    """Rounds of rollouts until enough groups of all ranks are kept; and the seconds spent waiting for other ranks."""
    rounds: list[_Round] = []
    idle_s = 0.0
    while True:
        rounds.append(_play_round(config, members, player, index, len(rounds), world))
        finished = time.monotonic()
        num_kept = sum(world.gather(sum(len(each.kept) for each in rounds)))
        idle_s += time.monotonic() - finished if world.size > 1 else 0.0
        if num_kept >= config.rollout.min_groups or len(rounds) == config.rollout.max_rounds:
            return rounds, idle_s


def _play_round(
    config: TrainConfig, members: Sequence[Members], player: Policy, index: int, round_: int, world: World
) -> _Round:
    """One start state for each of this rank's groups, played and scored."""
    rollout, seed = config.rollout, config.run.seed
    state_seeds = list(world.own(derive_seeds(seed, Stream.STATES, index, round_, count=rollout.num_envs)))
    generators = make_generators(seed, Stream.ACTIONS, index, round_, count=rollout.num_envs, device=player.device)
    groups, played = collect_side_by_side(
        player,
        members,
        Sampling(rollout.temperature, generators=world.own(generators)),
        seeds=state_seeds,
        num_generations=rollout.num_generations,
        end=rollout.end,
    )
    scored = score_groups(trainable_groups(groups), config.objective)
    kept = keep_groups(scored, rollout)
    return _Round(groups, state_seeds[:: rollout.num_generations], scored, kept, played.env_s, played.policy_s)
