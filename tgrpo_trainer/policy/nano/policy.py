"""nano: action tokens from K heads of V logits over the nano network, small enough to learn on a CPU.

The tokens of a decision are independent given what the policy sees, so one pass draws a whole chunk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tgrpo_trainer.policy.base import PolicyStart
from tgrpo_trainer.policy.nano.network import NanoNetwork, NetworkConfig
from tgrpo_trainer.policy.nano.settings import NanoSettings
from tgrpo_trainer.policy.randomness import Randomness
from tgrpo_trainer.policy.token_policy import TokenPolicy
from tgrpo_trainer.policy.tokens import ActionBins, draw, hold, score
from tgrpo_trainer.types import ACTION_DIM, ActionSample, LogProbs, PolicyInput


@dataclass(frozen=True)
class NanoConfig(NetworkConfig):
    """Everything that shapes the network.

    Attributes:
        image_size: Side of the square pictures in pixels, a multiple of 16.
        action_chunk: Control steps a decision.
        num_bins: Values each action number can take.
        num_words: Buckets that instruction words are hashed into.
        steps_per_token: Control steps for which each action token holds; divides action_chunk.
        bin_power: 1 spaces the bins evenly, more makes them denser around 0 (`policy.tokens.ActionBins.spaced`).
    """

    num_bins: int = 21
    num_words: int = 1024
    steps_per_token: int = 1
    bin_power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_divides("steps_per_token", self.steps_per_token)


class NanoPolicy(NanoNetwork, TokenPolicy):
    """A convolutional policy over action tokens."""

    kind = "nano"
    config_class = NanoConfig

    def __init__(self, config: NanoConfig) -> None:
        num_tokens = config.action_chunk // config.steps_per_token * ACTION_DIM
        super().__init__(config, num_words=config.num_words, num_outputs=num_tokens * config.num_bins)
        self.config = config
        self.bins = ActionBins.spaced(config.num_bins, config.bin_power)

    @classmethod
    def new(cls, start: PolicyStart) -> NanoPolicy:
        """See `NanoNetwork.new`."""
        assert isinstance(start.settings, NanoSettings)
        return cls(NanoConfig(start.image_size, start.action_chunk, **start.settings.model_dump()))

    @property
    def steps_per_token(self) -> int:
        """H, control steps that each token holds for."""
        return self.config.steps_per_token

    def encode_actions(self, actions_NCA: Tensor) -> Tensor:
        """Nearest bins of the held actions (`policy.tokens.hold`)."""
        return self.bins.encode(hold(actions_NCA, self.steps_per_token))

    @torch.no_grad()
    def sample(
        self,
        obs: PolicyInput,
        *,
        temperature: float = 1.0,
        greedy: bool = False,
        generator: Randomness = None,
    ) -> ActionSample:
        """See `Policy.sample`; one forward pass."""
        drawn = draw(self._logits(obs), self.bins, temperature=temperature, greedy=greedy, generator=generator)
        return replace(drawn, actions_NCA=self.decode(drawn.choices_NK))

    def decode(self, tokens_NK: Tensor) -> Tensor:
        """The actions_NCA that tokens stand for, each held for `steps_per_token` control steps."""
        return self.bins.decode(tokens_NK).repeat_interleave(self.steps_per_token, dim=1)

    def log_prob(self, obs: PolicyInput, choices_NK: Tensor, temperature: float = 1.0) -> LogProbs:
        """See `Policy.log_prob`; one forward pass."""
        return score(self._logits(obs), choices_NK, temperature)

    def _logits(self, obs: PolicyInput) -> Tensor:
        """logits_NKV of all tokens of the decision."""
        return self.outputs(obs).view(len(obs), self.tokens_per_decision, self.config.num_bins)
