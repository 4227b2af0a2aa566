"""The study command: the grid in words, its runs, and its results."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from tgrpo_envs.command import Interrupted
from tgrpo_envs.errors import ConfigError, TrainingError
from tgrpo_trainer.studies.grid import Study
from tgrpo_trainer.studies.pace import describe_pace
from tgrpo_trainer.studies.results import PAGE_NAME, write_results
from tgrpo_trainer.studies.run import PROGRAM, Job, open_study, plan_jobs, run_jobs


def describe_study(
    study: Study, folder: Path, num_parallel: int, methods: Collection[str] = (), tasks: Collection[str] = ()
) -> str:
    """The grid, what of it is finished, and how long the rest will take.

    Args:
        study: The grid.
        folder: The study's; it need not exist.
        num_parallel: Runs side by side.
        methods: Only the runs of these; empty: all.
        tasks: Only the runs on these; empty: all.

    Raises:
        ConfigError: No run side by side.
        UnknownNameError: The study has no such method or task.
    """
    _refuse_none(num_parallel)
    jobs = plan_jobs(study, folder, methods, tasks)
    runs = [job for job in jobs if job.clone is not None]
    clones = [job for job in jobs if job.clone is None]
    return "\n".join(
        [
            f"Study {study.name}: {study.question}",
            f"Tasks: {', '.join(one.name for one in study.tasks)}",
            f"Methods: {', '.join(one.name for one in study.methods)}",
            f"Seeds: {', '.join(map(str, study.seeds))}",
            f"Differences: {', '.join(f'{better} - {worse}' for better, worse in study.comparisons)}",
            f"Runs: {len(runs)} ({_finished(runs)} finished), from {len(clones)} clones ({_finished(clones)} finished)",
            describe_pace(jobs, num_parallel),
        ]
    )


def do_study(
    study: Study,
    folder: Path,
    num_parallel: int,
    methods: Collection[str] = (),
    tasks: Collection[str] = (),
    program: Sequence[str] = PROGRAM,
) -> str:
    """Do what is left of a study and write its results.

    Args:
        study: The grid.
        folder: The study's.
        num_parallel: Runs side by side.
        methods: Only the runs of these; empty: all.
        tasks: Only the runs on these; empty: all.
        program: Arguments of Python that start the command line.

    Returns:
        The tables, and where the page is.

    Raises:
        ConfigError: No run side by side, or a folder of another study.
        UnknownNameError: The study has no such method or task.
        TrainingError: A run failed; the results of the others are written.
    """
    _refuse_none(num_parallel)
    jobs, wanted = plan_jobs(study, folder), plan_jobs(study, folder, methods, tasks)
    open_study(study, folder)

    def keep_results(job: Job) -> None:
        if job.clone is not None:
            write_results(study, folder, jobs)

    try:
        failed = run_jobs(wanted, num_parallel, keep_results, program=program)
    except Interrupted as interrupted:
        sys.stderr.write(f"\nInterrupted; the same command goes on. Results so far: {folder}\n")
        raise SystemExit(interrupted.exit_code) from None
    text = write_results(study, folder, jobs)
    if failed:
        logs = ", ".join(f"{job.name} ({job.log})" for job in failed)
        raise TrainingError(
            f"{len(failed)} of {len(wanted)} clones and runs failed: {logs}. Mend what their output says and give the "
            f"command again; the results of the others are in {folder}."
        )
    return f"{text}\nPage: {folder / PAGE_NAME}"


def _refuse_none(num_parallel: int) -> None:
    if num_parallel < 1:
        raise ConfigError(f"--jobs is {num_parallel}; use 1 or more.")


def _finished(jobs: Sequence[Job]) -> int:
    return sum(job.is_finished for job in jobs)
