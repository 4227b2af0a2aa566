"""LoRA adapters that another program saved (peft's files only), merged into their base checkpoint.

OpenVLA's own fine-tuning and OpenVLA-OFT's write them. peft itself puts them in place and merges them, so what it knows
of its format (alpha per layer, rsLoRA, DoRA, whole layers saved beside) needs nothing here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file

from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.policy import ADAPTER_CONFIG_FILE, CONFIG_FILE
from tgrpo_trainer.policy.hub import refuse_parts, resolve_checkpoint
from tgrpo_trainer.policy.lora import ADAPTER_WEIGHTS_FILE
from tgrpo_trainer.policy.openvla.actions import STATISTICS_FILE
from tgrpo_trainer.policy.openvla.model import OpenVlaModel
from tgrpo_trainer.policy.openvla.published import load_model, read_companions, read_json, write_published

OFT_FOLDER = "lora_adapter"
"""Where OpenVLA-OFT keeps the adapters of a checkpoint: statistics and heads lie in the folder above."""
BASE = "base_model_name_or_path"


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
    for folder in folders:
        refuse_parts((path.name for path in folder.iterdir()), str(folder))
    base = _find_base(adapters)
    config = read_json(base / CONFIG_FILE)
    model = load_model(base, config)
    _merge(adapters, model)
    companions = read_companions(base)
    for folder in folders:
        if (folder / STATISTICS_FILE).is_file():
            companions[STATISTICS_FILE] = (folder / STATISTICS_FILE).read_bytes()
    write_published(out, model.state_dict(), config, companions)


def _find_base(adapters: Path) -> Path:
    """The folder of the checkpoint that the adapters name."""
    path = adapters / ADAPTER_CONFIG_FILE
    base = read_json(path).get(BASE)
    if not isinstance(base, str) or not base:
        raise CheckpointError(f"{path} names no {BASE}; write there the folder or hub name of the OpenVLA they adapt.")
    try:
        return resolve_checkpoint(base).folder
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} names {base} as the base of its adapters, which cannot be had: {error} Put it there, or write its "
            f"folder or hub name as {BASE}."
        ) from error


def _merge(adapters: Path, model: OpenVlaModel) -> None:
    """Add the adapters to the weights, in place; the model's names stay the base's."""
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
        missing = get_peft_model_state_dict(wrapped, save_embedding_layers=False).keys() - stored.keys()
        # Beside adapters a file may hold layers of the base as a whole: peft keeps the head with its adapter.
        loaded: Any = set_peft_model_state_dict(wrapped, stored)
        strays = sorted(missing | set(loaded.unexpected_keys))
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{adapters} does not fit its base: {str(error).splitlines()[0]}") from error
    if strays:
        raise CheckpointError(
            f"{weights} holds adapters of another model than its base: {len(strays)} tensors differ, such as "
            f"{strays[0]}."
        )
    wrapped.merge_and_unload()
