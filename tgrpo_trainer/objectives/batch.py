"""From trajectory groups to one flat batch of decisions: score each group, drop those that say nothing, flatten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.config import TgrpoConfig
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.objectives.advantages import AdvantageResult, tgrpo_advantages
from tgrpo_trainer.types import Batch, PolicyInput, Trajectory, TrajectoryGroup


@dataclass(frozen=True)
class ScoredGroup:
    """A group and its advantages."""

    group: TrajectoryGroup
    result: AdvantageResult


def build_batch(
    groups: Sequence[TrajectoryGroup],
    objective: TgrpoConfig,
    *,
    drop_uniform: bool = True,
    world: World = World(),  # noqa: B008 - frozen
    like: Trajectory | None = None,
) -> tuple[Batch | None, dict[str, float]]:
    """The batch of an iteration, or None when no group of any rank has anything to learn from.

    Args:
        groups: What this rank's rollout collected.
        objective: Settings of the advantages.
        drop_uniform: Leave uniform groups out; otherwise they stay, with advantage 0, and only the KL term sees them.
        world: The ranks, each with groups of its own; the batch of all of them is the concatenation of their batches.
        like: With several ranks: any trajectory, for the shapes of a batch without rows.

    Returns:
        This rank's batch (perhaps without rows), and metrics over all groups: `groups/uniform` (share whose every
        advantage is 0), `step_term/lonely` and `step_term/flat` (shares of the step comparisons that had fewer than two
        members, or no spread).
    """
    scored = score_groups(groups, objective)
    informative = drop_uniform_groups(scored)
    kept = informative if drop_uniform else scored
    counts = (
        len(scored),
        len(informative),
        sum(each.result.num_comparisons for each in scored),
        sum(each.result.num_lonely for each in scored),
        sum(each.result.num_flat for each in scored),
        sum(len(each.group) for each in kept),
    )
    num_groups, num_informative, num_comparisons, num_lonely, num_flat, num_members = (
        sum(each) for each in zip(*world.gather(counts), strict=True)
    )
    metrics = {
        "groups/uniform": 1.0 - num_informative / max(1, num_groups),
        "step_term/lonely": num_lonely / max(1, num_comparisons),
        "step_term/flat": num_flat / max(1, num_comparisons),
    }
    if num_informative == 0:
        return None, metrics
    if kept or like is None:
        return flatten(kept, num_members), metrics
    return _empty_batch(like), metrics


def score_groups(groups: Sequence[TrajectoryGroup], objective: TgrpoConfig) -> tuple[ScoredGroup, ...]:
    """Advantages of each group; groups are never compared with each other."""
    return tuple(
        ScoredGroup(
            group,
            tgrpo_advantages(
                group.rewards_GT,
                group.mask_GT,
                alpha_step=objective.alpha_step,
                alpha_trajectory=objective.alpha_trajectory,
                scale=objective.scale_rewards,
                std_floor=objective.std_floor,
                step_group=objective.step_group,
                stage_GT=group.stage_GT,
                step_discount=objective.step_discount,
            ),
        )
        for group in groups
    )


def drop_uniform_groups(scored: Sequence[ScoredGroup]) -> tuple[ScoredGroup, ...]:
    """The groups with at least one advantage that is not 0."""
    return tuple(each for each in scored if not each.result.uniform)


def flatten(scored: Sequence[ScoredGroup], num_members: int | None = None) -> Batch:
    """All decisions of all members as rows, weighted so that every member counts the same whatever its length.

    Member i with T_i decisions gives each of them 1 / (N T_i).

    Args:
        scored: At least one group.
        num_members: N, the members of all ranks' groups; None counts those of the given groups.

    Raises:
        ConfigError: No group is given.
    """
    if not scored:
        raise ConfigError("No trajectory group is left to make a batch from; skip the update of this iteration.")
    trajectories = [trajectory for each in scored for trajectory in each.group.trajectories]
    advantages = [each.result.advantages_GT[each.group.mask_GT] for each in scored]
    lengths = torch.tensor([len(trajectory) for trajectory in trajectories])
    weights = 1.0 / ((num_members or len(trajectories)) * lengths.to(torch.float64))
    return Batch(
        observations=PolicyInput.cat([trajectory.observations for trajectory in trajectories]),
        choices_NK=torch.cat([trajectory.choices_TK for trajectory in trajectories]),
        old_logp_NK=torch.cat([trajectory.logp_TK for trajectory in trajectories]),
        mask_NK=torch.cat([trajectory.executed_TK for trajectory in trajectories]),
        advantages_N=torch.cat(advantages).to(torch.float32),
        weights_N=torch.repeat_interleave(weights, lengths),
    )


def _empty_batch(like: Trajectory) -> Batch:
    """A batch without rows: of a rank whose groups say nothing, while other ranks' do."""
    none = slice(0, 0)
    return Batch(
        observations=like.observations.rows(none),
        choices_NK=like.choices_TK[none],
        old_logp_NK=like.logp_TK[none],
        mask_NK=like.executed_TK[none],
        advantages_N=torch.zeros(0),
        weights_N=torch.zeros(0, dtype=torch.float64),
    )
