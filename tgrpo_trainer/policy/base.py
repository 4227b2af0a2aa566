"""What the trainer asks of a policy: draw action tokens, and say how probable given tokens are.

Everything else (encoder, decoding order, tokenizer) is the policy's own business. `log_prob` takes the tokens, so a
policy that decodes one token after another (OpenVLA) can be teacher-forced with them, and one that decodes in parallel
may ignore them. Pictures arrive as the environment draws them (upright uint8); mirroring, cropping and normalising
belong inside the policy.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tgrpo_trainer.policy.tokens import Randomness
from tgrpo_trainer.types import ACTION_DIM, ActionSample, LogProbs, PolicyInput

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "policy.safetensors"


class Policy(nn.Module, abc.ABC):
    """A stochastic policy over chunks of discretised actions. Subclasses are final."""

    @property
    @abc.abstractmethod
    def image_size(self) -> int:
        """Side in pixels of the square pictures it takes."""

    @property
    @abc.abstractmethod
    def action_chunk(self) -> int:
        """C, control steps a decision."""

    @property
    def steps_per_token(self) -> int:
        """H, control steps that each token holds for; divides C."""
        return 1

    @property
    def tokens_per_decision(self) -> int:
        """K = C / H * ACTION_DIM."""
        return self.action_chunk // self.steps_per_token * ACTION_DIM

    @property
    def device(self) -> torch.device:
        """Where its parameters live; inputs must be there too."""
        return next(self.parameters()).device

    @abc.abstractmethod
    def encode_instructions(self, texts: Sequence[str]) -> Tensor:
        """Token ids of N instructions: instruction_NL int64, padded with 0 on the right."""

    @abc.abstractmethod
    def encode_actions(self, actions_NCA: Tensor) -> Tensor:
        """The tokens_NK (int64) whose bin centres lie nearest to actions in [-1, 1]; values outside are clipped."""

    @abc.abstractmethod
    def sample(
        self,
        obs: PolicyInput,
        *,
        temperature: float = 1.0,
        greedy: bool = False,
        generator: Randomness = None,
    ) -> ActionSample:
        """Draw one decision for each of the N rows, without gradients.

        Args:
            obs: N rows.
            temperature: Divides the logits, for drawing and for the reported log-probabilities; above 0.
            greedy: Take the most probable token instead of drawing; log-probabilities are still those at `temperature`.
            generator: Source of randomness, one for all rows or one for each, on the policy's device; None uses torch's
                global one.

        Raises:
            ConfigError: temperature is not above 0.
        """

    def inspect(self, obs: PolicyInput, tokens_NK: Tensor) -> str | None:  # noqa: ARG002 - for those that have
        """Look at the first decisions of a rollout; most policies have nothing to say.

        Args:
            obs: N rows, on any device.
            tokens_NK: What was drawn for them.

        Returns:
            What seems wrong with the policy and what to do, for people; None if nothing does, or it was said before.
        """
        return None

    @abc.abstractmethod
    def log_prob(self, obs: PolicyInput, tokens_NK: Tensor, temperature: float = 1.0) -> LogProbs:
        """Log-probabilities, entropies and greedy tokens at the given tokens, with gradients.

        With equal parameters, rows and temperature, `logp_NK` equals the one `sample` reported.

        Raises:
            ConfigError: temperature is not above 0.
        """

    def forward(self, obs: PolicyInput, tokens_NK: Tensor, temperature: float = 1.0) -> LogProbs:
        """`log_prob`, as the module's call, so that wrappers which hook `forward` (FSDP, DDP) see training passes."""
        scored = self.log_prob(obs, tokens_NK, temperature)
        # FSDP starts a module's backward pass from its outputs, and warns of views, on which that could get lost.
        return scored._replace(logp_NK=scored.logp_NK.clone())

    def merge(self) -> None:
        """Make adapters part of the weights they adapt, in place; without adapters nothing happens."""
        return

    @abc.abstractmethod
    def save(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """Write `config.json` (which tells the kind of policy) and the weights into an existing folder.

        Args:
            folder: It exists.
            state: The whole `state_dict`, where this module only holds a rank's part of it; None takes its own.

        `tgrpo_trainer.policy.load_policy` reads them back.
        """
