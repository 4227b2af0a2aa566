"""Several runs read from their folders: which are seeds of one another, and in which settings the others differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.evaluation.result import Evaluation, Pooled, load_evaluations, pool
from tgrpo_trainer.metrics.metrics import read_metrics
from tgrpo_trainer.run.layout import CONFIG_NAME, EVALUATIONS_NAME

SEED = "run.seed"
NOT_SETTINGS = {
    SEED,
    *(f"run.{name}" for name in ("name", "folder", "wandb_project", "device", "keep_checkpoints")),
    *(f"run.{name}" for name in ("rank_timeout_minutes", "max_minutes")),
    *(f"env.{name}" for name in ("num_threads", "max_open_tasks")),
}
"""What runs of the same settings may differ in: where they are, and how they are computed, kept and stopped."""


@dataclass(frozen=True)
class RunRecord:
    """What a run has left on disk so far."""

    name: str
    """Its folder's name, with as much of the path as tells it from the others."""
    config: TrainConfig
    rows: tuple[Mapping[str, float | None], ...]
    """Of metrics.jsonl."""
    evaluations: tuple[Evaluation, ...]
    """Oldest first."""

    @property
    def pooled(self) -> tuple[Pooled, ...]:
        """The evaluations over all tasks."""
        return pool(self.evaluations)

    @property
    def last_evaluations(self) -> dict[str, Pooled]:
        """Those of the latest iteration that was evaluated, over all tasks, by set and mode."""
        last = max((one.iteration for one in self.pooled), default=0)
        return {one.key: one for one in self.pooled if one.iteration == last}


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ in their seed only; often one."""

    runs: tuple[RunRecord, ...]

    @property
    def label(self) -> str:
        """For legends: the run's name, or the first one's and the seeds."""
        if len(self.runs) == 1:
            return self.runs[0].name
        seeds = ", ".join(str(run.config.run.seed) for run in self.runs)
        return f"{self.runs[0].name} (seeds {seeds})"


def read_runs(folders: Sequence[Path]) -> tuple[RunRecord, ...]:
    """The runs in their order.

    Raises:
        ConfigError: A folder is no run's, or given twice.
        CheckpointError: A damaged file.
    """
    resolved = [folder.resolve() for folder in folders]
    twice = [folder for folder, path in zip(folders, resolved, strict=True) if resolved.count(path) > 1]
    if twice:
        raise ConfigError(f"{twice[-1]} is given twice; name each run once.")
    return tuple(
        RunRecord(
            name=name,
            config=TrainConfig.load(folder / CONFIG_NAME),
            rows=tuple(read_metrics(folder)),
            evaluations=tuple(
                one for path in sorted((folder / EVALUATIONS_NAME).glob("*.json")) for one in load_evaluations(path)
            ),
        )
        for folder, name in zip(folders, _names(resolved), strict=True)
    )


def group_by_settings(runs: Sequence[RunRecord]) -> tuple[RunGroup, ...]:
    """Runs of the same settings together, in the order in which they first appear."""
    groups: list[tuple[dict[str, Any], list[RunRecord]]] = []
    for run in runs:
        settings = _settings(run.config)
        for known, members in groups:
            if known == settings:
                members.append(run)
                break
        else:
            groups.append((settings, [run]))
    return tuple(RunGroup(tuple(members)) for _, members in groups)


def differing_settings(groups: Sequence[RunGroup]) -> dict[str, list[Any]]:
    """Value of each setting that is not the same in all groups, group by group."""
    settings = [_settings(group.runs[0].config) for group in groups]
    # Objectives have settings of their own: what one lacks is None.
    known = dict.fromkeys(name for one in settings for name in one)
    names = [name for name in known if any(one.get(name) != settings[0].get(name) for one in settings)]
    return {name: [one.get(name) for one in settings] for name in names}


def mean_curve(curves: Sequence[Mapping[float, float]]) -> dict[float, float]:
    """Mean of several curves at the iterations that all of them have."""
    shared = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    return {x: sum(curve[x] for curve in curves) / len(curves) for x in sorted(shared)}


def _settings(config: TrainConfig) -> dict[str, Any]:
    flat = {
        f"{group}.{name}": value
        for group, settings in config.model_dump(mode="json").items()
        for name, value in _flat(settings).items()
    }
    return {name: value for name, value in flat.items() if name not in NOT_SETTINGS}


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": one for inner, one in _flat(value).items()}
        else:
            flat[name] = value
    return flat


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest tails of the paths that tell them apart."""
    for depth in range(1, max(len(folder.parts) for folder in folders)):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
