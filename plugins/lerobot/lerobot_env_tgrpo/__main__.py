"""The command line: `python -m lerobot_env_tgrpo FILE.hdf5 ... --out FOLDER`, demonstrations as a LeRobotDataset."""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from tgrpo_envs.command import run_command


def convert(files: tyro.conf.Positional[tuple[Path, ...]], out: Path, repo_id: str = "local/tgrpo") -> str:
    """Write demonstrations of `python -m tgrpo_envs demos` as a LeRobotDataset v3.

    Args:
        files: HDF5 files, one for each task.
        out: The data set's folder, which must not exist yet.
        repo_id: The data set's name.
    """
    from lerobot_env_tgrpo.dataset import write_dataset

    return write_dataset(files, out, repo_id)


if __name__ == "__main__":
    sys.exit(run_command(lambda: tyro.cli(convert, prog="python -m lerobot_env_tgrpo")))
