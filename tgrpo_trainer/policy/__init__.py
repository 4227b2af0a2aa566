"""Policies: the kinds there are, and reading one from a folder. Imports nothing heavy, since settings name kinds."""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

from tgrpo_envs.errors import CheckpointError, UnknownNameError
from tgrpo_trainer.policy.json_files import read_object

if TYPE_CHECKING:
    from tgrpo_trainer.policy.base import Policy  # brings torch

POLICIES: dict[str, str] = {
    "nano": "tgrpo_trainer.policy.nano.policy:NanoPolicy",
    "nano_gaussian": "tgrpo_trainer.policy.nano.gaussian:NanoGaussianPolicy",
    "openvla": "tgrpo_trainer.policy.openvla.policy:OpenVlaPolicy",
    "smolvla": "tgrpo_trainer.policy.smolvla.policy:SmolVlaPolicy",
}
"""Kinds of policy: where the class of each is, which is imported when it is asked for (OpenVLA brings transformers)."""

CONFIG_FILE = "config.json"
ADAPTER_CONFIG_FILE = "adapter_config.json"
SETTINGS_FILE = "tgrpo.json"
"""Written beside the files of a published format: what a run decided and that format has no place for."""


def policy_class(kind: str) -> type[Policy]:
    """The class of a kind.

    Raises:
        UnknownNameError: This version does not have it.
    """
    if kind not in POLICIES:
        raise UnknownNameError("kind of policy", kind, POLICIES)
    found: type[Policy] = pkgutil.resolve_name(POLICIES[kind])
    return found


def load_policy(folder: Path) -> Policy:
    """Read a policy that `Policy.save` wrote.

    Raises:
        CheckpointError: A file is missing or damaged, or the weights do not fit the settings beside them.
        UnknownNameError: A kind of policy this version does not have.
    """
    return policy_class(policy_kind(folder)).load(folder)


def policy_kind(folder: Path) -> str:
    """Which kind of policy lies in a folder, by its files; published ones have a `model_type` or, LeRobot's, a `type`.

    Raises:
        CheckpointError: There is no settings file, or it is damaged, or of something else, or LeRobot's of adapters.
    """
    if (folder / ADAPTER_CONFIG_FILE).is_file():  # OpenVLA saves them, and then there is no config.json
        if (folder / CONFIG_FILE).is_file() and (whose := read_object(folder / CONFIG_FILE).get("type")):
            raise CheckpointError(
                f"{folder} holds LoRA adapters of a {whose} policy beside LeRobot's settings; merge them by peft "
                "(merge_and_unload) and save the whole policy there."
            )
        return "openvla"
    config = read_object(folder / CONFIG_FILE)
    kind = config.get("kind") or config.get("model_type") or config.get("type")
    if kind is None:
        whose = "names no kind of policy; give the folder of one"
        if "rollout" in config:
            whose = "is a run's; give one of its policies, such as checkpoints/iteration_NNNNNN/policy"
        raise CheckpointError(f"{folder / CONFIG_FILE} {whose}.")
    return str(kind)
