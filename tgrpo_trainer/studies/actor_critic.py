"""Stable-Baselines3's actor-critic policy with one of ours as its actor, so that its PPO goes on from a clone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from tgrpo_envs.extras import needs_extra
from tgrpo_trainer.policy.nano.network import HIDDEN
from tgrpo_trainer.policy.nano.policy import NanoPolicy
from tgrpo_trainer.types import LogProbs, PolicyInput

with needs_extra("sb3"):
    from stable_baselines3.common.policies import MultiInputActorCriticPolicy
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
    from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

Seen = dict[str, Tensor]
"""An observation as Stable-Baselines3 gives it: pictures (N, 3, H, W) uint8, proprio (N, P)."""


class TokenActions(VecEnvWrapper):  # type: ignore[misc] # the library has no types here
    """An environment whose actions are the action tokens of a policy, K numbers from 0 to V - 1."""

    def __init__(self, venv: VecEnv, actor: NanoPolicy) -> None:
        tokens = spaces.MultiDiscrete([actor.config.num_bins] * actor.tokens_per_decision)
        super().__init__(venv, action_space=tokens)
        self._actor = actor

    def reset(self) -> Any:
        """Start all members anew."""
        return self.venv.reset()

    def step_async(self, actions: np.ndarray[Any, Any]) -> None:
        """Play the actions that the tokens (N, K) stand for."""
        actions_NCA = self._actor.decode(torch.from_numpy(actions)).numpy()
        self.venv.step_async(actions_NCA if actions_NCA.shape[1] > 1 else actions_NCA[:, 0])

    def step_wait(self) -> Any:
        """What the environment answers."""
        return self.venv.step_wait()


class CloneFeatures(BaseFeaturesExtractor):  # type: ignore[misc] # the library has no types here
    """What the actor makes of an observation before its last layer: all that the critic sees.

    Args:
        observation_space: As Stable-Baselines3 has it.
        actor: A policy of ours, which becomes part of the actor-critic policy and is trained with it.
        instruction: Of its task.
    """

    def __init__(self, observation_space: spaces.Dict, actor: NanoPolicy, instruction: str) -> None:
        super().__init__(observation_space, features_dim=HIDDEN)
        self.actor = actor
        self._instruction_1L = actor.encode_instructions([instruction])

    @torch.no_grad()
    def forward(self, obs: Seen) -> Tensor:
        """Features (N, HIDDEN) without gradients: what the critic learns must not move the actor."""
        return self.actor.hidden(self.seen(obs))

    def seen(self, obs: Seen) -> PolicyInput:
        """The observation as policies of ours take it."""
        return PolicyInput(
            agentview_NHWC=obs["agentview"].permute(0, 2, 3, 1),
            wrist_NHWC=obs["wrist"].permute(0, 2, 3, 1),
            proprio_NP=obs["proprio"],
            instruction_NL=self._instruction_1L.expand(len(obs["proprio"]), -1),
        )


class CloneActorCritic(MultiInputActorCriticPolicy):  # type: ignore[misc] # the library has no types here
    """The actor draws the tokens; the critic is a network on the actor's features.

    Args:
        *args: Of the library.
        temperature: Of the action distribution, in rollouts and in updates.
        **kwargs: Of the library; `CloneFeatures` holds the actor.
    """

    features_extractor: CloneFeatures

    def __init__(self, *args: Any, temperature: float, **kwargs: Any) -> None:
        # The library's own initialisation would draw the actor's weights anew.
        super().__init__(*args, features_extractor_class=CloneFeatures, ortho_init=False, **kwargs)
        self._temperature = temperature

    def forward(self, obs: Seen, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:  # noqa: FBT001, FBT002
        """Tokens (N, K), values (N, 1) and log-probabilities (N,) of N decisions."""
        features = self.features_extractor
        drawn = features.actor.sample(features.seen(obs), temperature=self._temperature, greedy=deterministic)
        return drawn.choices_NK, self.predict_values(obs), drawn.logp_NK.sum(1)

    def evaluate_actions(self, obs: Seen, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values (N, 1), log-probabilities (N,) and entropies (N,) of given tokens (N, K), with gradients."""
        features = self.features_extractor
        scored: LogProbs = features.actor(features.seen(obs), actions.long(), self._temperature)
        return self.predict_values(obs), scored.logp_NK.sum(1), scored.entropy_NK.sum(1)

    def predict_values(self, obs: Seen) -> Tensor:
        """Values (N, 1)."""
        values_N1: Tensor = self.value_net(self.mlp_extractor.forward_critic(self.features_extractor(obs)))
        return values_N1
