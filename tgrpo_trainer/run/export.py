"""Exports a checkpoint's policy in the published format, LoRA adapters merged, with the tasks it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tgrpo_envs.errors import CheckpointError, ConfigError, UnknownNameError
from tgrpo_envs.files import atomic_folder
from tgrpo_trainer.config import EnvConfig, TrainConfig
from tgrpo_trainer.policy import ADAPTER_CONFIG_FILE, CONFIG_FILE, SETTINGS_FILE, load_policy
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.policy.json_files import read_object, write_object
from tgrpo_trainer.run.checkpoint import MANIFEST, POLICY, load_checkpoint
from tgrpo_trainer.run.layout import CONFIG_NAME

TASKS_FILE = "trained_on.json"
"""What an exported policy was trained on, which `eval` plays unless it is told otherwise."""
TRAINED_ON = ("suite", "tasks", "assets", "horizon", "detail")


def export_policy(checkpoint: Path, out: Path, base: str | None = None) -> None:
    """Write the policy of a checkpoint into a new folder.

    Args:
        checkpoint: Of a run; or a folder with LoRA adapters, a run's or of another program, whose base peft's file
            names; or a program's file of weights.
        out: Must not exist; it appears when everything is written.
        base: For a file of weights: the checkpoint that it was trained from.

    Raises:
        ConfigError: `out` exists, or a base goes with no file of weights, or such a file without one; or the folder is
            a whole policy's already.
        OutputError: `out` cannot be written.
        CheckpointError: The checkpoint, or the base of its adapters, is missing or damaged.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already; name a new folder.")
    if checkpoint.is_file() == (base is None):
        raise ConfigError(
            f"{checkpoint} is {'a' if base is None else 'no'} file of weights, and --base is for these: the checkpoint "
            f"that they were trained from. {'Give it' if base is None else 'Leave it out'}."
        )
    if (checkpoint / CONFIG_FILE).is_file() and not (checkpoint / ADAPTER_CONFIG_FILE).is_file():
        raise ConfigError(
            f"{checkpoint} is a policy already, with nothing to export: every command takes it as it is, so name it "
            "there, or copy the folder."
        )
    with atomic_folder(out) as partial:
        _write(checkpoint, partial, base)
        if (env := env_of_run(checkpoint)) is not None and env.bddl is None:  # a task file of one's own has no name
            write_object(partial / TASKS_FILE, env.model_dump(mode="json", include=set(TRAINED_ON)))


def checkpoint_of(folder: Path) -> Path | None:
    """The checkpoint of a run that a folder is, or whose policy it is; None of anything else."""
    whole = folder.resolve()
    checkpoint = whole.parent if whole.name == POLICY else whole
    in_a_run = (checkpoint / MANIFEST).is_file() and (checkpoint.parent.parent / CONFIG_NAME).is_file()
    return checkpoint if in_a_run else None


def env_of_run(folder: Path) -> EnvConfig | None:
    """The tasks of the run that a checkpoint, or the policy in one, belongs to; None of anything else.

    Raises:
        ConfigError: The run's settings are of another version.
    """
    checkpoint = checkpoint_of(folder)
    return None if checkpoint is None else TrainConfig.load(checkpoint.parent.parent / CONFIG_NAME).env


def _known_env(folder: Path) -> EnvConfig | None:
    """`env_of_run`, or None where the run's settings cannot be read: its policy can be used all the same."""
    try:
        return env_of_run(folder)
    except ConfigError:
        return None


def with_own_tasks(config: TrainConfig, folder: Path) -> TrainConfig | None:
    """Settings with what a policy was trained on (`TRAINED_ON`); None where neither a file nor a run says it.

    Args:
        config: A recipe's.
        folder: The policy's.

    Raises:
        CheckpointError: The file says something else than a suite and tasks.
    """
    path = folder / TASKS_FILE
    if path.is_file():
        content: dict[str, Any] = {"detail": config.env.detail} | read_object(path)  # versions up to 0.12.0 left it out
        own = {name: content.get(name) for name in TRAINED_ON}
    elif (env := _known_env(folder)) is not None and env.bddl is None:
        own = env.model_dump(include=set(TRAINED_ON))
    else:
        return None
    try:
        known = config.replace(env={**config.env.model_dump(), **own})
        known.env.of_each_task()  # refuses tasks that the suite does not have
    except (ConfigError, UnknownNameError) as error:
        raise CheckpointError(f"{path} does not say which tasks the policy was trained on: {error}") from error
    return known


def _write(checkpoint: Path, folder: Path, base: str | None) -> None:
    if base is not None:
        from tgrpo_trainer.policy.openvla.foreign import convert_weights

        convert_weights(checkpoint, base, folder)
        return
    adapters = (checkpoint / ADAPTER_CONFIG_FILE).is_file()
    if adapters and not (checkpoint / SETTINGS_FILE).is_file():
        from tgrpo_trainer.policy.openvla.foreign import merge_foreign  # brings transformers

        merge_foreign(checkpoint, folder)
        return
    policy: Policy = load_policy(checkpoint) if adapters else load_checkpoint(checkpoint).policy
    policy.merge()
    policy.save(folder)
