"""Stage return, a step beyond the paper: decisions are compared by the return from them on, where they can be compared.

    q[i,t]    = sum_k discount^k r[i,t+k]
    step[i,t] = (v - mean v) / std v                               std over n - 1 of what is compared
    A[i,t]    = step[i,t] + trajectory_weight * trajectory[i]      trajectory as in TGRPO

    anchor    v, the value of a decision             compared with
    clock     q[i,t]                                 the decisions of all members at time t
    stage     q[i,t]                                 all decisions that members took in the same stage of the task
    entry     q[i,e], e the member's first decision  the members that entered the stage, once each
              in the stage of t

TGRPO compares raw rewards at one time, which says who collected first, not whose choice made it possible. States of a
robot never repeat, so entering a stage is the moment at which trajectories can be compared whatever the time. A member
that never entered a stage says nothing about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.objectives.base import NormalisedObjective

if TYPE_CHECKING:
    from torch import Tensor

    from tgrpo_trainer.objectives.advantages import AdvantageResult, Comparison, Scale
    from tgrpo_trainer.types import TrajectoryGroup

Anchor = Literal["clock", "stage", "entry"]


class StageReturn(NormalisedObjective):
    """Returns from a decision on, compared at one time, within one stage, or from the entry of a stage on."""

    kind: Literal["stage_return"] = "stage_return"
    """Name of the objective."""
    anchor: Anchor = "stage"
    """Decisions compared with each other: of one clock step, of one stage, or members by their entry of a stage."""
    discount: float = Field(default=0.9, ge=0, le=1)
    """Discount a decision of the returns; 0 = by the decision's own reward."""
    trajectory_weight: float = Field(default=0.0, ge=0)
    """Weight of the trajectory-level advantage beside the step-level one, whose weight is 1."""

    def advantages(self, group: TrajectoryGroup) -> AdvantageResult:
        """See `stage_return_advantages`."""
        return stage_return_advantages(
            group.rewards_GT,
            group.mask_GT,
            group.stage_GT,
            anchor=self.anchor,
            discount=self.discount,
            trajectory_weight=self.trajectory_weight,
            scale=self.scale_rewards,
            std_floor=self.std_floor,
        )


def stage_return_advantages(
    rewards_GT: Tensor,
    mask_GT: Tensor,
    stage_GT: Tensor,
    *,
    anchor: Anchor = "stage",
    discount: float = 0.9,
    trajectory_weight: float = 0.0,
    scale: Scale = "std",
    std_floor: float = 0.0,
) -> AdvantageResult:
    """Advantages of one group by discounted returns.

    Args:
        rewards_GT: Reward of each decision; values where the mask is False are ignored.
        mask_GT: Bool, True where the member took a decision.
        stage_GT: int64 stage of the task in which each decision was taken.
        anchor: What is compared with what; see the file's header.
        discount: In [0, 1], a decision.
        trajectory_weight: Weight of the trajectory term.
        scale: "std" divides by the standard deviation; "none" only subtracts the mean.
        std_floor: Smallest standard deviation divided by.

    Raises:
        ConfigError: Fewer than two members, shapes that differ, a reward that is no finite number, or a mask that is
            not of truth values.
    """
    from tgrpo_trainer.objectives.advantages import (
        clock_labels,
        compare,
        fuse,
        masked_rewards,
        returns_to_go,
        trajectory_term,
    )

    rewards_GT, mask_GT = masked_rewards(rewards_GT, mask_GT)
    if stage_GT.shape != mask_GT.shape:
        raise ConfigError(f"stages {tuple(stage_GT.shape)} and mask {tuple(mask_GT.shape)} must share a shape (G, T).")
    returns_GT = returns_to_go(rewards_GT, discount)
    if anchor == "entry":
        step = compare_entries(returns_GT, mask_GT, stage_GT, scale=scale, std_floor=std_floor)
    else:
        label_GT = clock_labels(mask_GT) if anchor == "clock" else stage_GT
        step = compare(returns_GT, mask_GT, label_GT, scale=scale, std_floor=std_floor)
    trajectory_G = trajectory_term(rewards_GT, scale=scale, std_floor=std_floor)
    return fuse(step, trajectory_G, mask_GT, alpha_step=1.0, alpha_trajectory=trajectory_weight)


def compare_entries(
    returns_GT: Tensor, mask_GT: Tensor, stage_GT: Tensor, *, scale: Scale, std_floor: float
) -> Comparison:
    """Compare members by the return from their first decision in a stage; their other decisions there share the value.

    Args:
        returns_GT: Discounted return from each decision on.
        mask_GT: Bool, True where the member took a decision, from its first column on.
        stage_GT: int64 stage of each decision.
        scale: As of `compare`.
        std_floor: As of `compare`.
    """
    from dataclasses import replace

    from tgrpo_trainer.objectives.advantages import clock_labels, compare

    # argmax takes the first of equal values: the earliest time of the member in the same stage.
    entry_GT = (stage_GT[:, :, None] == stage_GT[:, None, :]).int().argmax(2)
    is_entry_GT = mask_GT & (entry_GT == clock_labels(mask_GT))
    entries = compare(returns_GT, is_entry_GT, stage_GT, scale=scale, std_floor=std_floor)
    return replace(entries, values_GT=entries.values_GT.gather(1, entry_GT).masked_fill(~mask_GT, 0.0))
