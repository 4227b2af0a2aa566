"""The OpenVLA under measurement: random weights of a named size, made on the device, or a checkpoint.

Speed does not depend on what weights mean, so no download is needed. Tokenizer and statistics of a random model are
stand-ins: three letters a token, which gives LIBERO's prompts about as many tokens as Llama's tokenizer does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from benchmarks.trainer.timing import free_memory
from benchmarks.trainer.work import cache_bytes
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.files import read_json
from tgrpo_trainer.metrics.timing import GIB
from tgrpo_trainer.policy import CONFIG_FILE
from tgrpo_trainer.policy.openvla.actions import STATISTICS_FILE, ActionCodec, Statistics
from tgrpo_trainer.policy.openvla.architecture import OPENVLA_7B, Architecture, LlamaShape
from tgrpo_trainer.policy.openvla.model import OpenVlaModel
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.policy.openvla.prompt import Prompter
from tgrpo_trainer.policy.openvla.saved_settings import OpenVlaSettings
from tgrpo_trainer.policy.openvla.vision import TowerShape
from tgrpo_trainer.policy.openvla.weights import DType
from tgrpo_trainer.types import ACTION_DIM, PolicyInput

INSTRUCTION = "pick up the alphabet soup and place it in the basket"
Decoding = Literal["autoregressive", "parallel"]
ACTION_CHUNKS: dict[Decoding, int] = {"autoregressive": 1, "parallel": 8}
"""Control steps of a decision, as published."""
DTYPES: dict[DType, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class Size:
    """A model and the pictures it is shown."""

    architecture: Architecture
    image_size: int


SIZES = {
    "7b": Size(OPENVLA_7B, image_size=256),
    "tiny": Size(
        Architecture(
            towers=(TowerShape("dinov2", 64, 4, 128, 14, 16, 4), TowerShape("siglip", 64, 3, 128, 14, 16)),
            llama=LlamaShape(512, 128, 352, 4, 4, 4, 1e-6, 10000.0, 2048, 1, 2),
            projector_dim=512,
        ),
        image_size=64,
    ),
}


def get_size(name: str) -> Size:
    """A size by its name.

    Raises:
        UnknownNameError: There is none of this name.
    """
    if name not in SIZES:
        raise UnknownNameError("model size", name, SIZES)
    return SIZES[name]


def random_policy(
    size: Size,
    device: torch.device,
    dtype: torch.dtype,
    *,
    decoding: Decoding = "autoregressive",
    compiled: bool = False,
) -> OpenVlaPolicy:
    """A policy of that size with random weights, which never were anywhere but on the device."""
    architecture = size.architecture
    with torch.device("meta"):
        model = OpenVlaModel(architecture).to(dtype)
    model.to_empty(device=device)
    with torch.device(device):
        model.rebuild_buffers()
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5, generator=generator)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    end = architecture.action_vocab_end
    statistics = Statistics("random weights", (-1.0,) * ACTION_DIM, (1.0,) * ACTION_DIM, (True,) * ACTION_DIM)
    policy = OpenVlaPolicy(
        model,
        ActionCodec(statistics, num_bins=architecture.num_bins, vocab_end=end),
        Prompter(_stand_in_tokenizer(), bos_id=architecture.llama.bos_token_id, vocab_end=end),
        OpenVlaSettings(statistics.key, size.image_size, ACTION_CHUNKS[decoding], decoding=decoding, compile=compiled),
        config={},
        companions={},
    )
    return policy.to(device).eval()


def checkpoint_policy(
    folder: Path, dtype: DType, *, decoding: Decoding = "autoregressive", compiled: bool = False
) -> OpenVlaPolicy:
    """A published checkpoint, with any of its statistics, on the CPU.

    Raises:
        CheckpointError: See `OpenVlaPolicy.load`.
        ConfigError: A model with other inputs or another head than those whose work is counted here.
    """
    key = "libero_object"  # where the files do not say, loading will
    for name in (STATISTICS_FILE, CONFIG_FILE):
        if (folder / name).is_file():
            known = read_json(folder / name)
            key = next(iter(known.get("norm_stats", {}) if name == CONFIG_FILE else known), key)
            break
    settings = OpenVlaSettings(key, action_chunk=ACTION_CHUNKS[decoding], decoding=decoding, compile=compiled)
    policy = OpenVlaPolicy.load(folder, settings, dtype=dtype).eval()
    architecture = policy.model.architecture
    if architecture.l1_head or architecture.proprio_dim or architecture.num_pictures > 1:
        raise ConfigError(
            f"{folder} has OpenVLA-OFT's L1 head or inputs, whose work is not counted here; measure a checkpoint with "
            "the token head and one picture, or random weights (leave --checkpoint out)."
        )
    return policy


def random_input(policy: OpenVlaPolicy, rows: int) -> PolicyInput:
    """Noise to look at, on the policy's device."""
    side, device = policy.image_size, policy.device
    generator = torch.Generator(device).manual_seed(rows)
    shape = (2, rows, side, side, 3)
    pictures = torch.randint(0, 256, shape, dtype=torch.uint8, device=device, generator=generator)
    instruction_NL = policy.encode_instructions([INSTRUCTION] * rows)
    return PolicyInput(pictures[0], pictures[1], torch.zeros(rows, 12, device=device), instruction_NL)


def num_parameters(architecture: Architecture) -> int:
    """Parameters of a model, without making it."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in OpenVlaModel(architecture).parameters())


def refuse_too_large(
    name: str, architecture: Architecture, rows: int, device: torch.device, dtype: torch.dtype
) -> None:
    """Weights and key-value cache must fit before anything is allocated.

    Raises:
        ConfigError: They do not.
    """
    weights = num_parameters(architecture) * dtype.itemsize / GIB
    places = architecture.towers[0].num_patches + 64  # more than any of LIBERO's prompts
    cache = rows * cache_bytes(architecture, places, dtype.itemsize) / GIB
    free = free_memory(device)
    if weights + cache > free:
        raise ConfigError(
            f"The model {name} needs {weights + cache:.1f} GiB on {device} ({weights:.1f} of weights, {cache:.1f} of "
            f"keys and values for {rows} rows), but {free:.1f} GiB are free; use smaller --batch-sizes, --size tiny, "
            "or a larger device."
        )


def _stand_in_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3}, unk_token="▁"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]{1,3}"), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer
