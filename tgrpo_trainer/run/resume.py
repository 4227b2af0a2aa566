"""Going on with a run: its settings, what of them may no longer change, and that one process at a time writes to it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tgrpo_envs.arrays import shown
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.run.layout import CONFIG_NAME

FREE = ("num_threads", "max_open_tasks")
"""Settings of `env` that change time and memory only."""
PLACE = ("name", "folder", "seed")
"""Settings of `run` that stay: its folder, and what every random number follows from."""


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
        with suppress(OSError):  # some network file systems lock no folders
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    f"Another process works on the run in {folder}; end it or wait for it, and give the command again, "
                    "or give another --run.name."
                ) from None
        yield
    finally:
        os.close(descriptor)
