"""What another program saved of a training, as a published checkpoint: LoRA adapters, or a file of weights.

OpenVLA's own fine-tuning and OpenVLA-OFT's write adapters. peft itself puts them in place and merges them, so what it
knows of its format (alpha per layer, rsLoRA, DoRA, whole layers saved beside) needs nothing here. RLinf writes a
`state_dict` (`actor/model_state_dict/full_weights.pt`), which is read as tensors only.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file

from tgrpo_envs.errors import CheckpointError, first_line
from tgrpo_trainer.policy import ADAPTER_CONFIG_FILE, CONFIG_FILE
from tgrpo_trainer.policy.hub import resolve_checkpoint
from tgrpo_trainer.policy.json_files import read_object
from tgrpo_trainer.policy.lora import ADAPTER_WEIGHTS_FILE
from tgrpo_trainer.policy.openvla.actions import STATISTICS_FILE
from tgrpo_trainer.policy.openvla.film import is_modulation
from tgrpo_trainer.policy.openvla.model import OpenVlaModel
from tgrpo_trainer.policy.openvla.parts import (
    ACTION_HEAD,
    LOG_SCALE,
    PROPRIO_PROJECTOR,
    VISION_BACKBONE,
    read_parts,
    read_tensors,
)
from tgrpo_trainer.policy.openvla.published import load_model, read_companions, write_published
from tgrpo_trainer.policy.openvla.weights import read_headers, refuse_other_tensors, without_value_head

OFT_FOLDER = "lora_adapter"
"""Where OpenVLA-OFT keeps the adapters of a checkpoint: statistics and heads lie in the folder above."""
BASE = "base_model_name_or_path"
PARTS_TRAINED_WHOLE = (ACTION_HEAD, PROPRIO_PROJECTOR)
_WRAPPERS = re.compile(r"^((_fsdp_wrapped_module|_orig_mod|module)\.)+|(?<=\.)(_fsdp_wrapped_module|_orig_mod)\.")
"""What FSDP, torch.compile and DDP put into names."""


def merge_foreign(adapters: Path, out: Path) -> None:
    """Write base and adapters as one checkpoint in the published layout.

    Args:
        adapters: adapter_config.json and adapter_model.safetensors; their own dataset_statistics.json goes before the
            base's.
        out: Exists, and is empty.

    Raises:
        CheckpointError: The base cannot be had, or the adapters are damaged, not LoRA, or of another model.
    """
    folders = [adapters.resolve().parent, adapters] if adapters.resolve().name == OFT_FOLDER else [adapters]
    beside = [read_parts(folder) for folder in folders]
    base = _find_base(adapters)
    config, own = read_object(base / CONFIG_FILE), read_parts(base)
    model = load_model(base, config, parts=own)
    tensors = {name: tensor for parts in beside for name, tensor in parts.tensors.items()}
    _merge(adapters, model, left_out=VISION_BACKBONE if any(map(is_modulation, tensors)) else None)
    companions = read_companions(base)
    for folder in folders:
        if (folder / STATISTICS_FILE).is_file():
            companions[STATISTICS_FILE] = (folder / STATISTICS_FILE).read_bytes()
    files = {part: name for parts in (own, *beside) for part, name in parts.files.items()}
    # What the training saved whole goes before what the base has of it; shards are of one type.
    state = model.state_dict()
    state |= {name: tensor.to(state[name]) if name in state else tensor for name, tensor in tensors.items()}
    write_published(out, state, config, companions, part_files=files)


def convert_weights(weights: Path, base: str, out: Path) -> None:
    """Write a model's `state_dict` as a checkpoint with the configuration of the one that it was trained from.

    Args:
        weights: What `torch.save` wrote of the whole model; a critic (`value_head.*`) is left out, which the log says.
        base: A folder, or a name on the hub: of the same sizes.
        out: Exists, and is empty.

    Raises:
        CheckpointError: The base cannot be had; the file is damaged, holds more than tensors, or is of another model.
    """
    state = {_WRAPPERS.sub("", name): tensor for name, tensor in read_tensors(weights).items()}
    if adapter := next((name for name in state if ".lora_" in name), None):
        raise CheckpointError(
            f"{weights} holds LoRA adapters beside the weights ({adapter}); have them merged, or saved by peft, by the "
            "program that made them."
        )
    folder = resolve_checkpoint(base).folder
    config, parts = read_object(folder / CONFIG_FILE), read_parts(folder)
    expected = {name: stored.shape for name, stored in without_value_head(read_headers(folder)).items()}
    expected |= {name: tuple(tensor.shape) for name, tensor in parts.tensors.items() if name != LOG_SCALE}
    state = dict(without_value_head(state))
    refuse_other_tensors(
        f"{weights} is not of the model of {base}",
        expected,
        {name: tuple(value.shape) for name, value in state.items()},
    )
    write_published(out, state, config, read_companions(folder), part_files=parts.files)


def _find_base(adapters: Path) -> Path:
    """The folder of the checkpoint that the adapters name."""
    path = adapters / ADAPTER_CONFIG_FILE
    base = read_object(path).get(BASE)
    if not isinstance(base, str) or not base:
        raise CheckpointError(f"{path} names no {BASE}; write there the folder or hub name of the OpenVLA they adapt.")
    try:
        return resolve_checkpoint(base).folder
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} names {base} as the base of its adapters, which cannot be had: {error} Put it there, or write its "
            f"folder or hub name as {BASE}."
        ) from error


def _merge(adapters: Path, model: OpenVlaModel, left_out: str | None) -> None:
    """Add the adapters to the weights, in place; the model's names stay the base's.

    Args:
        adapters: peft's folder.
        model: The base. Parts of its own had none: OpenVLA-OFT trains them whole.
        left_out: A module whose adapters are not looked at, since what it became was saved whole.
    """
    from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict

    weights = adapters / ADAPTER_WEIGHTS_FILE
    try:
        settings = LoraConfig.from_pretrained(str(adapters))
        stored = load_file(weights)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{weights} is missing or damaged ({error}); adapters stored as adapter_model.bin have to be saved again "
            "by peft with safe_serialization=True."
        ) from error
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{adapters / ADAPTER_CONFIG_FILE} does not hold settings of LoRA: {error}") from error
    if not isinstance(settings, LoraConfig):
        raise CheckpointError(
            f"{adapters} holds adapters that are not LoRA; merge them with the program that made them."
        )
    settings.task_type = None  # its wrappers want methods that only models of transformers have
    try:
        wrapped: Any = PeftModel(model, settings)
        if left_out is not None:
            stored = {name: tensor for name, tensor in stored.items() if f".{left_out}." not in name}
        missing = get_peft_model_state_dict(wrapped, save_embedding_layers=False).keys() - stored.keys()
        missing = {
            name for name in missing if not any(f".{part}." in name for part in (*PARTS_TRAINED_WHOLE, left_out))
        }
        # Beside adapters a file may hold layers of the base as a whole: peft keeps the head with its adapter.
        loaded: Any = set_peft_model_state_dict(wrapped, stored)
        strays = sorted(missing | set(loaded.unexpected_keys))
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{adapters} does not fit its base: {first_line(error)}") from error
    if strays:
        raise CheckpointError(
            f"{weights} holds adapters of another model than its base: {len(strays)} tensors differ, such as "
            f"{strays[0]}."
        )
    wrapped.merge_and_unload()
