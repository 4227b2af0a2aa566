"""Resolves a path given to `eval` (a run, a checkpoint or a policy's folder) and loads its policy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_envs.files import read_json
from tgrpo_trainer.bc.initial_policy import start_policy
from tgrpo_trainer.config import EnvConfig, TrainConfig, UpdateConfig
from tgrpo_trainer.distributed.world import resolve_device
from tgrpo_trainer.policy import ADAPTER_CONFIG_FILE, CONFIG_FILE, POLICIES, load_policy, policy_class, policy_kind
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.policy.hub import resolve_checkpoint
from tgrpo_trainer.policy.settings import PolicyConfig
from tgrpo_trainer.recipes import get_recipe
from tgrpo_trainer.run.checkpoint import POLICY, latest_checkpoint, load_checkpoint
from tgrpo_trainer.run.export import TASKS_FILE, with_own_tasks
from tgrpo_trainer.run.layout import CONFIG_NAME, LAST_NAME

PROG = "python -m tgrpo_trainer"


@dataclass(frozen=True)
class PolicySource:
    """Where a policy lies, and the settings it is evaluated under unless others are given."""

    folder: Path
    """A checkpoint's folder, or a policy's."""
    config: TrainConfig
    """The run's settings, or a recipe's."""
    kind: str | None
    """Of a policy alone; None for a checkpoint, whose loader knows."""
    knows_tasks: bool = True
    """Whether the settings' tasks are those the policy was trained on; else they are the recipe's."""

    @property
    def policy_folder(self) -> Path:
        """Where the weights are."""
        inside = self.folder / POLICY
        return inside if inside.is_dir() else self.folder


def find_source(checkpoint: str | Path, recipe: str | None = None) -> PolicySource:
    """What `checkpoint` is.

    Args:
        checkpoint: A run's folder, a checkpoint, a policy's folder, or one on the hub: owner/name[/folder][@revision].
        recipe: Settings for a policy alone; None takes the usual ones of its kind.

    Raises:
        ConfigError: It is none of them, a run without a checkpoint, or a recipe was given for a run.
    """
    path = Path(checkpoint)
    # runs/typo and runs/typo/checkpoints/iteration_000040 are no names on the hub where runs is a folder here.
    if len(path.parts) > 1 and not Path(path.parts[0]).is_dir():
        path = _from_hub(str(checkpoint))
    settings = _read_settings(path / CONFIG_FILE)
    is_adapter = (path / ADAPTER_CONFIG_FILE).is_file()
    if is_adapter or (settings is not None and not _is_run(settings)):
        kind = policy_kind(path)
        usual = get_recipe(recipe or policy_class(kind).recipe)
        own = with_own_tasks(usual, path)
        return PolicySource(path, own or usual, kind, knows_tasks=own is not None)
    if recipe is not None:
        raise ConfigError(f"--recipe {recipe} is for a policy without a run; {path} has the settings of its own run.")
    if settings is not None:
        last = latest_checkpoint(path / LAST_NAME)
        if last is None:
            raise ConfigError(f"{path} has no checkpoint yet; go on with: {PROG} train --resume {path}.")
        return PolicySource(last, TrainConfig.load(path / CONFIG_NAME), None)
    run = path.resolve().parent.parent
    if not path.is_dir() or not (run / CONFIG_NAME).is_file():
        raise ConfigError(
            f"{path} is neither a run's folder nor one of its checkpoints (runs/NAME/checkpoints/...), "
            "nor the folder of a policy (with a config.json)."
        )
    return PolicySource(path, TrainConfig.load(run / CONFIG_NAME), None)


def played_tasks(source: PolicySource) -> str | None:
    """What to tell of the tasks that a policy alone is played on where none were chosen; None for a run's."""
    if source.kind is None:
        return None
    env = source.config.env
    tasks = f"{env.suite}, task {env.tasks_label}"
    if source.knows_tasks:
        return f"{source.folder} was trained on {tasks}, and is played there; --suite and --tasks choose others."
    return (
        f"{source.folder} does not say what it was trained on, so it is played on its recipe's {tasks}; --suite and "
        "--tasks choose others."
    )


def is_published(source: PolicySource) -> bool:
    """Whether it is a published model that no run has saved: its files leave open how it is used."""
    return source.kind is not None and policy_class(source.kind).is_published(source.folder)


def load_source(source: PolicySource, env: EnvConfig, policy: PolicyConfig, device: str) -> tuple[Policy, int]:
    """The policy on its device, and the training iterations behind it (0 for a policy alone).

    Args:
        source: What `find_source` found.
        env: Its suite, picture size and chunk are those a published model is used with.
        policy: Its section of the kind has the rest of a published model's settings.
        device: torch's name, or auto.

    Raises:
        CheckpointError: A file is missing or damaged.
        ConfigError: Settings that do not fit the policy.
    """
    published = is_published(source)
    usual = PolicyConfig()
    for kind in filter(PolicyConfig.model_fields.__contains__, POLICIES):  # a kind may have no settings
        if getattr(policy, kind) != getattr(usual, kind) and not (published and kind == source.kind):
            other = f"of kind {source.kind}" if published else "a run's, with its own settings"
            raise ConfigError(
                f"--{kind}.* says how a published policy of that kind is used, but {source.folder} is {other}; leave "
                "it out."
            )
    if source.kind is None:
        checkpoint = load_checkpoint(source.folder)
        return checkpoint.policy.to(resolve_device(device)), checkpoint.iteration
    if published:
        config = source.config.replace(
            env=env,
            policy={**policy.model_dump(), "kind": source.kind, "checkpoint": str(source.folder)},
            sft={**source.config.sft.model_dump(), "max_steps": 0},
            update=UpdateConfig(),  # nothing is learnt, so no optimiser has to fit
            run={**source.config.run.model_dump(), "device": device},
        )
        return start_policy(config, source.folder), 0
    return load_policy(source.folder).to(resolve_device(device)), 0


def policy_digest(folder: Path) -> str:
    """SHA-256 of names and contents of a policy's files: the same wherever they lie, another for any other policy.

    Which tasks an exported one was trained on is not part of it.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith(".") and path.name != TASKS_FILE:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.name} {content}\n".encode())
    return digest.hexdigest()


def _from_hub(name: str) -> Path:
    try:
        return resolve_checkpoint(name).folder
    except CheckpointError as error:
        raise ConfigError(
            f"{name} is neither a run's folder nor one of its checkpoints, nor the folder of a policy; as a name on "
            f"the hub: {error}"
        ) from error


def _is_run(settings: dict[str, Any]) -> bool:
    """A run's config.json has groups of settings; a policy's has its kind or, if published, `model_type`."""
    return "rollout" in settings


def _read_settings(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        settings = read_json(path)
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON ({error}), so what lies in its folder cannot be told.") from error
    return settings if isinstance(settings, dict) else {}
