"""The layout of a run's folder. Each file is written when its part has finished, so that a run can resume."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tgrpo_envs.files import write_atomically

CONFIG_NAME = "config.json"
"""The settings (TrainConfig)."""
DEMONSTRATIONS_NAME = "demonstrations.hdf5"
"""What behaviour cloning learns from, unless the settings name another file."""
DEMONSTRATIONS_FOLDER = "demonstrations"
"""The same in a run of several tasks: a file for each."""
LAST_NAME = "last"
"""Checkpoint of the last finished iteration; iteration 0 is the cloned policy."""
CHECKPOINTS_NAME = "checkpoints"
"""One checkpoint per evaluation; iteration 0 is the start and the reference of reinforcement learning."""
EVALUATIONS_NAME = "evaluations"
"""One JSON file per evaluation, named like its checkpoint."""
EARLIER_NAME = "earlier_settings"
"""The settings that a run had before it was resumed with others (`settings_changes.py`)."""
VIDEOS_NAME = "videos"
"""Best and worst rollout of the last group."""


@contextmanager
def undone_if_it_fails(folder: Path) -> Iterator[None]:
    """Inside the `with` a run starts; if it fails, its folder is as before, and the corrected command finds it free.

    An interrupted start stays, to be gone on with.

    Args:
        folder: The run's.
    """
    config, existed = folder / CONFIG_NAME, folder.is_dir()
    settings = config.read_bytes() if config.is_file() else None
    before = set(folder.iterdir()) if existed else set()
    try:
        yield
    except Exception:
        if settings is not None:
            write_atomically(config, settings)
        elif folder.is_dir():
            for path in set(folder.iterdir()) - before:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if not existed:
                with suppress(OSError):
                    folder.rmdir()
        raise


def iteration_name(iteration: int) -> str:
    """Name of an iteration's evaluation, the same as its checkpoint's (`checkpoint.py`); sorts by number."""
    return f"iteration_{iteration:06d}"
