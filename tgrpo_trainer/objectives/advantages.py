"""Comparisons within a group of trajectories: the parts that objectives make advantages of.

    normalised = (value - mean) / std          mean and std over the values that are compared, std over n - 1

Rules of ours, where the literature is silent: zero spread gives zero advantage, and a comparison needs two members.
Pure functions, computed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.types import taken

ZERO_SPREAD = 1e-9
"""Values whose range is below this share of their magnitude count as equal. Rewards that are equal on paper may
differ by rounding, and dividing rounding error by its own standard deviation would give advantages of size one."""
ROUNDING = 1e-12
"""Share of a group's rewards, summed without signs, below which one of them is what rounding left of others."""

Scale = Literal["std", "none"]


@dataclass(frozen=True)
class Comparison:
    """Decisions of a group compared in sets, and what had to be set to zero.

    Attributes:
        values_GT: float64, normalised within each set; 0 where the mask is False.
        num_sets: Sets of decisions that were compared (clock steps, or stages).
        num_singleton: How many of them held fewer than two members, so that the values are 0.
        num_zero_std: How many of the others had no spread, so that the values are 0.
    """

    values_GT: Tensor
    num_sets: int
    num_singleton: int
    num_zero_std: int


@dataclass(frozen=True)
class AdvantageResult:
    """The advantages of one group, and the terms they were made of.

    Attributes:
        advantages_GT: float64; 0 where the mask is False.
        step: The step term before its weight; None of an objective without one.
        trajectory_G: float64, the trajectory term before its weight; None of an objective without one.
    """

    advantages_GT: Tensor
    step: Comparison | None = None
    trajectory_G: Tensor | None = None

    @property
    def zero_advantage(self) -> bool:
        """Whether every advantage is exactly 0: the group says nothing about which action was better."""
        return not bool(self.advantages_GT.any())


def masked_rewards(rewards_GT: object, mask_GT: object) -> tuple[Tensor, Tensor]:
    """Rewards in float64, 0 where the mask is False, and the mask; from tensors, arrays or lists.

    A decision's reward is the sum of its control steps', which may rise and fall back: to 0 on paper, and so here.

    Raises:
        ConfigError: Fewer than two members, shapes that differ, a reward that is no finite number, or a mask that is
            not of truth values.
    """
    rewards, mask = taken(rewards_GT, "rewards_GT"), taken(mask_GT, "mask_GT", flags=True)
    if rewards.shape != mask.shape or rewards.ndim != 2 or rewards.shape[0] < 2:
        raise ConfigError(
            f"rewards {tuple(rewards.shape)} and mask {tuple(mask.shape)} must share a shape (G, T) with G >= 2."
        )
    rewards = rewards.masked_fill(~mask, 0.0)
    if not rewards.isfinite().all():
        raise ConfigError("rewards_GT holds NaN or infinity where the mask is True.")
    sizes = rewards.abs()
    return rewards.masked_fill(sizes <= ROUNDING * sizes.sum(), 0.0), mask


def compare(
    values_GT: Tensor, mask_GT: Tensor, label_GT: Tensor, *, scale: Scale = "std", std_floor: float = 0.0
) -> Comparison:
    """Normalise values among the decisions that share a label.

    Args:
        values_GT: Value of each decision.
        mask_GT: Bool, the decisions that are compared.
        label_GT: int64.
        scale: "std" divides by the standard deviation; "none" only subtracts the mean.
        std_floor: Smallest standard deviation divided by.
    """
    normalised_GT = torch.zeros_like(values_GT)
    num_singleton = num_zero_std = 0
    labels = sorted(set(label_GT[mask_GT].tolist()))
    for label in labels:
        chosen_GT = mask_GT & (label_GT == label)
        if int(chosen_GT.any(1).sum()) < 2:
            num_singleton += 1
            continue
        chosen_M = values_GT[chosen_GT]
        normalised_GT[chosen_GT], no_spread = _normalise(chosen_M, chosen_M.abs().max(), scale, std_floor)
        num_zero_std += no_spread
    return Comparison(normalised_GT, len(labels), num_singleton, num_zero_std)


def trajectory_term(rewards_GT: Tensor, *, scale: Scale = "std", std_floor: float = 0.0) -> Tensor:
    """Returns of whole trajectories, normalised within the group: (G,).

    They have no spread where it is rounding error beside what was paid and taken back on the way.

    Args:
        rewards_GT: 0 after a member's end.
        scale: As of `compare`.
        std_floor: As of `compare`.
    """
    return _normalise(rewards_GT.sum(1), rewards_GT.abs().sum(1).max(), scale, std_floor)[0]


def fuse(
    step: Comparison, trajectory_G: Tensor, mask_GT: Tensor, *, alpha_step: float, alpha_trajectory: float
) -> AdvantageResult:
    """The weighted sum of both terms."""
    fused_GT = alpha_step * step.values_GT + alpha_trajectory * trajectory_G[:, None]
    return AdvantageResult(fused_GT.masked_fill(~mask_GT, 0.0), step, trajectory_G)


def returns_to_go(rewards_GT: Tensor, discount: float) -> Tensor:
    """sum_k discount^k r[i,t+k]: what followed a decision, and the less the later it came.

    Args:
        rewards_GT: 0 after a member's end.
        discount: In [0, 1]; 0 gives the rewards themselves.

    Returns:
        (G, T); what rounding leaves of rewards that are taken back is 0.
    """
    returns_GT, magnitude_GT = rewards_GT.clone(), rewards_GT.abs()
    for t in range(rewards_GT.shape[1] - 2, -1, -1):
        returns_GT[:, t] += discount * returns_GT[:, t + 1]
        magnitude_GT[:, t] += discount * magnitude_GT[:, t + 1]
    return returns_GT.masked_fill(returns_GT.abs() <= ROUNDING * magnitude_GT, 0.0)


def clock_labels(mask_GT: Tensor) -> Tensor:
    """The time index of each decision: what is compared at one clock step."""
    return torch.arange(mask_GT.shape[1]).expand_as(mask_GT)


def _normalise(values_M: Tensor, magnitude: Tensor, scale: Scale, std_floor: float) -> tuple[Tensor, bool]:
    """(values - mean) / std over M - 1, and whether the values had no spread (then zeros).

    Args:
        values_M: What is compared.
        magnitude: The largest of them, or of what they were added up from.
        scale: As of `compare`.
        std_floor: As of `compare`.
    """
    if values_M.max() - values_M.min() <= ZERO_SPREAD * magnitude:
        return torch.zeros_like(values_M), True
    centred_M = values_M - values_M.mean()
    if scale == "none":
        return centred_M, False
    return centred_M / values_M.std(correction=1).clamp(min=std_floor), False
