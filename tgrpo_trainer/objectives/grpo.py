"""GRPO over whole trajectories (arXiv 2402.03300): every decision has the advantage of its trajectory.

A[i,t] = (R[i] - mean R) / std R                               R[i] = sum_t r[i,t], std over G - 1
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tgrpo_trainer.objectives.base import NormalisedObjective

if TYPE_CHECKING:
    from tgrpo_trainer.objectives.advantages import AdvantageResult
    from tgrpo_trainer.types import TrajectoryGroup


class Grpo(NormalisedObjective):
    """GRPO: returns of whole trajectories, compared within the group."""

    kind: Literal["grpo"] = "grpo"
    """Name of the objective."""

    def advantages(self, group: TrajectoryGroup) -> AdvantageResult:
        """The trajectory's advantage for each of its decisions."""
        from tgrpo_trainer.objectives.advantages import AdvantageResult, masked_rewards, trajectory_term

        rewards_GT, mask_GT = masked_rewards(group.rewards_GT, group.mask_GT)
        trajectory_G = trajectory_term(rewards_GT, scale=self.scale_rewards, std_floor=self.std_floor)
        return AdvantageResult(trajectory_G[:, None] * mask_GT, trajectory_G=trajectory_G)
