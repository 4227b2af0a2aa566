"""Whose a run's folder is: a new run's, one's that goes on as it began, and one process's at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tgrpo_envs.arrays import shown
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.run.layout import (
    CHECKPOINTS_NAME,
    CONFIG_NAME,
    DEMONSTRATIONS_FOLDER,
    DEMONSTRATIONS_NAME,
    EARLIER_NAME,
    EVALUATIONS_NAME,
    LAST_NAME,
)

FREE = ("num_threads", "max_open_tasks")
"""Settings of `env` that change time and memory only."""
PLACE = ("name", "folder", "seed")
"""Settings of `run` that stay: its folder, and what every random number follows from."""

RESULTS = (LAST_NAME, CHECKPOINTS_NAME, EVALUATIONS_NAME, EARLIER_NAME, DEMONSTRATIONS_NAME, DEMONSTRATIONS_FOLDER)
"""What a run finds in its folder it takes for its own, and does not make again."""


def refuse_taken(config: TrainConfig, command: str) -> None:
    """A new run begins in a folder without another's settings or results.

    Args:
        config: The new run's.
        command: What goes on with a run, without `--resume`.

    Raises:
        ConfigError: Another run's are there, or it is no folder of its own.
    """
    folder, name = config.run.path, config.run.name
    if Path(name).name in ("", ".."):
        raise ConfigError(f"run.name is {name!r}, which names no folder in {config.run.folder}; give one such as run.")
    if (folder / CONFIG_NAME).exists():
        raise ConfigError(
            f"{folder} holds a run already. Go on with it: {command} --resume {folder} - or give the new one another "
            "name: --run.name NAME."
        )
    if left := [name for name in RESULTS if (folder / name).exists()]:
        raise ConfigError(
            f"{folder} holds {left[0]} of another run, whose {CONFIG_NAME} is gone; a new one would take it for its "
            "own, so give that another name: --run.name NAME."
        )


def settings_of_run(folder: Path) -> TrainConfig:
    """The settings in a run's folder, which may have moved since they were written.

    Raises:
        ConfigError: It holds no run.
    """
    config = TrainConfig.load(folder / CONFIG_NAME)
    place = folder.resolve() if folder.name in ("", "..") else folder
    return config.replace(run={**config.run.model_dump(), "folder": place.parent, "name": place.name})


def refuse_changes(saved: TrainConfig, wanted: TrainConfig) -> None:
    """A resumed run goes on with the tasks, the policy and the clone that it began with.

    Changed on the way they would have no effect, since demonstrations and weights are there already, or make what comes
    before and after two different experiments under one name.

    Raises:
        ConfigError: Names the first such setting.
    """
    groups = {
        "env": [name for name in type(saved.env).model_fields if name not in FREE],
        "policy": list(type(saved.policy).model_fields),
        "sft": list(type(saved.sft).model_fields),
        "run": list(PLACE),
    }
    for group, names in groups.items():
        for name in names:
            before, after = (getattr(getattr(config, group), name) for config in (saved, wanted))
            if before != after:
                raise ConfigError(
                    f"{group}.{name} is {shown(before)} in {saved.run.path}, and a resumed run cannot change it to "
                    f"{shown(after)}; leave it out, or start a new run with it: --run.name NAME in place of --resume."
                )


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Inside the `with` no other process may work on a run; the lock ends with this process, whatever ends it.

    Args:
        folder: The run's, which is there.

    Raises:
        ConfigError: Another process works on it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(
            descriptor,
            f"Another process works on the run in {folder}; end it or wait for it, and give the command again, or give "
            "another --run.name.",
        )
        yield
    finally:
        os.close(descriptor)


def lock(descriptor: int, refusal: str) -> None:
    """Keep other processes from locking an open file or folder, until the last that has it open ends or closes it.

    Raises:
        ConfigError: Another process has locked it; `refusal` says what that means.
    """
    with suppress(OSError):  # some network file systems lock nothing
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(refusal) from None
