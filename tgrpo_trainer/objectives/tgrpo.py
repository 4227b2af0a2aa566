"""TGRPO, the paper's objective (arXiv 2506.08440): a step and a trajectory advantage, fused.

    step[i,t]     = (r[i,t] - mean_i r[.,t]) / std_i r[.,t]        std over n - 1 of the n members alive at t
    trajectory[i] = (R[i] - mean R) / std R                        R[i] = sum_t r[i,t], std over G - 1
    A[i,t]        = alpha_step * step[i,t] + alpha_trajectory * trajectory[i]

How the paper treats zero spread, ragged ends and rounding is unknown; the rules of `advantages.py` are ours, and so are
`std_floor` and `scale_rewards="none"`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from tgrpo_trainer.objectives.base import NormalisedObjective

if TYPE_CHECKING:
    from tgrpo_trainer.objectives.advantages import AdvantageResult, Scale
    from tgrpo_trainer.types import TrajectoryGroup


class Tgrpo(NormalisedObjective):
    """TGRPO, as the paper has it: rewards compared at each clock step, returns over whole trajectories."""

    kind: Literal["tgrpo"] = "tgrpo"
    """Name of the objective."""
    alpha_step: float = Field(default=0.3, ge=0)
    """Weight of the step-level advantage; with it alone policies ended below their clones (docs/results.md)."""
    alpha_trajectory: float = Field(default=0.7, ge=0)
    """Weight of the trajectory-level advantage."""

    @model_validator(mode="after")
    def _some_advantage(self) -> Tgrpo:
        if self.alpha_step == 0 and self.alpha_trajectory == 0:
            raise ValueError("alpha_step and alpha_trajectory are both 0: nothing would be learnt; set one above 0")
        return self

    def advantages(self, group: TrajectoryGroup) -> AdvantageResult:
        """See `tgrpo_advantages`."""
        return tgrpo_advantages(
            group.rewards_GT,
            group.mask_GT,
            alpha_step=self.alpha_step,
            alpha_trajectory=self.alpha_trajectory,
            scale=self.scale_rewards,
            std_floor=self.std_floor,
        )


def tgrpo_advantages(
    rewards_GT: object,
    mask_GT: object,
    *,
    alpha_step: float = 0.3,
    alpha_trajectory: float = 0.7,
    scale: Scale = "std",
    std_floor: float = 0.0,
) -> AdvantageResult:
    """Fuse step and trajectory advantages of one group.

    Args:
        rewards_GT: Reward of each decision, a tensor, array or lists; values where the mask is False are ignored.
        mask_GT: Bool, True where the member took a decision.
        alpha_step: Weight of the step term; 0 switches it off.
        alpha_trajectory: Weight of the trajectory term; 0 switches it off.
        scale: "std" divides by the standard deviation; "none" only subtracts the mean.
        std_floor: Smallest standard deviation divided by.

    Raises:
        ConfigError: Fewer than two members, shapes that differ, a reward that is no finite number, or a mask that is
            not of truth values.
    """
    from tgrpo_trainer.objectives.advantages import clock_labels, compare, fuse, masked_rewards, trajectory_term

    rewards_GT, mask_GT = masked_rewards(rewards_GT, mask_GT)
    step = compare(rewards_GT, mask_GT, clock_labels(mask_GT), scale=scale, std_floor=std_floor)
    trajectory_G = trajectory_term(rewards_GT, scale=scale, std_floor=std_floor)
    return fuse(step, trajectory_G, mask_GT, alpha_step=alpha_step, alpha_trajectory=alpha_trajectory)
