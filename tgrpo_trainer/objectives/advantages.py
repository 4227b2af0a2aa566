"""TGRPO's fused advantage of one group: how good each decision was compared with the other members'.

    step[i,t]     = (q[i,t] - mean_i q[.,t]) / std_i q[.,t]        std over n - 1 of the n members alive at t
    trajectory[i] = (R[i] - mean R) / std R                        R[i] = sum_t r[i,t], std over G - 1
    A[i,t]        = alpha_step * step[i,t] + alpha_trajectory * trajectory[i]
    q[i,t]        = sum_k step_discount^k r[i,t+k]                 step_discount = 0: q = r, the paper's

The equations are TGRPO's (arXiv 2506.08440). How the paper treats zero spread, ragged ends and rounding is unknown; the
rules here are ours: zero spread gives zero advantage and a comparison needs two members. Also ours are the options
`std_floor`, `scale="none"` and `step_group="stage"`, which pools the decisions of one stage instead of one clock step.
Pure functions, computed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tgrpo_trainer.types import taken

ZERO_SPREAD = 1e-9
"""Values whose range is below this share of their largest magnitude count as equal. Rewards that are equal on paper may
differ by rounding, and dividing rounding error by its own standard deviation would give advantages of size one."""

Scale = Literal["std", "none"]
StepGroup = Literal["clock", "stage"]


@dataclass(frozen=True)
class AdvantageResult:
    """The advantages of one group and what had to be set to zero.

    Attributes:
        advantages_GT: float64, fused; 0 where the mask is False.
        step_GT: float64, the step term before its weight; 0 where the mask is False.
        trajectory_G: float64, the trajectory term before its weight.
        num_comparisons: Sets of decisions compared by the step term (clock steps, or stages).
        num_lonely: How many of them held fewer than two members, so that the step term is 0.
        num_flat: How many of the others had no spread, so that the step term is 0.
    """

    advantages_GT: Tensor
    step_GT: Tensor
    trajectory_G: Tensor
    num_comparisons: int
    num_lonely: int
    num_flat: int

    @property
    def uniform(self) -> bool:
        """Whether every advantage is exactly 0: the group says nothing about which action was better."""
        return not bool(self.advantages_GT.any())


def tgrpo_advantages(
    rewards_GT: Tensor,
    mask_GT: Tensor,
    *,
    alpha_step: float = 0.3,
    alpha_trajectory: float = 0.7,
    scale: Scale = "std",
    std_floor: float = 0.0,
    step_group: StepGroup = "clock",
    stage_GT: Tensor | None = None,
    step_discount: float = 0.0,
) -> AdvantageResult:
    """Fuse step and trajectory advantages of one group.

    Args:
        rewards_GT: Reward of each decision, a tensor, array or lists; values where the mask is False are ignored.
        mask_GT: Bool, True where the member took a decision.
        alpha_step: Weight of the step term; 0 switches it off (trajectory GRPO).
        alpha_trajectory: Weight of the trajectory term; 0 switches it off.
        scale: "std" divides by the standard deviation; "none" only subtracts the mean.
        std_floor: Smallest standard deviation divided by.
        step_group: "clock" compares decisions of one time index, "stage" those of one stage whatever their time.
        stage_GT: int64 stage of each decision; needed for "stage".
        step_discount: The step term compares discounted returns from each decision on; 0 compares its own reward.

    Raises:
        ValueError: Fewer than two members, shapes that differ, a reward that is not finite, or "stage" without stages.
        ConfigError: Rewards that are no numbers, or a mask that is not of truth values.
    """
    rewards_GT, mask_GT = taken(rewards_GT, "rewards_GT"), taken(mask_GT, "mask_GT", flags=True)
    if rewards_GT.shape != mask_GT.shape or rewards_GT.ndim != 2 or rewards_GT.shape[0] < 2:
        raise ValueError(
            f"rewards {tuple(rewards_GT.shape)} and mask {tuple(mask_GT.shape)} must share a shape (G, T) with G >= 2."
        )
    rewards_GT = rewards_GT.masked_fill(~mask_GT, 0.0)
    if not rewards_GT.isfinite().all():
        raise ValueError("rewards_GT holds NaN or infinity where the mask is True.")
    trajectory_G, _ = _normalise(rewards_GT.sum(1), scale, std_floor)
    credit_GT = returns_to_go(rewards_GT, step_discount)
    label_GT = _labels(mask_GT, step_group, stage_GT)

    step_GT = torch.zeros_like(rewards_GT)
    num_lonely = num_flat = 0
    labels = sorted(set(label_GT[mask_GT].tolist()))
    for label in labels:
        chosen_GT = mask_GT & (label_GT == label)
        if int(chosen_GT.any(1).sum()) < 2:
            num_lonely += 1
            continue
        step_GT[chosen_GT], flat = _normalise(credit_GT[chosen_GT], scale, std_floor)
        num_flat += flat
    fused_GT = alpha_step * step_GT + alpha_trajectory * trajectory_G[:, None]
    return AdvantageResult(
        advantages_GT=fused_GT.masked_fill(~mask_GT, 0.0),
        step_GT=step_GT,
        trajectory_G=trajectory_G,
        num_comparisons=len(labels),
        num_lonely=num_lonely,
        num_flat=num_flat,
    )


def returns_to_go(rewards_GT: Tensor, discount: float) -> Tensor:
    """sum_k discount^k r[i,t+k]: what followed a decision, and the less the later it came.

    Args:
        rewards_GT: 0 after a member's end.
        discount: In [0, 1]; 0 gives the rewards themselves.
    """
    returns_GT = rewards_GT.clone()
    for t in range(rewards_GT.shape[1] - 2, -1, -1):
        returns_GT[:, t] += discount * returns_GT[:, t + 1]
    return returns_GT


def _labels(mask_GT: Tensor, step_group: StepGroup, stage_GT: Tensor | None) -> Tensor:
    """Decisions with equal labels are compared with each other."""
    if step_group == "clock":
        return torch.arange(mask_GT.shape[1]).expand_as(mask_GT)
    if stage_GT is None or stage_GT.shape != mask_GT.shape:
        raise ValueError('step_group="stage" needs stage_GT of the shape of the rewards.')
    return stage_GT


def _normalise(values_M: Tensor, scale: Scale, std_floor: float) -> tuple[Tensor, bool]:
    """(values - mean) / std over M - 1, and whether the values had no spread (then zeros)."""
    if values_M.max() - values_M.min() <= ZERO_SPREAD * values_M.abs().max():
        return torch.zeros_like(values_M), True
    centred_M = values_M - values_M.mean()
    if scale == "none":
        return centred_M, False
    return centred_M / values_M.std(correction=1).clamp(min=std_floor), False
