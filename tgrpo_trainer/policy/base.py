"""What the trainer asks of a policy: draw decisions, score given ones, clone, and be its own reference.

A decision is K *choices*, each with a log-probability of its own. What a choice is, is the policy's business: the index
of an action token (int64), or a number drawn from a Gaussian (float32). The trainer keeps choices, gives them back to
be scored, and never looks inside. Everything else (encoder, decoding order, tokenizer) is the policy's own too.
`log_prob` takes the choices, so a policy that decodes one token after another (OpenVLA) can be teacher-forced with
them. Pictures arrive as the environment draws them (upright uint8); mirroring, cropping and normalising belong inside
the policy.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from tgrpo_envs.base_settings import Settings
from tgrpo_trainer.policy.footprint import Footprint
from tgrpo_trainer.policy.lora import LoraSettings, adapters_off, merge_adapters
from tgrpo_trainer.policy.randomness import Randomness
from tgrpo_trainer.types import ActionSample, CloningTerms, LogProbs, PolicyInput

WEIGHTS_FILE = "policy.safetensors"


@dataclass(frozen=True)
class PolicyStart:
    """What a run says of the policy it starts with.

    Attributes:
        image_size: Side of the environment's pictures in pixels.
        action_chunk: C, control steps a decision.
        suite: LIBERO suite of the task.
        checkpoint: A folder, or a name on the hub (`policy.hub`); None for a new policy.
        settings: The section of `PolicyConfig` that has the kind's name; None for a kind without one.
        lora: Adapters to train instead of the weights; None trains the weights.
        weights_seed: Of a new policy's weights.
        adapters_seed: Of new adapters.
    """

    image_size: int
    action_chunk: int
    suite: str
    checkpoint: str | None
    settings: Settings | None
    lora: LoraSettings | None
    weights_seed: int
    adapters_seed: int


class Policy(nn.Module, abc.ABC):
    """A stochastic policy over chunks of actions. Subclasses are final.

    Attributes:
        recipe: Whose settings are usual for a policy of this kind that comes without a run.
        memory_advice: The kind's own options that save GPU memory, for people; "" if it has none.
        whole_blocks: Whether the blocks in its `ModuleList`s are called as they are, so that ranks can gather one at a
            time; else they gather all weights for a pass.
        gradient_checkpointing: Whether activations are computed again in the backward pass.
        adapters: Of a policy whose LoRA adapters are trained; None where its weights are.
    """

    recipe: ClassVar[str] = "quickstart"
    memory_advice: ClassVar[str] = ""
    whole_blocks: ClassVar[bool] = True
    gradient_checkpointing: bool = False
    adapters: LoraSettings | None = None

    @classmethod
    @abc.abstractmethod
    def start(cls, start: PolicyStart) -> Policy:
        """The policy that a run begins with, new or from a checkpoint, on the CPU.

        Raises:
            CheckpointError: A checkpoint that is missing or damaged.
            ConfigError: Settings that this kind cannot have.
        """

    @classmethod
    @abc.abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            CheckpointError: A file is missing or damaged, or the weights do not fit the settings beside them.
        """

    @classmethod
    def is_published(cls, folder: Path) -> bool:  # noqa: ARG003 - for those that have
        """Whether a folder holds a published model, which a run's settings complete: `start` reads it, not `load`."""
        return False

    @property
    @abc.abstractmethod
    def image_size(self) -> int:
        """Side in pixels of the square pictures it takes."""

    @property
    @abc.abstractmethod
    def action_chunk(self) -> int:
        """C, control steps a decision."""

    @property
    def device(self) -> torch.device:
        """Where its parameters live; inputs must be there too."""
        return next(self.parameters()).device

    @abc.abstractmethod
    def encode_instructions(self, texts: Sequence[str]) -> Tensor:
        """Token ids of N instructions: instruction_NL int64, padded with 0 on the right."""

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
            temperature: Divides the logarithm of the probability (of tokens: the logits), for drawing and for the
                reported log-probabilities; above 0.
            greedy: Take the most probable choice instead of drawing; log-probabilities are still those at
                `temperature`.
            generator: Source of randomness.

        Raises:
            ConfigError: temperature is not above 0.
        """

    def inspect(self, obs: PolicyInput, choices_NK: Tensor) -> str | None:  # noqa: ARG002 - for those that have
        """Look at the first decisions of a rollout; most policies have nothing to say.

        Args:
            obs: N rows, on any device.
            choices_NK: What was drawn for them.

        Returns:
            What seems wrong with the policy and what to do, for people; None if nothing does, or it was said before.
        """
        return None

    def doubt_suite(self, suite: str) -> str | None:  # noqa: ARG002 - for those that have
        """What speaks against playing a suite with the policy as it was saved, for people; most have nothing to say."""
        return None

    @abc.abstractmethod
    def counted(self, ran_NC: Tensor) -> Tensor:
        """Which choices count, given which control steps of the decisions ran: bool (N, C) to bool (N, K).

        In a rollout, steps behind the end of an episode did not run; of a demonstration, those behind its last action.
        """

    @abc.abstractmethod
    def log_prob(self, obs: PolicyInput, choices_NK: Tensor, temperature: float = 1.0) -> LogProbs:
        """Log-probabilities and entropies at the given choices, with gradients.

        With equal parameters, rows and temperature, `logp_NK` equals the one `sample` reported.

        Raises:
            ConfigError: temperature is not above 0.
        """

    @abc.abstractmethod
    def bc_loss(self, obs: PolicyInput, actions_NCA: Tensor) -> CloningTerms:
        """What behaviour cloning minimises, one term a choice, with gradients.

        It has to call the policy itself (`self(...)`), not `log_prob`, as the trainer does: see `forward`.

        Args:
            obs: N rows.
            actions_NCA: The expert's actions in [-1, 1].
        """

    def forward(self, obs: PolicyInput, choices_NK: Tensor, temperature: float = 1.0) -> LogProbs:
        """`log_prob`, as the module's call, so that wrappers which hook `forward` (FSDP, DDP) see training passes."""
        scored = self.log_prob(obs, choices_NK, temperature)
        # FSDP starts a module's backward pass from its outputs, and warns of views, on which that could get lost.
        return scored._replace(logp_NK=scored.logp_NK.clone())

    def reference(self) -> AbstractContextManager[None] | None:
        """For a `with` in which the policy is the one from before its adapters learnt, without a copy.

        None where the weights themselves are trained: then the trainer keeps their first values, and swaps them in.
        """
        return None if self.adapters is None else adapters_off(self)

    def merge(self) -> None:
        """Make adapters part of the weights they adapt, in place; without adapters nothing happens."""
        if self.adapters is not None:
            merge_adapters(self)
            self.adapters = None

    def footprint(self, lora: LoraSettings | None) -> Footprint | None:  # noqa: ARG002 - for those that have
        """What memory such a policy takes, with adapters or without, by arithmetic; None where nobody has counted.

        The settings of a kind that counts have a `gradient_checkpointing`.
        """
        return None

    @abc.abstractmethod
    def save(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """Write `config.json` (which tells the kind of policy) and the weights into an existing folder.

        Args:
            folder: It exists.
            state: The whole `state_dict`, where this module only holds a rank's part of it; None takes its own.

        `tgrpo_trainer.policy.load_policy` reads them back.
        """
