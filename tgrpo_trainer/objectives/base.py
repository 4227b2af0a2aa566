"""What an objective is: advantages of a group, the loss of scored decisions, and their settings.

The settings are read before torch is loaded, so that help and mistakes are answered at once: files of objectives import
torch, and what imports it, inside their functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tgrpo_envs.base_settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from tgrpo_trainer.objectives.advantages import AdvantageResult
    from tgrpo_trainer.types import Batch, LogProbs, TrajectoryGroup


class Objective(Settings, ABC):
    """A part of a run: compares the members of a group, and says what is minimised.

    A subclass has `kind: Literal["its_name"] = "its_name"`, its settings as documented fields, and the two methods.
    """

    kind: str
    """Name of the objective."""
    beta: float = Field(default=0.0, ge=0)
    """Weight of the KL term to the SFT policy; 0 = no reference policy."""
    old_logp: Literal["sampled", "scored"] = "sampled"
    """The ratio's denominator: probabilities as drawn, or scored again by the pass that learns (exact in bfloat16)."""

    @property
    def needs_reference(self) -> bool:
        """Whether `loss` is given log-probabilities under the reference policy."""
        return self.beta > 0

    @abstractmethod
    def advantages(self, group: TrajectoryGroup) -> AdvantageResult:
        """How good each decision was, compared with the other members of its group."""

    @abstractmethod
    def loss(
        self,
        scored: LogProbs,
        rows: Batch,
        *,
        old_logp_NK: Tensor,
        ref_logp_NK: Tensor | None,
        denominator: float,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of some rows of a minibatch.

        Args:
            scored: The rows' tokens under the policy being optimised, with gradients.
            rows: The decisions with their advantages, masks and weights.
            old_logp_NK: The tokens under the policy that drew them.
            ref_logp_NK: The tokens under the reference policy; None exactly when `needs_reference` is False.
            denominator: Sum of the weights of the whole minibatch: divided by it, the losses of its parts add up.

        Returns:
            The loss, and detached metrics that add up over the parts of a minibatch like the loss (names ending in
            `_max` and `_min`: extremes). `approx_kl`, the KL divergence to the policy that drew, is what
            `update.target_kl` limits.
        """


class ClippedObjective(Objective):
    """An objective with PPO's clipped surrogate and a KL term as its loss (`clipped_loss`)."""

    beta: float = Field(default=0.05, ge=0)
    """Weight of the KL term to the SFT policy; 0 = no reference policy."""
    epsilon: float = Field(default=0.2, gt=0)
    """Clip range of the probability ratio."""
    epsilon_high: float | None = Field(default=None, gt=0)
    """Upper clip range (clip-higher); None = epsilon."""
    ratio: Literal["token", "action"] = "token"
    """Probability ratio per action token, or per whole action."""

    def loss(
        self,
        scored: LogProbs,
        rows: Batch,
        *,
        old_logp_NK: Tensor,
        ref_logp_NK: Tensor | None,
        denominator: float,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.loss` and `clipped_loss`."""
        from tgrpo_trainer.objectives.loss import clipped_loss

        return clipped_loss(
            scored.logp_NK,
            old_logp_NK,
            ref_logp_NK,
            rows.advantages_N,
            rows.mask_NK,
            rows.weights_N,
            denominator=denominator,
            entropy_NK=scored.entropy_NK,
            epsilon=self.epsilon,
            epsilon_high=self.epsilon_high,
            beta=self.beta,
            ratio=self.ratio,
        )


class NormalisedObjective(ClippedObjective):
    """A clipped objective whose comparisons are divided by their standard deviation."""

    scale_rewards: Literal["std", "none"] = "std"
    """Divide advantages by the standard deviation of what is compared, or not."""
    std_floor: float = Field(default=0.0, ge=0)
    """Smallest standard deviation divided by (the paper names none)."""
