"""Which settings a run changed on its way: what its earlier iterations were done with is kept when it is resumed.

<run>/earlier_settings/iteration_000002.json     the settings of iterations up to 2; config.json has the later ones
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.run.checkpoint import latest_checkpoint
from tgrpo_trainer.run.layout import CONFIG_NAME, EARLIER_NAME, EVALUATIONS_NAME, LAST_NAME, iteration_name

NOT_SETTINGS = {
    *(f"run.{name}" for name in ("seed", "name", "folder", "wandb_project", "device", "keep_checkpoints")),
    *(f"run.{name}" for name in ("rank_timeout_minutes", "max_minutes")),
    *(f"env.{name}" for name in ("num_threads", "max_open_tasks")),
}
"""What runs of the same settings may differ in: where they are, and how they are computed, kept and stopped."""


@dataclass(frozen=True)
class SettingsChange:
    """What a run was resumed with that was otherwise before."""

    iteration: int
    """The first that it holds for."""
    values: Mapping[str, tuple[Any, Any]]
    """Before and after, by the setting's name; None where the objective has no such setting."""


def keep_earlier_settings(folder: Path, wanted: TrainConfig) -> None:
    """Before other settings take the place of a run's, keep those that its finished iterations were done with.

    Where nothing was learnt or evaluated yet nothing is kept: the run is as one that began with the new ones.

    Args:
        folder: The run's, with its present settings, if it has any.
        wanted: Those to go on with.

    Raises:
        ConfigError: The present settings are damaged.
        CheckpointError: Earlier ones are.
        OutputError: The folder cannot be written.
    """
    last = latest_checkpoint(folder / LAST_NAME)
    done = 0 if last is None else _iteration(last)
    if done == 0 and not (folder / EVALUATIONS_NAME).is_dir():
        return
    kept = _kept(folder)
    # They are there already where another start from this iteration failed, or finished none.
    there = next((path for iteration, path in kept if iteration >= done), None)
    used = TrainConfig.load(folder / CONFIG_NAME) if there is None else _load(there)
    if compared_settings(used) != compared_settings(wanted):
        used.save(folder / EARLIER_NAME / f"{iteration_name(done)}.json")
    for iteration, path in kept:
        if iteration > done:  # of iterations that are done again, from an earlier checkpoint
            path.unlink()


def settings_changes(folder: Path, config: TrainConfig) -> tuple[SettingsChange, ...]:
    """What changed on a run's way, oldest first.

    Args:
        folder: The run's.
        config: Its present settings.

    Raises:
        CheckpointError: Earlier settings are damaged.
    """
    kept = [(iteration, compared_settings(_load(path))) for iteration, path in _kept(folder)]
    changes = []
    for (iteration, before), (_, after) in pairwise([*kept, (0, compared_settings(config))]):
        names = [name for name in before | after if before.get(name) != after.get(name)]
        if names:
            changes.append(SettingsChange(iteration + 1, {name: (before.get(name), after.get(name)) for name in names}))
    return tuple(changes)


def compared_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that make two runs different, by name, for example `update.learning_rate`."""
    return {name: value for name, value in _flat(config.model_dump(mode="json")).items() if name not in NOT_SETTINGS}


def _kept(folder: Path) -> list[tuple[int, Path]]:
    """Earlier settings by the last iteration that was done with them, in order."""
    return [(_iteration(path), path) for path in sorted((folder / EARLIER_NAME).glob("iteration_*.json"))]


def _iteration(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])


def _load(path: Path) -> TrainConfig:
    try:
        return TrainConfig.load(path)
    except ConfigError as error:
        raise CheckpointError(
            f"{error} It only says what the run changed on its way, so delete {path} to go on without that."
        ) from error


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": one for inner, one in _flat(value).items()}
        else:
            flat[name] = value
    return flat
