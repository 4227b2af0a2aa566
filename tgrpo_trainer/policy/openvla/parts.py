"""What OpenVLA-OFT saves beside the shards, as NAME--STEP_checkpoint.pt: read as tensors only, and written again.

Such a file is a pickle. torch's weights-only reader builds tensors and containers from it and nothing else, so a file
that asks for more is refused before anything of it runs.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tgrpo_envs.errors import CheckpointError, first_line
from tgrpo_trainer.policy.hub import PART_FILE, refuse_parts
from tgrpo_trainer.policy.openvla.film import from_film_file, is_modulation, to_film_file

LOG_SCALE = "log_scale_A"
SCALE_FILE = "action_scale.safetensors"
"""Of ours: the learnt scale of the noise around a regression head, which the published files have no place for."""
ACTION_HEAD = "action_head"
PROPRIO_PROJECTOR = "proprio_projector"
VISION_BACKBONE = "vision_backbone"
"""With FiLM; shards hold another then, which the authors' reader replaces by it."""
NEW_FILE = "{part}--latest_checkpoint.pt"
"""What a part is called that came without a file of its own; the authors' name for a run's only checkpoint."""
_DDP = "module."


@dataclass(frozen=True)
class Parts:
    """The parts of a checkpoint.

    Attributes:
        tensors: By the model's names, such as `action_head.model.fc1.weight`.
        files: File name of each part.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def read_parts(folder: Path) -> Parts:
    """All parts in a folder.

    Raises:
        CheckpointError: Two files of one part, a part that is not supported, or a file that is damaged or holds more
            than tensors.
    """
    names = sorted(path.name for path in folder.iterdir())
    refuse_parts(names, str(folder))
    files: dict[str, str] = {}
    tensors: dict[str, Tensor] = {}
    for name in names:
        match = PART_FILE.fullmatch(name)
        if match is None:
            continue
        part = match["part"]
        if part in files:
            raise CheckpointError(f"{folder} holds {files[part]} and {name}; leave the one that is to be used.")
        files[part] = name
        stored = {key.removeprefix(_DDP): value for key, value in read_tensors(folder / name).items()}
        own = from_film_file(stored) if part == VISION_BACKBONE else stored
        tensors |= {f"{part}.{key}": value for key, value in own.items()}
    if (folder / SCALE_FILE).is_file():
        tensors |= _read_scale(folder / SCALE_FILE)
    return Parts(tensors, files)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A `state_dict` that `torch.save` wrote, on the CPU.

    Raises:
        CheckpointError: It is damaged, or holds something else than tensors by name.
    """
    try:
        # A file of torch's newer form stays on disk until a tensor is used.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors and is therefore not read: {first_line(error)}"
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise CheckpointError(f"{path} does not hold tensors by name, as a part's state_dict does.")
    return content


def write_parts(folder: Path, weights: Mapping[str, Tensor], files: Mapping[str, str]) -> dict[str, Tensor]:
    """Write those of a model's weights that belong to parts into their files; returns the others.

    Args:
        folder: Exists.
        weights: By the model's names.
        files: File names of the parts that had one.
    """
    rest = dict(weights)
    if any(is_modulation(name) for name in weights):
        own = {name: tensor.detach() for name, tensor in weights.items() if name.startswith(f"{VISION_BACKBONE}.")}
        torch.save(to_film_file(own), folder / _file_of(VISION_BACKBONE, files))
        rest = {name: tensor for name, tensor in weights.items() if not is_modulation(name)}
    for part in (ACTION_HEAD, PROPRIO_PROJECTOR):
        prefix = f"{part}."
        own = {name.removeprefix(prefix): rest.pop(name).detach() for name in weights if name.startswith(prefix)}
        if own:
            # A view would bring the whole memory that it looks at.
            own = {name: tensor.clone() for name, tensor in own.items()}
            torch.save(own, folder / _file_of(part, files))
    if LOG_SCALE in rest:
        save_file({LOG_SCALE: rest.pop(LOG_SCALE).detach().contiguous()}, folder / SCALE_FILE)
    return rest


def _file_of(part: str, files: Mapping[str, str]) -> str:
    return files.get(part, NEW_FILE.format(part=part))


def _read_scale(path: Path) -> dict[str, Tensor]:
    try:
        return {LOG_SCALE: load_file(path)[LOG_SCALE]}
    except (OSError, KeyError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} does not hold the scale of a policy's noise: {error}") from error
