"""What an OpenVLA takes of memory, counted without making it, and which of its layers LoRA adapts."""

from __future__ import annotations

import torch

from tgrpo_trainer.policy import CONFIG_FILE
from tgrpo_trainer.policy.footprint import Footprint
from tgrpo_trainer.policy.hub import resolve_checkpoint
from tgrpo_trainer.policy.json_files import read_object
from tgrpo_trainer.policy.lora import LoraSettings, Targets, add_adapters
from tgrpo_trainer.policy.openvla.activations import trace
from tgrpo_trainer.policy.openvla.architecture import OPENVLA_7B, Architecture
from tgrpo_trainer.policy.openvla.decoding import PUBLISHED_CHUNK
from tgrpo_trainer.policy.openvla.model import OpenVlaModel
from tgrpo_trainer.policy.openvla.parts import read_parts
from tgrpo_trainer.policy.openvla.published import architecture_of
from tgrpo_trainer.policy.openvla.weights import read_headers
from tgrpo_trainer.types import ACTION_DIM

PROMPT_LENGTH = 32
"""Tokens of a prompt: LIBERO's instructions make 25 to 35."""


def find_architecture(checkpoint: str | None) -> Architecture:
    """The sizes of a checkpoint, by its config.json and its tensors' shapes; None gives the published 7B's.

    Raises:
        CheckpointError: The checkpoint cannot be had.
    """
    if checkpoint is None:
        return OPENVLA_7B
    folder = resolve_checkpoint(checkpoint).folder
    config = read_object(folder / CONFIG_FILE)
    return architecture_of(folder, config, read_headers(folder), read_parts(folder).tensors)


def measure_footprint(architecture: Architecture, dtype: torch.dtype, lora: LoraSettings | None) -> Footprint:
    """Count a model's bytes without making it (it is built on the meta device)."""
    with torch.device("meta"):
        model = OpenVlaModel(architecture).to(dtype)
    if lora is not None:
        add_adapters(model, lora, lora_targets(model, lora.targets), seed=0)
    plain, checkpointed = trace(model, prompt_length=PROMPT_LENGTH)
    llama = architecture.llama
    num_seen = architecture.num_pictures * architecture.towers[0].num_patches + bool(architecture.proprio_dim)
    num_places = num_seen + PROMPT_LENGTH + ACTION_DIM - 1
    key_dim = llama.num_key_value_heads * llama.hidden_size // llama.num_attention_heads
    cached = 2 * llama.num_hidden_layers * num_places * key_dim
    if architecture.l1_head:  # one pass that keeps nothing: at its widest, the three of a layer's MLP
        cached = 3 * (num_seen + PROMPT_LENGTH + PUBLISHED_CHUNK * ACTION_DIM + 1) * llama.intermediate_size
    return Footprint(
        weights=sum(parameter.nbytes for parameter in model.parameters()),
        num_trained=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        itemsize=dtype.itemsize,
        plain=plain,
        checkpointed=checkpointed,
        cache_row=cached * dtype.itemsize,
    )


def lora_targets(model: OpenVlaModel, targets: Targets) -> list[str]:
    """Full names of the layers that get adapters.

    "all-linear" is what OpenVLA's own fine-tuning adapts (`target_modules="all-linear"` in vla-scripts/finetune.py of
    github.com/openvla/openvla): every linear layer, and through the name `proj` both towers' patch convolutions. What
    is stored and never run (the towers' last blocks, SigLIP's pooling head) has no gradient and is left out here.
    """
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, kinds)
        and module.weight.requires_grad
        and (targets == "all-linear" or name.startswith("language_model."))
    ]
