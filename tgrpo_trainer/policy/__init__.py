"""Policies: the interface the trainer sees, the kinds there are, and reading one from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file

from tgrpo_envs.errors import CheckpointError, ConfigError, UnknownNameError
from tgrpo_trainer.policy import nano
from tgrpo_trainer.policy.base import CONFIG_FILE, WEIGHTS_FILE, Policy
from tgrpo_trainer.policy.lora import ADAPTER_CONFIG_FILE
from tgrpo_trainer.policy.nano import NanoConfig, NanoPolicy

__all__ = ["NanoConfig", "NanoPolicy", "Policy", "load_policy"]

OPENVLA_KIND = "openvla"
"""`model_type` in the config.json of published OpenVLA checkpoints."""


def load_policy(folder: Path) -> Policy:
    """Read a policy that `Policy.save` wrote.

    Raises:
        CheckpointError: A file is missing or damaged, or the weights do not fit the settings beside them.
        UnknownNameError: A kind of policy this version does not have.
    """
    is_adapter = (folder / ADAPTER_CONFIG_FILE).is_file()  # peft's folders have no config.json
    config = {"kind": OPENVLA_KIND} if is_adapter else _read_config(folder / CONFIG_FILE)
    kind = config.pop("kind", None) or config.get("model_type")  # published models have their own config.json
    if kind == OPENVLA_KIND:
        from tgrpo_trainer.policy.openvla import OpenVlaPolicy  # brings transformers, which no other policy needs

        return OpenVlaPolicy.load(folder)
    if kind != nano.KIND:
        raise UnknownNameError("kind of policy", kind, [nano.KIND, OPENVLA_KIND])
    try:
        policy = NanoPolicy(NanoConfig(**config))
        policy.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (TypeError, ConfigError) as error:
        raise CheckpointError(f"{folder / CONFIG_FILE} does not describe a {kind} policy: {error}") from error
    except (OSError, safetensors.SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{folder / WEIGHTS_FILE} is missing, damaged or of another shape: {error}") from error
    return policy


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not the settings file of a saved policy: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds {type(config).__name__}, not the settings of a policy.")
    return config
