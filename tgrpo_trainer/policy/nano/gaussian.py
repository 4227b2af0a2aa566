"""nano_gaussian: real-valued actions from a Gaussian over the nano network; its choices are the drawn numbers.

    x_k ~ N(mean_k(s), sigma_k^2 tau)        sigma_k = min_std + softplus(w_k), learnt, the same in every state

tau is the temperature, which divides the logarithm of the density as it divides logits. The environment gets x clipped
to [-1, 1]; the log-probability is that of x itself, as drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.policy.base import PolicyStart
from tgrpo_trainer.policy.densities import draw_numbers, entropy, log_density, tempered
from tgrpo_trainer.policy.nano.network import NanoNetwork, NetworkConfig
from tgrpo_trainer.policy.nano.settings import NanoGaussianSettings
from tgrpo_trainer.policy.randomness import Randomness
from tgrpo_trainer.policy.tokens import hold
from tgrpo_trainer.types import ACTION_DIM, ActionSample, CloningTerms, LogProbs, PolicyInput

MATCH_WITHIN = 0.05
"""A mean that is so close to the expert's number counts as the expert's: half the width of a bin among 21."""


@dataclass(frozen=True)
class NanoGaussianConfig(NetworkConfig):
    """Everything that shapes the policy.

    Attributes:
        image_size: Side of the square pictures in pixels, a multiple of 16.
        action_chunk: Control steps a decision.
        num_words: Buckets that instruction words are hashed into.
        initial_std: Standard deviations before anything is learnt; above min_std.
        min_std: Smallest standard deviation.
        steps_per_draw: Control steps for which each drawn action holds; divides action_chunk.
    """

    num_words: int = 1024
    initial_std: float = 0.5
    min_std: float = 0.05
    steps_per_draw: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_divides("steps_per_draw", self.steps_per_draw)
        if not self.initial_std > self.min_std > 0.0:
            raise ConfigError(
                f"nano_gaussian's initial_std is {self.initial_std} and its min_std {self.min_std}; both must be above "
                "0, and the first above the second."
            )


class NanoGaussianPolicy(NanoNetwork):
    """A convolutional policy over real-valued actions."""

    kind = "nano_gaussian"
    config_class = NanoGaussianConfig

    def __init__(self, config: NanoGaussianConfig) -> None:
        num_choices = config.action_chunk // config.steps_per_draw * ACTION_DIM
        super().__init__(config, num_words=config.num_words, num_outputs=num_choices)
        self.config = config
        above = config.initial_std - config.min_std
        raw = above + math.log(-math.expm1(-above))  # softplus makes `above` of it: log(exp(above) - 1)
        self.raw_std_K = nn.Parameter(torch.full((num_choices,), raw))

    @classmethod
    def new(cls, start: PolicyStart) -> NanoGaussianPolicy:
        """See `NanoNetwork.new`."""
        assert isinstance(start.settings, NanoGaussianSettings)
        return cls(NanoGaussianConfig(start.image_size, start.action_chunk, **start.settings.model_dump()))

    @torch.no_grad()
    def sample(
        self,
        obs: PolicyInput,
        *,
        temperature: float = 1.0,
        greedy: bool = False,
        generator: Randomness = None,
    ) -> ActionSample:
        """See `Policy.sample`; greedy takes the means."""
        mean_NK, std_K = self.outputs(obs), self._std(temperature)
        choices_NK = mean_NK
        if not greedy:
            choices_NK = draw_numbers("gaussian", mean_NK, std_K, generator)
        actions_NCA = choices_NK.clamp(-1.0, 1.0).view(len(obs), -1, ACTION_DIM)
        return ActionSample(
            choices_NK,
            log_density("gaussian", choices_NK, mean_NK, std_K),
            actions_NCA.repeat_interleave(self.config.steps_per_draw, dim=1),
        )

    def counted(self, ran_NC: Tensor) -> Tensor:
        """See `Policy.counted`; a number whose control steps ran in part counts."""
        return ran_NC[:, :: self.config.steps_per_draw].repeat_interleave(ACTION_DIM, dim=1)

    def log_prob(self, obs: PolicyInput, choices_NK: Tensor, temperature: float = 1.0) -> LogProbs:
        """See `Policy.log_prob`; one forward pass."""
        mean_NK, std_K = self.outputs(obs), self._std(temperature)
        return LogProbs(
            logp_NK=log_density("gaussian", choices_NK, mean_NK, std_K),
            entropy_NK=entropy("gaussian", std_K).expand_as(mean_NK),
            greedy_NK=(choices_NK - mean_NK.detach()).abs() <= MATCH_WITHIN,
        )

    def bc_loss(self, obs: PolicyInput, actions_NCA: Tensor) -> CloningTerms:
        """See `Policy.bc_loss`; negative log-likelihood in nats a number."""
        scored = self(obs, hold(actions_NCA, self.config.steps_per_draw).flatten(1))
        return CloningTerms(-scored.logp_NK, scored.greedy_NK)

    def _std(self, temperature: float) -> Tensor:
        return tempered("gaussian", self.config.min_std + nn.functional.softplus(self.raw_std_K), temperature)
