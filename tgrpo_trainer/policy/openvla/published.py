"""A checkpoint in the published layout without a run's settings: config.json, weights, the small files beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.policy import CONFIG_FILE
from tgrpo_trainer.policy.openvla.actions import STATISTICS_FILE
from tgrpo_trainer.policy.openvla.architecture import read_architecture
from tgrpo_trainer.policy.openvla.model import OpenVlaModel
from tgrpo_trainer.policy.openvla.playable import refuse_unplayable
from tgrpo_trainer.policy.openvla.prompt import TOKENIZER_FILE
from tgrpo_trainer.policy.openvla.weights import MAX_SHARD_BYTES, DType, load_weights, read_headers, save_weights

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


def load_model(folder: Path, config: Mapping[str, Any], dtype: DType | None = None) -> OpenVlaModel:
    """The network of a checkpoint with its weights.

    Args:
        folder: With shards and their index.
        config: Its config.json.
        dtype: Weights are converted to this; None keeps what is stored.

    Raises:
        CheckpointError: Something is missing, damaged or of another model.
    """
    headers = read_headers(folder)
    refuse_unplayable(folder, config, headers)
    architecture = read_architecture(config, {name: stored.shape for name, stored in headers.items()})
    with torch.device("meta"):
        model = OpenVlaModel(architecture)
    load_weights(model, headers, dtype)
    model.rebuild_buffers()
    return model


def read_companions(folder: Path) -> dict[str, bytes]:
    """Contents of the small files that are there."""
    return {name: (folder / name).read_bytes() for name in COMPANIONS if (folder / name).is_file()}


def write_published(
    folder: Path,
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    companions: Mapping[str, bytes],
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write shards, index, config.json with the weights' type, and the companions into an existing folder."""
    save_weights(folder, weights, max_shard_bytes)
    dtype = str(next(iter(weights.values())).dtype).removeprefix("torch.")
    write_json(folder / CONFIG_FILE, {**config, "torch_dtype": dtype})
    for name, contents in companions.items():
        (folder / name).write_bytes(contents)


def read_json(path: Path) -> dict[str, Any]:
    """An object in a file.

    Raises:
        CheckpointError: It is missing or something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is missing or not JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds {type(content).__name__}, not an object with settings.")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object, its keys in order."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
