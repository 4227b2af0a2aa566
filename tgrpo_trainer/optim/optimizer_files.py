"""An optimiser's state on disk, keyed by the parameters' names: written by any number of ranks, read by any other.

    optimizer/rank_00000.safetensors     "<parameter>/<entry>" -> this rank's rows, for example "head.weight/exp_avg"
              rank_00001.safetensors     the rows that follow

FSDP cuts tensors along their first axis, in the order of the ranks, so the rows of all files one behind the other are
the whole tensor. What every rank has alike (a step count) is in rank 0's file only. Nothing is pickled. torch's own
distributed checkpoints would do the same, but read their index with pickle, which runs whatever a file says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.distributed.world import World


def param_groups(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The settings of each group (learning rate, betas ...), without the parameters."""
    groups = optimizer.state_dict()["param_groups"]
    return [{name: value for name, value in group.items() if name != "params"} for group in groups]


def save_optimizer(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, world: World) -> Path | None:
    """Write this rank's part of the optimiser's tensors into an existing folder.

    Returns:
        The file; None if this rank has nothing to write.
    """
    rows: dict[str, Tensor] = {}
    for name, parameter in _parameters(module, optimizer):
        for entry, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, DTensor):
                local = value.to_local()
                if local.numel():
                    rows[f"{name}/{entry}"] = local.detach().cpu().contiguous()
            elif world.is_main:
                rows[f"{name}/{entry}"] = value.detach().cpu().contiguous()
    if not rows:
        return None
    path = folder / f"rank_{world.rank:05d}.safetensors"
    save_file(rows, path)
    return path


def load_optimizer(
    folder: Path, groups: list[dict[str, Any]], module: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Give an optimiser the state that `save_optimizer` wrote, this rank's part of it.

    Args:
        folder: The files; there are none of an optimiser that had not stepped.
        groups: What `param_groups` gave.
        module: Its parameters have the names of the saved ones.
        optimizer: A new one, over the same parameters.

    Raises:
        CheckpointError: The files belong to other parameters, or cannot be read.
    """
    named = list(_parameters(module, optimizer))
    try:
        state, unknown = _read(folder, dict(named))
    except (OSError, safetensors.SafetensorError, KeyError) as error:
        raise CheckpointError(f"The optimiser's files in {folder} cannot be read: {error}") from error
    fresh = optimizer.state_dict()
    if unknown or len(groups) != len(fresh["param_groups"]):
        what = f"{unknown[0]!r} is not a parameter of this policy" if unknown else f"it had {len(groups)} groups"
        raise CheckpointError(f"{folder} is the state of another optimiser: {what}.")
    optimizer.load_state_dict(
        {
            "state": {i: state[name] for i, (name, _) in enumerate(named) if name in state},
            "param_groups": [
                {**saved, "params": own["params"]} for saved, own in zip(groups, fresh["param_groups"], strict=True)
            ],
        }
    )


def _parameters(module: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """The optimiser's parameters with their names, in the order in which its `state_dict` numbers them."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            yield names[id(parameter)], parameter


def _read(folder: Path, parameters: dict[str, Tensor]) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """The state of each parameter, and the names in the files that are none of theirs."""
    state: dict[str, dict[str, Tensor]] = {}
    unknown: list[str] = []
    files = [safe_open(path, framework="pt") for path in sorted(folder.glob("rank_*.safetensors"))]
    keys = [file.keys() for file in files]
    for key in dict.fromkeys(key for each in keys for key in each):
        name, _, entry = key.rpartition("/")
        if name not in parameters:
            unknown.append(name)
            continue
        holders = [file for file, each in zip(files, keys, strict=True) if key in each]
        parts = [file.get_slice(key) for file in holders]
        state.setdefault(name, {})[entry] = _assemble(parts, parameters[name])
    return state, unknown


def _assemble(parts: list[Any], parameter: Tensor) -> Tensor:
    """One entry: as it is, or this rank's rows of it where the parameter is sharded and the entry has its shape."""
    shapes = [part.get_shape() for part in parts]
    if not shapes[0]:
        whole: Tensor = parts[0][...]
        return whole
    total = sum(shape[0] for shape in shapes)
    whole_shape = (total, *shapes[0][1:])
    if not isinstance(parameter, DTensor) or parameter.shape != whole_shape:
        value = torch.cat([part[:] for part in parts])
        # In the parameter's memory layout (channels last): kernels round differently where layouts differ.
        return torch.empty_like(parameter, dtype=value.dtype).copy_(value) if parameter.shape == whole_shape else value
    start, stop = _own_rows(parameter)
    rows, offset = [], 0
    for part, shape in zip(parts, shapes, strict=True):
        first, last = max(start, offset), min(stop, offset + shape[0])
        if first < last:
            rows.append(part[first - offset : last - offset])
        offset += shape[0]
    local = torch.cat(rows) if rows else parts[0][0:0]
    return DTensor.from_local(
        local.to(parameter.device),
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


def _own_rows(parameter: DTensor) -> tuple[int, int]:
    """First row of this rank's part of a tensor that is cut like `torch.chunk` cuts, and the one behind its last."""
    size, rank = parameter.device_mesh.size(), parameter.device_mesh.get_local_rank()
    chunk = -(-parameter.shape[0] // size)
    start = min(rank * chunk, parameter.shape[0])
    return start, min(start + chunk, parameter.shape[0])
