"""Policies that choose each number of an action, as a token or itself: which choices count, and the loss of cloning."""

from __future__ import annotations

import abc

from torch import Tensor

from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.types import ACTION_DIM, CloningTerms, PolicyInput


class TokenPolicy(Policy):
    """A policy with a choice for each number of an action, most often a token.

    Choice k of a decision belongs to the control steps from k // A * H on.
    """

    @property
    def steps_per_token(self) -> int:
        """H, control steps that each token holds for; divides C."""
        return 1

    @property
    def tokens_per_decision(self) -> int:
        """K = C / H * ACTION_DIM."""
        return self.action_chunk // self.steps_per_token * ACTION_DIM

    @abc.abstractmethod
    def encode_actions(self, actions_NCA: Tensor) -> Tensor:
        """The choices_NK nearest to actions in [-1, 1], such as tokens (int64) by bin centres; clipped outside."""

    def counted(self, ran_NC: Tensor) -> Tensor:
        """See `Policy.counted`; a token that ran in part counts."""
        return ran_NC[:, :: self.steps_per_token].repeat_interleave(ACTION_DIM, dim=1)

    def bc_loss(self, obs: PolicyInput, actions_NCA: Tensor) -> CloningTerms:
        """See `Policy.bc_loss`; negative log-likelihood in nats a choice: of tokens, cross-entropy."""
        scored = self(obs, self.encode_actions(actions_NCA))
        return CloningTerms(-scored.logp_NK, scored.greedy_NK)
