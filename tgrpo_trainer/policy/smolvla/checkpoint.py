"""A SmolVLA in LeRobot's published layout: read by LeRobot's own classes, and written so that they read it again.

config.json                    sizes, cameras, where the language model's own files are (vlm_model_name)
model.safetensors              the weights
policy_preprocessor.json       names of cameras, tokenizer, normalisation; its statistics in safetensors files
policy_postprocessor.json      from normalised actions to the data's
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tgrpo_envs.errors import CheckpointError
from tgrpo_envs.extras import needs_extra
from tgrpo_trainer.policy import CONFIG_FILE
from tgrpo_trainer.policy.json_files import read_object, write_object
from tgrpo_trainer.policy.libero_state import STATE_SIZE
from tgrpo_trainer.types import ACTION_DIM

KIND = "smolvla"
WEIGHTS_FILE = "model.safetensors"
PREPROCESSOR_FILE, POSTPROCESSOR_FILE = "policy_preprocessor.json", "policy_postprocessor.json"


@dataclass(frozen=True)
class SmolVlaCheckpoint:
    """What a folder holds.

    Attributes:
        model: LeRobot's `SmolVLAPolicy` (a module), on the CPU; each weight has the type it is stored in.
        before: Steps of LeRobot's preprocessor, in order.
        after: Steps of its postprocessor.
        config: config.json.
        stored: Names of the weights in the file; tied ones are there once.
        companions: Files of the processors, as they are.
    """

    model: Any
    before: Sequence[Any]
    after: Sequence[Any]
    config: dict[str, Any]
    stored: tuple[str, ...]
    companions: dict[str, bytes]


def read_checkpoint(folder: Path) -> SmolVlaCheckpoint:
    """Read a folder.

    Raises:
        CheckpointError: Something is missing, damaged, or of another robot.
        MissingExtraError: LeRobot is not installed.
    """
    with needs_extra("lerobot", "SmolVLA (by LeRobot, from Python 3.12 on)"):
        from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
        from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy
        from lerobot.processor import PolicyProcessorPipeline

    content = read_object(folder / CONFIG_FILE)
    if content.get("type") != KIND:
        raise CheckpointError(
            f"{folder} is no SmolVLA of LeRobot's: the type in its config.json is {content.get('type')}."
        )
    for name in (PREPROCESSOR_FILE, POSTPROCESSOR_FILE):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder} has no {name}; LeRobot 0.4 and later write it, and python -m "
                "lerobot.processor.migrate_policy_normalization makes it for an older checkpoint."
            )
    try:
        config = SmolVLAConfig.from_pretrained(folder)
        # All weights come from the file, and the policy goes to its device later. What is compiled is never called.
        config.device, config.load_vlm_weights, config.compile_model, config.use_cache = "cpu", False, False, True
        with contextlib.redirect_stdout(sys.stderr):  # where tables are printed, LeRobot has nothing to say
            model = SmolVLAPolicy(config)
        before, after = (
            PolicyProcessorPipeline.from_pretrained(folder, name, overrides={"device_processor": {"device": "cpu"}})
            for name in (PREPROCESSOR_FILE, POSTPROCESSOR_FILE)
        )
    except Exception as error:  # draccus, transformers and the hub have errors of their own, LeRobot plain ones
        vlm = content.get("vlm_model_name")
        raise CheckpointError(
            f"LeRobot cannot read {folder}, or not the configuration and the tokenizer of its language model {vlm} "
            f"(a folder, or a name on the hub): {' '.join(str(error).split())}"
        ) from error
    _check_robot(folder, config)
    stored = _load_weights(folder / WEIGHTS_FILE, model)
    return SmolVlaCheckpoint(model, before.steps, after.steps, content, stored, _processor_files(folder))


def write_checkpoint(
    folder: Path, checkpoint: SmolVlaCheckpoint, weights: Mapping[str, Tensor], changes: Mapping[str, Any]
) -> None:
    """Write a folder that LeRobot reads.

    Args:
        folder: Exists.
        checkpoint: Where the policy comes from.
        weights: LeRobot's names; those that a file does not need are left out.
        changes: Of config.json.
    """
    save_file(
        {name: weights[name].detach().contiguous() for name in checkpoint.stored},
        folder / WEIGHTS_FILE,
        metadata={"format": "pt"},
    )
    write_object(folder / CONFIG_FILE, {**checkpoint.config, **changes})
    for name, contents in checkpoint.companions.items():
        (folder / name).write_bytes(contents)


def _check_robot(folder: Path, config: Any) -> None:
    """Refuse what was trained for another robot than LIBERO's."""
    sizes = [feature and feature.shape for feature in (config.action_feature, config.robot_state_feature)]
    if sizes != [(ACTION_DIM,), (STATE_SIZE,)] or config.adapt_to_pi_aloha:
        raise CheckpointError(
            f"{folder} is for another robot: its actions and states have the shapes {sizes[0]} and {sizes[1]}, "
            f"LIBERO's ({ACTION_DIM},) and ({STATE_SIZE},); take a checkpoint trained on LIBERO."
        )


def _load_weights(path: Path, model: nn.Module) -> tuple[str, ...]:
    """Fill the model, whose parameters take the stored types."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is missing or damaged: {error}") from error
    targets = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    known = {name: value for name, value in stored.items() if name in targets}
    filled = {id(targets[name]) for name in known}
    # The language model's head is never run, so LeRobot's files may lack it.
    missing = [name for name in model.state_dict() if id(targets[name]) not in filled and ".lm_head." not in name]
    other = [name for name, value in known.items() if value.shape != targets[name].shape]
    if missing or other:
        raise CheckpointError(
            f"{path} is of another model than its config.json says: {len(missing)} weights are missing and "
            f"{len(other)} have another shape, such as {(missing or other)[0]}."
        )
    with torch.no_grad():
        for name, value in known.items():
            targets[name].data = value
    return tuple(known)


def _processor_files(folder: Path) -> dict[str, bytes]:
    kinds = ("policy_preprocessor", "policy_postprocessor")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name.startswith(kinds)}
