"""REINFORCE with a leave-one-out baseline (arXiv 2402.14740): a trajectory against the mean of the others.

    A[i,t] = R[i] - mean_{j != i} R[j]                             R[i] = sum_t r[i,t]

Nothing is divided by a standard deviation, so that the estimate has no bias. Several passes over a batch need a limit,
which is the clipped surrogate's; with one pass of one minibatch its gradient is REINFORCE's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tgrpo_trainer.objectives.base import ClippedObjective

if TYPE_CHECKING:
    from tgrpo_trainer.objectives.advantages import AdvantageResult
    from tgrpo_trainer.types import TrajectoryGroup


class ReinforceLeaveOneOut(ClippedObjective):
    """RLOO: the return of a trajectory less the mean return of the other members."""

    kind: Literal["reinforce_leave_one_out"] = "reinforce_leave_one_out"
    """Name of the objective."""

    def advantages(self, group: TrajectoryGroup) -> AdvantageResult:
        """The trajectory's advantage for each of its decisions."""
        from tgrpo_trainer.objectives.advantages import AdvantageResult, masked_rewards, trajectory_term

        rewards_GT, mask_GT = masked_rewards(group.rewards_GT, group.mask_GT)
        # R - mean of the others = G / (G - 1) * (R - mean of all).
        num_members = len(rewards_GT)
        trajectory_G = trajectory_term(rewards_GT, scale="none") * (num_members / (num_members - 1))
        return AdvantageResult(trajectory_G[:, None] * mask_GT, trajectory_G=trajectory_G)
