"""From trajectory groups to one flat batch of decisions: score each group, keep those that say something, flatten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.config import RolloutConfig
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.objectives import Objective
from tgrpo_trainer.objectives.advantages import AdvantageResult
from tgrpo_trainer.optim.gradient_budget import draw_decisions
from tgrpo_trainer.types import Batch, PolicyInput, Trajectory, TrajectoryGroup


@dataclass(frozen=True)
class ScoredGroup:
    """A group and its advantages.

    Attributes:
        group: Its trajectories.
        result: Their advantages.
        factor_GT: float64, what the weight of each decision is multiplied by; 0 leaves it out. None = 1 for all.
    """

    group: TrajectoryGroup
    result: AdvantageResult
    factor_GT: Tensor | None = None

    @property
    def success_share(self) -> float:
        """Share of the members that succeeded."""
        return sum(each.success for each in self.group.trajectories) / len(self.group)


def score_groups(groups: Sequence[TrajectoryGroup], objective: Objective) -> tuple[ScoredGroup, ...]:
    """Advantages of each group; groups are never compared with each other."""
    return tuple(ScoredGroup(group, objective.advantages(group)) for group in groups)


def keep_groups(scored: Sequence[ScoredGroup], rollout: RolloutConfig) -> tuple[ScoredGroup, ...]:
    """The groups to learn from, as `rollout.filter` says.

    Without spread a group's advantages are all 0; where such groups are kept, only the KL term learns from them.
    """
    if rollout.success_range is None:
        return tuple(scored)
    low, high = rollout.success_range
    return tuple(each for each in scored if not each.result.zero_advantage and low <= each.success_share <= high)


def limit_decisions(scored: Sequence[ScoredGroup], budget: float, generator: torch.Generator) -> list[ScoredGroup]:
    """The groups with a share of their decisions to learn from; see `draw_decisions`.

    Args:
        scored: Groups to learn from.
        budget: Share of each group's decisions, in (0, 1].
        generator: The same on all ranks. One number is drawn for all groups, so that a group's draw does not depend on
            which rank has it.
    """
    offset = float(torch.rand((), dtype=torch.float64, generator=generator))
    return [
        replace(
            each,
            factor_GT=draw_decisions(
                each.result.advantages_GT, each.group.mask_GT, each.group.stage_GT, budget=budget, offset=offset
            ),
        )
        for each in scored
    ]


def group_metrics(scored: Sequence[ScoredGroup], kept: Sequence[ScoredGroup], world: World) -> dict[str, float]:
    """Shares over the groups of all ranks.

    Returns:
        `groups/zero_advantage` (every advantage is 0), `groups/kept` (learnt from) and, of an objective with a step
        term, `step_term/singleton` and `step_term/zero_std` (shares of its comparisons that had fewer than two members,
        or no spread).
    """
    steps = [each.result.step for each in scored if each.result.step is not None]
    counts = (
        len(scored),
        sum(each.result.zero_advantage for each in scored),
        len(kept),
        sum(step.num_sets for step in steps),
        sum(step.num_singleton for step in steps),
        sum(step.num_zero_std for step in steps),
    )
    num_groups, num_zero, num_kept, num_sets, num_singleton, num_zero_std = (
        sum(each) for each in zip(*world.gather(counts), strict=True)
    )
    metrics = {"groups/zero_advantage": num_zero / max(1, num_groups), "groups/kept": num_kept / max(1, num_groups)}
    if num_sets:
        metrics |= {"step_term/singleton": num_singleton / num_sets, "step_term/zero_std": num_zero_std / num_sets}
    return metrics


def build_batch(
    kept: Sequence[ScoredGroup], world: World, like: Trajectory | None = None, *, has_kl: bool = False
) -> Batch | None:
    """The batch of an iteration, or None when no group of any rank has anything to learn from.

    Args:
        kept: This rank's groups to learn from.
        world: The ranks, each with groups of its own; the batch of all of them is the concatenation of their batches.
        like: With several ranks: any trajectory, for the shapes of a batch without rows.
        has_kl: Whether the loss has a KL term, which has something to say where all advantages are 0 too.

    Returns:
        This rank's batch, perhaps without rows.
    """
    num_members = sum(world.gather(sum(len(each.group) for each in kept)))
    informs = any(world.gather(any(has_kl or not each.result.zero_advantage for each in kept)))
    if not informs:
        return None
    return flatten(kept, num_members) if kept or like is None else _empty_batch(like)


def flatten(scored: Sequence[ScoredGroup], num_members: int | None = None) -> Batch:
    """Decisions of all members as rows, weighted so that every member counts the same whatever its length.

    Member i with T_i decisions gives each of them 1 / (N T_i), times its factor; those of factor 0 are left out.

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
    batch = Batch(
        observations=PolicyInput.cat([trajectory.observations for trajectory in trajectories]),
        choices_NK=torch.cat([trajectory.choices_TK for trajectory in trajectories]),
        old_logp_NK=torch.cat([trajectory.logp_TK for trajectory in trajectories]),
        mask_NK=torch.cat([trajectory.executed_TK for trajectory in trajectories]),
        advantages_N=torch.cat(advantages).to(torch.float32),
        weights_N=torch.repeat_interleave(weights, lengths),
    )
    factors = [each.factor_GT[each.group.mask_GT] for each in scored if each.factor_GT is not None]
    if not factors:
        return batch
    factor_N = torch.cat(factors)
    return replace(batch, weights_N=batch.weights_N * factor_N).rows(factor_N > 0)


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
