"""Does the runs of a study as child processes, one after another or side by side; what is finished is not repeated."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tgrpo_envs.command import postponing
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.files import atomic_folder, write_atomically
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.run.checkpoint import latest_checkpoint
from tgrpo_trainer.run.console import say
from tgrpo_trainer.run.layout import CHECKPOINTS_NAME, CONFIG_NAME, EVALUATIONS_NAME, LAST_NAME, iteration_name
from tgrpo_trainer.run.resume import lock
from tgrpo_trainer.studies.grid import Study

STUDY_NAME = "study.json"
LOGS_NAME = "logs"
PROGRAM = ("-m", "tgrpo_trainer")
_POLL_S = 0.2
_GRACE_S = 120.0
"""How long an interrupted run may take to finish its iteration."""


@dataclass(frozen=True, eq=False)
class Job:
    """A clone or a run of a study."""

    name: str
    """In words."""
    config: TrainConfig
    """Its settings; `config.run.path` is its folder."""
    log: Path
    """What its process prints."""
    command: str = "sft"
    """What does it: sft of a clone, train or ppo of a run."""
    clone: Path | None = None
    """Folder of the clone that a run starts from; None: it is a clone."""
    evaluated: Path | None = None
    """Folder of a run that evaluates this clone in this environment and does nothing else, if the study has one."""

    @property
    def folder(self) -> Path:
        """Its own."""
        return self.config.run.path

    @property
    def is_finished(self) -> bool:
        """Whether its last file is on disk."""
        if self.clone is None:
            return latest_checkpoint(self.folder / LAST_NAME) is not None
        return (self.folder / EVALUATIONS_NAME / f"{iteration_name(self.config.run.iterations)}.json").is_file()

    @property
    def is_ready(self) -> bool:
        """Whether what it starts from is there."""
        return self.clone is None or latest_checkpoint(self.clone / LAST_NAME) is not None


def plan_jobs(
    study: Study, folder: Path, methods: Collection[str] = (), tasks: Collection[str] = ()
) -> tuple[Job, ...]:
    """The clones and runs of a study, finished or not, in the order in which they are done.

    Args:
        study: The grid.
        folder: The study's.
        methods: Only the runs of these, and their clones; empty: all.
        tasks: Only the runs on these; empty: all.

    Raises:
        UnknownNameError: The study has no such method or task.
    """
    runs = study.runs()
    _refuse_unknown("method", methods, [run.method for run in runs])
    _refuse_unknown("task", tasks, [run.task for run in runs])
    jobs: dict[Path, Job] = {}
    for run in runs:
        if (methods and run.method not in methods) or (tasks and run.task not in tasks):
            continue
        clone, config, evaluated = study.clone_config(run, folder), study.config(run, folder), study.clone_alone(run)
        clone_log, log = (folder / LOGS_NAME / path.with_suffix(".log") for path in (run.clone_path, run.path))
        jobs.setdefault(run.clone_path, Job(f"clone of {run.task}, seed {run.seed}", clone, clone_log))
        start = folder / evaluated.path if evaluated else None
        jobs[run.path] = Job(str(run), config, log, study.learner(run), clone.run.path, start)
    return tuple(jobs.values())


def _refuse_unknown(kind: str, names: Collection[str], known: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in known]:
        raise UnknownNameError(kind, unknown[0], dict.fromkeys(known))


def open_study(study: Study, folder: Path) -> None:
    """Write the study into its folder, or make sure that the folder is this study's.

    Raises:
        ConfigError: It holds another one.
    """
    path, settings = folder / STUDY_NAME, study.model_dump_json(indent=2) + "\n"
    if not path.exists():
        write_atomically(path, settings)
    elif path.read_bytes() != settings.encode():
        raise ConfigError(
            f"{folder} holds runs of the study {study.name!r} with other settings; give another place with --folder, "
            f"or go on with the version that wrote {path}."
        )


def run_jobs(
    jobs: Sequence[Job], num_parallel: int, on_finished: Callable[[Job], None], *, program: Sequence[str] = PROGRAM
) -> tuple[Job, ...]:
    """Do what is not finished, side by side, each as a process of its own that goes on where it was.

    A job that fails stops no other, but for the runs that start from it. An interrupt lets each process finish its
    iteration; what it has done is on disk, and the next call goes on from there.

    Args:
        jobs: Of one study.
        num_parallel: Processes side by side.
        on_finished: Called after each job that ended well.
        program: Arguments of Python that start the command line.

    Returns:
        Those that failed; their logs say why.

    Raises:
        ConfigError: Another process still works on one of them.
    """
    waiting = [job for job in jobs if not job.is_finished]
    running: dict[Job, subprocess.Popen[bytes]] = {}
    failed: list[Job] = []
    try:
        while waiting or running:
            while len(running) < num_parallel and (job := next((one for one in waiting if one.is_ready), None)):
                waiting.remove(job)
                say(f"Starts: {job.name}")
                with postponing():
                    running[job] = _start(job, num_parallel, program)
            if not running:
                break  # what waits starts from a clone that failed
            time.sleep(_POLL_S)
            for job in [one for one, process in running.items() if process.poll() is not None]:
                if running.pop(job).returncode == 0 and job.is_finished:
                    say(f"Finished: {job.name} ({sum(one.is_finished for one in jobs)} of {len(jobs)})")
                    on_finished(job)
                else:
                    say(f"Failed: {job.name}; see {job.log}")
                    failed.append(job)
    finally:
        _stop(list(running.values()))
    return tuple(failed)


def _start(job: Job, num_parallel: int, program: Sequence[str]) -> subprocess.Popen[bytes]:
    """The process, which holds a lock on its log as long as it lives, so that a run has one writer.

    It has a session of its own: Ctrl-C at the terminal reaches this process, which tells the others.
    """
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        lock(
            log.fileno(),
            f"Another process still works on {job.folder} (its output: {job.log}); end it or wait for it, and give the "
            "command again.",
        )
        _prepare(job)
        threads = max(1, len(os.sched_getaffinity(0)) // num_parallel)
        command = [sys.executable, *program, job.command, "--resume", str(job.folder)]
        return subprocess.Popen(
            [*command, "--env.num-threads", str(threads)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"OMP_NUM_THREADS": str(threads), **os.environ},
            start_new_session=True,
        )


def _prepare(job: Job) -> None:
    """Settings and, in a run's folder, its clone as the checkpoint to go on from, and what is known of the clone."""
    if not (job.folder / CONFIG_NAME).is_file():
        job.config.save(job.folder / CONFIG_NAME)
    if job.clone is not None and latest_checkpoint(job.folder / LAST_NAME) is None:
        clone = latest_checkpoint(job.clone / LAST_NAME)
        if clone is None:
            raise ConfigError(f"{job.clone} holds no clone, which {job.folder} starts from; give the command again.")
        with atomic_folder(job.folder / LAST_NAME / clone.name) as partial:
            shutil.copytree(clone, partial, dirs_exist_ok=True)
        _copy_evaluation(job)


def _copy_evaluation(job: Job) -> None:
    """The evaluation of the clone, with its checkpoint, where another run has made it; else this run makes its own."""
    name = iteration_name(0)
    if job.evaluated is None or not (job.evaluated / EVALUATIONS_NAME / f"{name}.json").is_file():
        return
    with atomic_folder(job.folder / CHECKPOINTS_NAME / name) as partial:
        shutil.copytree(job.evaluated / CHECKPOINTS_NAME / name, partial, dirs_exist_ok=True)
    evaluation = (job.evaluated / EVALUATIONS_NAME / f"{name}.json").read_bytes()
    write_atomically(job.folder / EVALUATIONS_NAME / f"{name}.json", evaluation)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Let each finish its iteration; a second interrupt, or too long a wait, ends it where it is."""
    for process in processes:
        process.terminate()
    try:
        limit = time.monotonic() + _GRACE_S
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, limit - time.monotonic()))
    finally:
        for process in processes:
            process.kill()  # harmless to one that has ended
            process.wait()
