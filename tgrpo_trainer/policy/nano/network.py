"""The network of all nano policies: two cameras, proprioception and an instruction in, numbers for a decision out.

agentview -> CNN  -> 128 |
wrist     -> CNN  -> 128 |  concatenated -> 256 -> 256 -> a linear head of the size that the policy needs
proprio           ->  64 |
words     -> mean ->  64 |
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_trainer.policy import CONFIG_FILE, load_policy
from tgrpo_trainer.policy.base import WEIGHTS_FILE, Policy, PolicyStart
from tgrpo_trainer.policy.hub import resolve_checkpoint
from tgrpo_trainer.policy.json_files import read_object
from tgrpo_trainer.policy.lora import LoraSettings, add_adapters
from tgrpo_trainer.policy.text import PADDING_ID, hash_words
from tgrpo_trainer.types import PolicyInput

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
class NetworkConfig:
    """What shapes every nano policy.

    Attributes:
        image_size: Side of the square pictures in pixels, a multiple of 16.
        action_chunk: Control steps a decision.
    """

    image_size: int = 64
    action_chunk: int = 4

    def __post_init__(self) -> None:
        step = CONV_STRIDE ** len(CONV_KERNELS)
        if self.image_size < step or self.image_size % step:
            raise ConfigError(f"nano's image_size is {self.image_size}; use a multiple of {step}, such as 64 or 128.")
        if self.action_chunk < 1:
            raise ConfigError(f"nano's action_chunk is {self.action_chunk}; use at least 1.")

    def check_divides(self, name: str, steps: int) -> None:
        """Refuse a number of control steps that does not fill the chunk.

        Raises:
            ConfigError: It does not divide action_chunk.
        """
        if steps < 1 or self.action_chunk % steps:
            raise ConfigError(
                f"nano's {name} is {steps}, which does not divide action_chunk {self.action_chunk}; use a divisor of "
                "it, such as 1."
            )


class NanoNetwork(Policy):
    """What nano policies share: the network of about 0.7 million parameters, its files, and LoRA.

    Args:
        config: Of the policy.
        num_words: Buckets that instruction words are hashed into.
        num_outputs: Numbers of a decision.
    """

    kind: ClassVar[str]
    config_class: ClassVar[type[NetworkConfig]]

    def __init__(self, config: NetworkConfig, *, num_words: int, num_outputs: int) -> None:
        super().__init__()
        self.agentview = _image_encoder(config.image_size)
        self.wrist = _image_encoder(config.image_size)
        self.proprio = nn.Sequential(nn.Linear(len(PROPRIO_UNITS), PROPRIO_FEATURES), nn.ReLU())
        self.words = nn.Embedding(num_words, TEXT_FEATURES, padding_idx=PADDING_ID)
        self.trunk = nn.Sequential(
            nn.Linear(2 * IMAGE_FEATURES + PROPRIO_FEATURES + TEXT_FEATURES, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
        )
        self.head = nn.Linear(HIDDEN, num_outputs)
        self.register_buffer("proprio_units_P", torch.tensor(PROPRIO_UNITS), persistent=False)
        self.proprio_units_P: Tensor
        self.network_config = config
        self.num_words = num_words

    @classmethod
    @abstractmethod
    def new(cls, start: PolicyStart) -> NanoNetwork:
        """A policy with new weights, as a run's settings say."""

    @classmethod
    def start(cls, start: PolicyStart) -> Policy:
        """See `Policy.start`; a checkpoint may be of any kind that saves its own settings."""
        if start.checkpoint is None:
            # Modules draw their weights from torch's global generator; the fork leaves it as it was for everyone else.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(start.weights_seed)
                policy: Policy = cls.new(start)
        else:
            policy = load_policy(resolve_checkpoint(start.checkpoint).folder)
            policy.merge()
        if start.lora is not None and isinstance(policy, NanoNetwork):
            policy.adapt(start.lora, start.adapters_seed)
        return policy

    @classmethod
    def load(cls, folder: Path) -> Self:
        """See `Policy.load`."""
        content = read_object(folder / CONFIG_FILE)
        content.pop("kind", None)
        lora = content.pop("lora", None)
        make: Any = cls
        try:
            policy: Self = make(cls.config_class(**content))
            if lora is not None:
                policy.adapt(LoraSettings(**lora), seed=0)
            policy.load_state_dict(load_file(folder / WEIGHTS_FILE))
        except (TypeError, ConfigError) as error:
            raise CheckpointError(f"{folder / CONFIG_FILE} does not describe a {cls.kind} policy: {error}") from error
        except (OSError, safetensors.SafetensorError, RuntimeError) as error:
            raise CheckpointError(
                f"{folder / WEIGHTS_FILE} is missing, damaged or of another shape: {error}"
            ) from error
        return policy

    def save(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """See `Policy.save`; of a LoRA run all weights, and what shapes the adapters."""
        config: dict[str, Any] = {"kind": self.kind, **asdict(self.network_config)}
        if self.adapters is not None:
            config["lora"] = asdict(self.adapters)
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        weights = self.state_dict() if state is None else state
        save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS_FILE)

    def adapt(self, settings: LoraSettings, seed: int) -> None:
        """Freeze the weights and train LoRA adapters instead, in place; the policy's output stays as it is.

        Raises:
            ConfigError: The rank is larger than a layer, or only a language model's layers are wanted.
        """
        if settings.targets != "all-linear":
            raise ConfigError(f"policy.lora.targets is {settings.targets}, which nano does not have; use all-linear.")
        layers = [name for name, module in self.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
        add_adapters(self, settings, layers, seed)
        self.adapters = settings

    @property
    def image_size(self) -> int:
        """Side in pixels of the square pictures it takes."""
        return self.network_config.image_size

    @property
    def action_chunk(self) -> int:
        """C, control steps a decision."""
        return self.network_config.action_chunk

    def encode_instructions(self, texts: Sequence[str]) -> Tensor:
        """Hashed words (`policy.text.hash_words`)."""
        return hash_words(texts, self.num_words).to(self.device)

    def outputs(self, obs: PolicyInput) -> Tensor:
        """The head's numbers for N decisions, (N, num_outputs), block by block on a CPU."""
        return self._by_blocks(self.block_outputs, obs)

    def hidden(self, obs: PolicyInput) -> Tensor:
        """What the head sees, (N, HIDDEN), block by block on a CPU."""
        return self._by_blocks(self.block_hidden, obs)

    def _by_blocks(self, part: Callable[[PolicyInput], Tensor], obs: PolicyInput) -> Tensor:
        if obs.proprio_NP.device.type != "cpu":
            return part(obs)
        return torch.cat([part(_pad_block(block))[: len(block)] for block in _blocks(obs)])

    def block_outputs(self, obs: PolicyInput) -> Tensor:
        """The head's numbers in one pass."""
        outputs: Tensor = self.head(self.block_hidden(obs))
        return outputs

    def block_hidden(self, obs: PolicyInput) -> Tensor:
        """What the head sees, in one pass."""
        features = torch.cat(
            [
                self.agentview(_pixels(obs.agentview_NHWC)),
                self.wrist(_pixels(obs.wrist_NHWC)),
                self.proprio(obs.proprio_NP / self.proprio_units_P),
                self._mean_word(obs.instruction_NL),
            ],
            dim=1,
        )
        hidden: Tensor = self.trunk(features)
        return hidden

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
