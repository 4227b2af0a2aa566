"""OpenVLA's weight files: safetensors shards and their index, read strictly and written in the same form."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import safetensors
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tgrpo_envs.errors import CheckpointError
from tgrpo_envs.files import read_json

_logger = logging.getLogger(__name__)

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
MAX_SHARD_BYTES = 7_000_000_000
"""Size of the published shards."""
VALUE_HEAD = "value_head."
"""What RLinf's PPO leaves in its checkpoints: a critic, of which the policy needs nothing."""

Stored = TypeVar("Stored")
DType = Literal["bfloat16", "float16", "float32"]
DTYPES: dict[str, DType] = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
"""What weights may be stored as, by safetensors' names; anything else is quantised or not a weight."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor on disk."""

    shape: tuple[int, ...]
    dtype: str
    shard: Path


def read_headers(folder: Path) -> dict[str, StoredTensor]:
    """What the shards hold, without reading the weights.

    Raises:
        CheckpointError: Neither an index nor `model.safetensors` is there, or the latter beside an index of other
            files; a shard is missing or damaged, or shards and index disagree.
    """
    index, single = folder / INDEX_FILE, folder / SINGLE_FILE
    if not index.is_file() and not single.is_file():
        raise CheckpointError(f"{folder} holds neither {INDEX_FILE} nor {SINGLE_FILE}, so no OpenVLA's weights.")
    placed = _read_index(index) if index.is_file() else None
    if placed and single.is_file() and single not in placed.values():
        raise CheckpointError(
            f"{folder} holds {SINGLE_FILE} and {INDEX_FILE} of other files; take away the one that is not to be used."
        )
    headers: dict[str, StoredTensor] = {}
    elsewhere: set[str] = set()
    for shard in sorted(set(placed.values())) if placed else [single]:
        if not shard.is_file():
            raise CheckpointError(f"{shard} is missing, although {INDEX_FILE} places tensors in it; copy it again.")
        try:
            with safe_open(shard, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - not a mapping
                    part = file.get_slice(name)
                    if placed and placed.get(name, shard) != shard:
                        elsewhere.add(f"{name} in {shard.name}")
                    headers[name] = StoredTensor(tuple(part.get_shape()), part.get_dtype(), shard)
        except (OSError, safetensors.SafetensorError) as error:
            raise CheckpointError(f"{shard} is damaged: {error}") from error
    if placed:
        _refuse_differences(
            f"{index} and its shards disagree",
            missing=placed.keys() - headers.keys(),
            unexpected=headers.keys() - placed.keys(),
            elsewhere=elsewhere,
        )
    return headers


def load_weights(
    model: nn.Module,
    headers: Mapping[str, StoredTensor],
    dtype: DType | None = None,
    beside: Mapping[str, Tensor] | None = None,
) -> None:
    """Fill a model (its parameters may be on the meta device) with the stored weights.

    Args:
        model: Its state_dict must have exactly the stored names and shapes.
        headers: What `read_headers` found; a value head among it is left out, which the log says.
        dtype: Converted to this; None keeps what is stored, which must then be one kind for all.
        beside: Tensors that go before those of the shards, or that these lack; they take their type.

    Raises:
        CheckpointError: Names every missing and unexpected tensor, or a tensor of another shape; weights stored as
            something else than floats; several kinds of floats and no `dtype`.
    """
    beside = beside or {}
    headers = {name: stored for name, stored in without_value_head(headers).items() if name not in beside}
    expected = model.state_dict()
    shapes = {name: stored.shape for name, stored in headers.items()}
    shapes |= {name: tuple(tensor.shape) for name, tensor in beside.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    refuse_other_tensors("The checkpoint is not that of an OpenVLA of its own sizes", wanted, shapes)
    target = _choose_dtype(headers, dtype)
    # A copy: a part is read from its file page by page, and that file may be written over.
    state = {name: tensor.to(target, copy=True) for name, tensor in beside.items()}
    model.load_state_dict(_read(headers, target) | state, strict=True, assign=True)


def save_weights(folder: Path, state: Mapping[str, Tensor], max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
    """Write shards of at most `max_shard_bytes` (or one tensor) each, and their index."""
    shards: list[dict[str, Tensor]] = [{}]
    sizes = [0]
    for name, tensor in state.items():
        if shards[-1] and sizes[-1] + tensor.nbytes > max_shard_bytes:
            shards.append({})
            sizes.append(0)
        shards[-1][name] = tensor.detach().contiguous()
        sizes[-1] += tensor.nbytes
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file_name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / file_name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file_name)
    index = {"metadata": {"total_size": sum(sizes)}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _read_index(path: Path) -> dict[str, Path]:
    """The shard of each tensor."""
    try:
        placed: Any = read_json(path)["weight_map"]
        return {str(name): path.parent / str(file) for name, file in placed.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not an index of shards: {error!r}.") from error


def _refuse_differences(what: str, **differences: set[str]) -> None:
    parts = [f"{kind}: {', '.join(sorted(names))}" for kind, names in differences.items() if names]
    if parts:
        raise CheckpointError(f"{what}; {'; '.join(parts)}.")


def refuse_other_tensors(
    what: str, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse tensors that are not exactly those of a model.

    Args:
        what: Begins the message.
        expected: Shapes by name.
        found: Likewise.

    Raises:
        CheckpointError: Names every missing and unexpected tensor, or those of another shape.
    """
    _refuse_differences(what, missing=expected.keys() - found.keys(), unexpected=found.keys() - expected.keys())
    wrong = [f"{name} is {shape}, not {expected[name]}" for name, shape in found.items() if shape != expected[name]]
    if wrong:
        raise CheckpointError(f"{what}; of other shapes: {'; '.join(wrong)}.")


def without_value_head(stored: Mapping[str, Stored]) -> Mapping[str, Stored]:
    """What is stored by name, without a critic, which the log names."""
    dropped = sorted(name for name in stored if name.startswith(VALUE_HEAD))
    if dropped:
        _logger.warning("The checkpoint's value head is not used, and left out: %s.", ", ".join(dropped))
    return {name: value for name, value in stored.items() if name not in dropped}


def _choose_dtype(headers: Mapping[str, StoredTensor], wanted: DType | None) -> torch.dtype:
    counts = Counter(stored.dtype for stored in headers.values())
    refused = sorted(counts.keys() - DTYPES.keys())
    if refused:
        named = next(name for name, stored in headers.items() if stored.dtype == refused[0])
        raise CheckpointError(
            f"Weights are stored as {', '.join(refused)} ({named}); only {', '.join(DTYPES.values())} can be trained. "
            "Take the checkpoint before it was quantised."
        )
    if wanted is None and len(counts) > 1:
        raise CheckpointError(
            f"Weights are stored in several types ({dict(counts)}); choose one with --policy.openvla.dtype."
        )
    chosen: torch.dtype = getattr(torch, wanted or DTYPES[next(iter(counts))])
    return chosen


def _read(headers: Mapping[str, StoredTensor], dtype: torch.dtype) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for shard in sorted({stored.shard for stored in headers.values()}):
        with safe_open(shard, framework="pt") as file:
            wanted = (name for name, stored in headers.items() if stored.shard == shard)
            state |= {name: file.get_tensor(name).to(dtype) for name in wanted}
    return state
