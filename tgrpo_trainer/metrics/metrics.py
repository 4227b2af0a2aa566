"""Metrics of a run: (sum, count) means, their way to metrics.jsonl, TensorBoard and wandb. Keys: docs/metrics.md."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from tgrpo_envs.errors import CheckpointError, OutputError
from tgrpo_envs.files import load_json, write_atomically, writing
from tgrpo_trainer.evaluation.result import Evaluation
from tgrpo_trainer.metrics.wandb_logger import WandbLog
from tgrpo_trainer.rollout.rollout import Group
from tgrpo_trainer.rollout.tasks import task_key
from tgrpo_trainer.types import EpisodeEnd

JSONL_NAME = "metrics.jsonl"
TENSORBOARD_NAME = "tensorboard"
OF_EACH_TASK = ("rollout/success_rate", "rollout/return", "rollout/progress")
"""Metrics of rollouts that a run of several tasks logs for each of them."""


@dataclass(frozen=True)
class Mean:
    """A mean that can be merged: two means of unequal weight have no mean of means.

    For example 1 success of 2 and 3 of 10 are 4 of 12 (0.33), not (0.5 + 0.3) / 2 = 0.4.
    """

    total: float
    count: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Mean:
        """The mean of single values, each with weight one."""
        listed = [float(value) for value in values]
        return cls(math.fsum(listed), len(listed))

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.total + other.total, self.count + other.count)

    @property
    def value(self) -> float:
        """The mean, NaN of nothing."""
        return self.total / self.count if self.count else math.nan


Metrics = Mapping[str, float | Mean]


def rollout_metrics(groups: Sequence[Group], task_keys: Sequence[str] | None = None) -> dict[str, Mean]:
    """How the training rollouts of one iteration went: means over all members of all groups.

    Args:
        groups: At least one.
        task_keys: The name of each group's task in a run of several, whose metrics are then logged for each task too,
            and its stages for each task alone.
    """
    if task_keys is None:
        return _rollout_metrics(groups) | _stage_metrics(groups)
    metrics = _rollout_metrics(groups)
    for task in sorted(set(task_keys)):
        own = [group for group, key in zip(groups, task_keys, strict=True) if key == task]
        of_task = {key: mean for key, mean in _rollout_metrics(own).items() if key in OF_EACH_TASK}
        metrics |= {f"{key}/{task}": mean for key, mean in (of_task | _stage_metrics(own)).items()}
    return metrics


def _rollout_metrics(groups: Sequence[Group]) -> dict[str, Mean]:
    trajectories = [member.trajectory for group in groups for member in group]
    metrics = {
        "rollout/success_rate": Mean.of(one.success for one in trajectories),
        "rollout/return": Mean.of(one.total_reward for one in trajectories),
        "rollout/return_std": Mean.of(_return_std(group) for group in groups),
        "rollout/progress": Mean.of(one.progress for one in trajectories),
        "rollout/decisions": Mean.of(len(one) for one in trajectories),
        "rollout/control_steps": Mean.of(one.control_steps for one in trajectories),
    }
    for end in EpisodeEnd:
        metrics[f"end/{end}"] = Mean.of(one.end is end for one in trajectories)
    return metrics


def _stage_metrics(groups: Sequence[Group]) -> dict[str, Mean]:
    """Of one task."""
    members = [member for group in groups for member in group]
    return {
        f"stage/{name}": Mean.of(bool(member.stages_TK[:, k].any()) for member in members)
        for k, name in enumerate(members[0].task.stage_names)
    }


def evaluation_metrics(evaluations: Sequence[Evaluation]) -> dict[str, Mean]:
    """Success, return and length for each set and mode, over all tasks; with several tasks for each of them too."""
    pooled: dict[str, Mean] = {}
    of_tasks: dict[str, Mean] = {}
    for evaluation in evaluations:
        episodes = evaluation.episodes
        means = {
            f"eval/{evaluation.key}/success_rate": Mean.of(one.success for one in episodes),
            f"eval/{evaluation.key}/return": Mean.of(one.total_reward for one in episodes),
            f"eval/{evaluation.key}/control_steps": Mean.of(one.control_steps for one in episodes),
        }
        for key, mean in means.items():
            pooled[key] = pooled[key] + mean if key in pooled else mean
            of_tasks[f"{key}/{task_key(evaluation.env)}"] = mean
    return pooled if len(of_tasks) == len(pooled) else pooled | of_tasks


def merge_metrics(parts: Sequence[Metrics]) -> dict[str, float | Mean]:
    """What several ranks measured as one: means of all their values, and of plain numbers the largest."""
    merged: dict[str, float | Mean] = {}
    for part in parts:
        for key, value in part.items():
            earlier = merged.get(key)
            if earlier is None:
                merged[key] = value
            elif isinstance(earlier, Mean) and isinstance(value, Mean):
                merged[key] = earlier + value
            else:
                merged[key] = max(float(earlier), float(value))  # type: ignore[arg-type]
    return merged


class MetricsWriter:
    """Appends one line per iteration to metrics.jsonl, and the same numbers to TensorBoard and, if asked for, to wandb.

    Args:
        folder: The run's folder.
        next_iteration: First iteration this process will log; what an interrupted process had logged from there on
            is dropped, because the iteration is done again.
        wandb: Closed with the others; None = not asked for.
    """

    def __init__(self, folder: Path, *, next_iteration: int, wandb: WandbLog | None = None) -> None:
        path = folder / JSONL_NAME
        kept = [row for row in read_metrics(folder) if (row["iteration"] or 0) < next_iteration]
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._evaluated = {row["iteration"] for row in kept if any(key.startswith("eval/") for key in row)}
        self._path = path
        self._wandb = wandb
        self._board = SummaryWriter(str(folder / TENSORBOARD_NAME), purge_step=next_iteration)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all; an error that is on its way is not replaced by one more of the same full disk."""
        with nullcontext() if error is None else suppress(OutputError):
            self.close()

    def write(self, iteration: int, metrics: Metrics) -> None:
        """Log the metrics of one iteration; NaN and infinity become null in the JSON.

        Raises:
            OutputError: The folder cannot be written.
        """
        values = {key: value.value if isinstance(value, Mean) else float(value) for key, value in metrics.items()}
        row = {"iteration": iteration} | {key: value if math.isfinite(value) else None for key, value in values.items()}
        with writing(self._path):
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
            for key, value in values.items():
                self._board.add_scalar(key, value, iteration)
        if self._wandb is not None:
            self._wandb.write(iteration, values)

    def has_evaluation(self, iteration: int) -> bool:
        """Whether an earlier process of the run had logged the evaluation after this iteration."""
        return iteration in self._evaluated

    def close(self) -> None:
        """Flush and close all.

        Raises:
            OutputError: The folder cannot be written.
        """
        try:
            with writing(self._path):
                self._board.close()
        finally:
            if self._wandb is not None:
                self._wandb.close()


def read_metrics(folder: Path) -> list[dict[str, float | None]]:
    """The rows of a run's metrics.jsonl, oldest first; none if nothing was logged yet.

    A last line without its newline is what a killed process left, and is skipped.

    Raises:
        CheckpointError: A line is not such a row.
    """
    path = folder / JSONL_NAME
    if not path.is_file():
        return []
    complete, _, _ = path.read_bytes().rpartition(b"\n")
    rows = []
    for number, line in enumerate(complete.split(b"\n"), start=1):
        try:
            rows += [_row(line)] if line else []
        except ValueError as error:
            raise CheckpointError(
                f"{path}, line {number}, is not a row of metrics ({error}); delete it and go on."
            ) from error
    return rows


def _row(line: bytes) -> dict[str, float | None]:
    row = load_json(line)
    numbers = isinstance(row, dict) and all(value is None or isinstance(value, int | float) for value in row.values())
    if not numbers or not isinstance(row.get("iteration"), int):
        raise ValueError("it should be an object of numbers with an iteration")
    found: dict[str, float | None] = row
    return found


def _return_std(group: Group) -> float:
    return statistics.stdev(member.trajectory.total_reward for member in group)
