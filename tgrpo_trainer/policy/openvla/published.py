"""A checkpoint in the published layout without a run's settings: config.json, weights, the small files beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tgrpo_trainer.policy import CONFIG_FILE
from tgrpo_trainer.policy.json_files import write_object
from tgrpo_trainer.policy.openvla.actions import STATISTICS_FILE
from tgrpo_trainer.policy.openvla.architecture import Architecture, read_architecture
from tgrpo_trainer.policy.openvla.model import OpenVlaModel
from tgrpo_trainer.policy.openvla.parts import LOG_SCALE, Parts, write_parts
from tgrpo_trainer.policy.openvla.playable import refuse_unplayable
from tgrpo_trainer.policy.openvla.prompt import TOKENIZER_FILE
from tgrpo_trainer.policy.openvla.regression import NOISE_SCALE, initial_log_scale
from tgrpo_trainer.policy.openvla.weights import (
    MAX_SHARD_BYTES,
    DType,
    StoredTensor,
    load_weights,
    read_headers,
    save_weights,
)

COMPANIONS = (
    STATISTICS_FILE,
    TOKENIZER_FILE,
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
)
"""Small files of a checkpoint that travel with it unchanged."""


def load_model(
    folder: Path,
    config: Mapping[str, Any],
    dtype: DType | None = None,
    *,
    parts: Parts | None = None,
    num_pictures: int | None = None,
) -> OpenVlaModel:
    """The network of a checkpoint with its weights.

    Args:
        folder: With shards and their index.
        config: Its config.json.
        dtype: Weights are converted to this; None keeps what is stored.
        parts: What `read_parts` found in the folder; None leaves it out.
        num_pictures: See `read_architecture`.

    Raises:
        CheckpointError: Something is missing, damaged or of another model.
    """
    headers = read_headers(folder)
    beside = {} if parts is None else parts.tensors
    architecture = architecture_of(folder, config, headers, beside, num_pictures)
    if architecture.l1_head:
        beside = {LOG_SCALE: initial_log_scale(NOISE_SCALE), **beside}
    with torch.device("meta"):
        model = OpenVlaModel(architecture)
    load_weights(model, headers, dtype, beside)
    model.rebuild_buffers()
    return model


def architecture_of(
    folder: Path,
    config: Mapping[str, Any],
    headers: Mapping[str, StoredTensor],
    beside: Mapping[str, Tensor],
    num_pictures: int | None = None,
) -> Architecture:
    """The sizes of a checkpoint by its files' headers; arguments as of `load_model`.

    Raises:
        CheckpointError: Something is missing or of another model.
    """
    refuse_unplayable(folder, config, [*headers, *beside])
    shapes = {name: stored.shape for name, stored in headers.items()}
    shapes |= {name: tuple(tensor.shape) for name, tensor in beside.items()}
    return read_architecture(config, shapes, num_pictures)


def read_companions(folder: Path) -> dict[str, bytes]:
    """Contents of the small files that are there."""
    return {name: (folder / name).read_bytes() for name in COMPANIONS if (folder / name).is_file()}


def write_published(
    folder: Path,
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    companions: Mapping[str, bytes],
    max_shard_bytes: int = MAX_SHARD_BYTES,
    part_files: Mapping[str, str] | None = None,
) -> None:
    """Write shards, index, parts, config.json with the weights' type, and the companions into an existing folder.

    Args:
        folder: Exists.
        weights: By the model's names.
        config: Of the checkpoint that the weights come from.
        companions: Its small files.
        max_shard_bytes: See `save_weights`.
        part_files: What its parts' files were called.
    """
    save_weights(folder, write_parts(folder, weights, part_files or {}), max_shard_bytes)
    dtype = str(next(iter(weights.values())).dtype).removeprefix("torch.")
    write_object(folder / CONFIG_FILE, {**config, "torch_dtype": dtype})
    for name, contents in companions.items():
        (folder / name).write_bytes(contents)
