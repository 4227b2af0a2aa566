"""nano: a policy small enough to learn on a CPU, with two cameras, proprioception and an instruction as input.

    agentview -> CNN  -> 128 |
    wrist     -> CNN  -> 128 |  concatenated -> 256 -> 256 -> K heads of V logits, independent of each other
    proprio           ->  64 |
    words     -> mean ->  64 |

The tokens of a decision are independent given what the policy sees, so one pass draws a whole chunk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.policy.base import CONFIG_FILE, WEIGHTS_FILE, Policy
from tgrpo_trainer.policy.text import PADDING_ID, hash_words
from tgrpo_trainer.policy.tokens import ActionBins, Randomness, draw, hold, score
from tgrpo_trainer.types import ActionSample, LogProbs, PolicyInput

KIND = "nano"

CONV_CHANNELS = (24, 48, 48, 48)
CONV_KERNELS = (5, 3, 3, 3)
CONV_STRIDE = 2
IMAGE_FEATURES = 128
PROPRIO_FEATURES = 64
TEXT_FEATURES = 64
HIDDEN = 256

BLOCK_ROWS = 32
"""Most rows that the network sees at once on a CPU. Every number of rows makes oneDNN compile kernels of its own, and
leaves pieces of other sizes in the heap; both are kept, so that memory would grow by about 10 MiB an update."""

PROPRIO_UNITS = (0.2, 0.2, 0.2) + (1.0,) * 6 + (0.04, 0.04) + (1.0,)
"""What each entry of the environment's `proprio` is divided by: 20 cm, unit rotation columns, 4 cm of finger travel,
the gripper's command. Fixed rather than fitted to demonstrations: some entries never vary there, and dividing by their
spread would throw the first new orientation far outside anything seen."""


@dataclass(frozen=True)
class NanoConfig:
    """Everything that shapes the network.

    Attributes:
        image_size: Side of the square pictures in pixels, a multiple of 16.
        action_chunk: Control steps a decision.
        num_bins: Values each action number can take.
        num_words: Buckets that instruction words are hashed into.
        steps_per_token: Control steps for which each action token holds; divides action_chunk.
        bin_power: 1 spaces the bins evenly, more makes them denser around 0 (`policy.tokens.ActionBins.spaced`).
    """

    image_size: int = 64
    action_chunk: int = 4
    num_bins: int = 21
    num_words: int = 1024
    steps_per_token: int = 1
    bin_power: float = 1.0

    def __post_init__(self) -> None:
        step = CONV_STRIDE ** len(CONV_KERNELS)
        if self.image_size < step or self.image_size % step:
            raise ConfigError(f"nano's image_size is {self.image_size}; use a multiple of {step}, such as 64 or 128.")
        if self.action_chunk < 1:
            raise ConfigError(f"nano's action_chunk is {self.action_chunk}; use at least 1.")
        if self.steps_per_token < 1 or self.action_chunk % self.steps_per_token:
            raise ConfigError(
                f"nano's steps_per_token is {self.steps_per_token}, which does not divide action_chunk "
                f"{self.action_chunk}; use a divisor of it, such as 1."
            )


class NanoPolicy(Policy):
    """A convolutional policy of about 0.7 million parameters at its defaults."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.config = config
        self.bins = ActionBins.spaced(config.num_bins, config.bin_power)
        self.agentview = _image_encoder(config.image_size)
        self.wrist = _image_encoder(config.image_size)
        self.proprio = nn.Sequential(nn.Linear(len(PROPRIO_UNITS), PROPRIO_FEATURES), nn.ReLU())
        self.words = nn.Embedding(config.num_words, TEXT_FEATURES, padding_idx=PADDING_ID)
        self.trunk = nn.Sequential(
            nn.Linear(2 * IMAGE_FEATURES + PROPRIO_FEATURES + TEXT_FEATURES, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
        )
        self.head = nn.Linear(HIDDEN, self.tokens_per_decision * config.num_bins)
        self.register_buffer("proprio_units_P", torch.tensor(PROPRIO_UNITS), persistent=False)
        self.proprio_units_P: Tensor

    @property
    def image_size(self) -> int:
        """Side in pixels of the square pictures it takes."""
        return self.config.image_size

    @property
    def action_chunk(self) -> int:
        """C, control steps a decision."""
        return self.config.action_chunk

    @property
    def steps_per_token(self) -> int:
        """H, control steps that each token holds for."""
        return self.config.steps_per_token

    def encode_instructions(self, texts: Sequence[str]) -> Tensor:
        """Hashed words (`policy.text.hash_words`)."""
        return hash_words(texts, self.config.num_words).to(self.device)

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
        return replace(drawn, actions_NCA=drawn.actions_NCA.repeat_interleave(self.steps_per_token, dim=1))

    def log_prob(self, obs: PolicyInput, tokens_NK: Tensor, temperature: float = 1.0) -> LogProbs:
        """See `Policy.log_prob`; one forward pass."""
        return score(self._logits(obs), tokens_NK, temperature)

    def save(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """See `Policy.save`."""
        config = {"kind": KIND, **asdict(self.config)}
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        weights = self.state_dict() if state is None else state
        save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS_FILE)

    def _logits(self, obs: PolicyInput) -> Tensor:
        """logits_NKV of all tokens of the decision, block by block on a CPU."""
        if obs.proprio_NP.device.type != "cpu":
            return self._block_logits(obs)
        return torch.cat([self._block_logits(_pad_block(block))[: len(block)] for block in _blocks(obs)])

    def _block_logits(self, obs: PolicyInput) -> Tensor:
        features = torch.cat(
            [
                self.agentview(_pixels(obs.agentview_NHWC)),
                self.wrist(_pixels(obs.wrist_NHWC)),
                self.proprio(obs.proprio_NP / self.proprio_units_P),
                self._mean_word(obs.instruction_NL),
            ],
            dim=1,
        )
        logits: Tensor = self.head(self.trunk(features))
        return logits.view(len(obs), self.tokens_per_decision, self.config.num_bins)

    def _mean_word(self, ids_NL: Tensor) -> Tensor:
        """Mean embedding of the words; padding's embedding is zero and does not count."""
        num_words_N1 = (ids_NL != PADDING_ID).sum(1, keepdim=True).clamp(min=1)
        mean_NE: Tensor = self.words(ids_NL).sum(1) / num_words_N1
        return mean_NE


def _image_encoder(image_size: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels, side = 3, image_size
    for out, kernel in zip(CONV_CHANNELS, CONV_KERNELS, strict=True):
        convolution = nn.Conv2d(channels, out, kernel, CONV_STRIDE, padding=kernel // 2)
        layers += [convolution.to(memory_format=torch.channels_last), nn.ReLU()]  # type: ignore[call-overload]
        channels, side = out, side // CONV_STRIDE
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side * side, IMAGE_FEATURES), nn.ReLU())


def _blocks(obs: PolicyInput) -> list[PolicyInput]:
    starts = range(0, max(1, len(obs)), BLOCK_ROWS)
    return [obs.rows(slice(start, start + BLOCK_ROWS)) for start in starts]


def _pad_block(block: PolicyInput) -> PolicyInput:
    """Rows of zeros up to the next power of two, so that blocks come in few sizes; rows do not see each other."""
    size = 1 << (max(1, len(block)) - 1).bit_length()
    return block if size == len(block) else block.padded(size)


def _pixels(images_NHWC: Tensor) -> Tensor:
    """uint8 to float in [-0.5, 0.5]; permuting NHWC gives exactly the channels-last layout convolutions are fast in."""
    return images_NHWC.permute(0, 3, 1, 2).float() / 255.0 - 0.5
