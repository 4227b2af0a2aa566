"""How long a study will still take, from the seconds that its finished runs took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tgrpo_trainer.run.checkpoint import latest_checkpoint, read_state
from tgrpo_trainer.run.layout import CHECKPOINTS_NAME, LAST_NAME
from tgrpo_trainer.studies.run import Job


@dataclass(frozen=True)
class Work:
    """What decides how long a job takes."""

    tasks: str
    """Suite and tasks."""
    kind: str
    """A clone, or the number of iterations."""


def work_of(job: Job) -> Work:
    """The work of a clone or a run."""
    env = job.config.env
    kind = "clone" if job.clone is None else f"{job.config.run.iterations} iterations of {job.command}"
    return Work(f"{env.suite} {env.tasks_label}", kind)


def measured_s(jobs: Sequence[Job]) -> list[tuple[Work, float]]:
    """Seconds of each finished job, by its own clock: a clone's until its checkpoint, a run's with its evaluations."""
    measured = []
    for job in jobs:
        last = latest_checkpoint(job.folder / (LAST_NAME if job.clone is None else CHECKPOINTS_NAME))
        if job.is_finished and last is not None:
            # A run's clock goes on from its clone's.
            clone = None if job.clone is None else latest_checkpoint(job.clone / LAST_NAME)
            measured.append((work_of(job), _elapsed_s(last) - (0.0 if clone is None else _elapsed_s(clone))))
    return measured


def _elapsed_s(checkpoint: Path) -> float:
    return float(read_state(checkpoint)["elapsed_s"])


def expected_s(left: Sequence[Work], measured: Sequence[tuple[Work, float]]) -> tuple[float, Mapping[str, int]]:
    """Seconds of what is left, one job after another, and how many jobs of a kind nothing is known about.

    A job takes the mean of those with the same tasks and kind, else of those of the same kind.
    """
    exact: dict[Work, list[float]] = {}
    similar: dict[str, list[float]] = {}
    for work, seconds in measured:
        exact.setdefault(work, []).append(seconds)
        similar.setdefault(work.kind, []).append(seconds)
    total, unknown = 0.0, dict[str, int]()
    for work in left:
        known = exact.get(work) or similar.get(work.kind)
        if known:
            total += sum(known) / len(known)
        else:
            unknown[work.kind] = unknown.get(work.kind, 0) + 1
    return total, unknown


def describe_pace(jobs: Sequence[Job], num_parallel: int) -> str:
    """How long the study will take, in words.

    Args:
        jobs: All of the study.
        num_parallel: Processes side by side.
    """
    measured = measured_s(jobs)
    left = [work_of(job) for job in jobs if not job.is_finished]
    if not left:
        return "Nothing is left to do."
    seconds, unknown = expected_s(left, measured)
    parts = []
    if len(left) > sum(unknown.values()):
        minutes = seconds / 60 / num_parallel
        time = f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
        parts.append(f"about {time} with {num_parallel} side by side, at the pace of the {len(measured)} finished")
    if unknown:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in unknown.items())
        parts.append(f"unknown for {kinds}: none of that kind has finished here")
    return f"Left: {'; '.join(parts)}."
