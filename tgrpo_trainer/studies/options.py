"""The options of `python -m tgrpo_trainer study`. Imports nothing heavy, so that --help is immediate."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path

import tyro

from tgrpo_trainer.studies.catalogue import STUDIES


@dataclass(frozen=True)
class StudyOptions:
    """Do a study: every method on every task with every seed, then tables, curves and paired differences.

    The methods of one seed and task start from one clone. What is finished is kept: after an interruption the same
    command goes on, and no run is repeated. Results are written after each run, from the finished ones.
    """

    study: tyro.conf.Positional[str]
    """Name of the study; they are listed above."""
    folder: Path = Path("studies")
    """Folder of all studies; this one lies in <folder>/<study>."""
    methods: tuple[str, ...] = ()
    """Only the runs of these methods, for now; none given: all. `--dry` lists the names."""
    tasks: tuple[str, ...] = ()
    """Only the runs on these tasks, for now; none given: all. `--dry` lists the names; a policy that learns all tasks
    counts as the task `all`."""
    jobs: int = 1
    """Runs side by side, each a process with its share of the cores (about 1 GiB of memory each with nano)."""
    dry: bool = False
    """Only print the grid and how long it will still take, by what finished runs took; nothing is run."""


def study_help() -> str:
    """The description with the list of studies."""
    listed = "\n".join(f"  {name:<20} {(study.__doc__ or '').strip()}" for name, study in STUDIES.items())
    return f"{cleandoc(StudyOptions.__doc__ or '')}\n\nstudies:\n{listed}"
