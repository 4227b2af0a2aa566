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
from tgrpo_trainer.run.settings_changes import SettingsChange, compared_settings, settings_changes


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
    changes: tuple[SettingsChange, ...] = ()
    """Of its settings on the way, oldest first."""

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
    """Runs of the same settings from the first iteration to the last; often one."""

    runs: tuple[RunRecord, ...]

    @property
    def label(self) -> str:
        """For legends: the run's name, or the first one's and the seeds."""
        if len(self.runs) == 1:
            return self.runs[0].name
        seeds = ", ".join(str(run.config.run.seed) for run in self.runs)
        counted = "" if differ_in_seed(self.runs) else f"{len(self.runs)} runs, "
        return f"{self.runs[0].name} ({counted}seeds {seeds})"


def differ_in_seed(runs: Sequence[RunRecord]) -> bool:
    """Whether no two of the runs have the same seed; of two that have, the second tells nothing about other seeds."""
    return len({run.config.run.seed for run in runs}) == len(runs)


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
    return tuple(_read_run(folder, name) for folder, name in zip(folders, _names(resolved), strict=True))


def group_by_settings(runs: Sequence[RunRecord]) -> tuple[RunGroup, ...]:
    """Runs of the same settings together, in the order in which they first appear; each that changed some is alone."""
    groups: list[tuple[dict[str, Any], list[RunRecord]]] = []
    for run in runs:
        settings = compared_settings(run.config)
        for known, members in groups:
            if known == settings and not (run.changes or members[0].changes):
                members.append(run)
                break
        else:
            groups.append((settings, [run]))
    return tuple(RunGroup(tuple(members)) for _, members in groups)


def differing_settings(groups: Sequence[RunGroup]) -> dict[str, list[Any]]:
    """Value of each setting that is not the same in all groups and at all times, group by group."""
    settings = [_values(group.runs[0]) for group in groups]
    changed = {name for group in groups for change in group.runs[0].changes for name in change.values}
    # Objectives have settings of their own: what one lacks is None.
    known = dict.fromkeys(name for one in settings for name in one)
    names = [
        name for name in known if name in changed or any(one.get(name) != settings[0].get(name) for one in settings)
    ]
    return {name: [one.get(name) for one in settings] for name in names}


def mean_curve(curves: Sequence[Mapping[float, float]]) -> dict[float, float]:
    """Mean of several curves at the iterations that all of them have."""
    shared = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    return {x: sum(curve[x] for curve in curves) / len(curves) for x in sorted(shared)}


def _values(run: RunRecord) -> dict[str, Any]:
    """The run's settings by name; of one that changed on the way, in words, all that it was."""
    values = compared_settings(run.config)
    for name in dict.fromkeys(name for change in run.changes for name in change.values):
        changes = [(change.iteration, *change.values[name]) for change in run.changes if name in change.values]
        first = shown_value(changes[0][1])
        values[name] = ", ".join([first, *(f"from iteration {i}: {shown_value(after)}" for i, _, after in changes)])
    return values


def shown_value(value: object) -> str:
    """A setting's value in a table; of a setting that an objective does not have, none."""
    return "none" if value is None else str(value)


def _read_run(folder: Path, name: str) -> RunRecord:
    config = TrainConfig.load(folder / CONFIG_NAME)
    files = sorted((folder / EVALUATIONS_NAME).glob("*.json"))
    return RunRecord(
        name=name,
        config=config,
        rows=tuple(read_metrics(folder)),
        evaluations=tuple(one for path in files for one in load_evaluations(path)),
        changes=settings_changes(folder, config),
    )


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest tails of the paths that tell them apart."""
    for depth in range(1, max(len(folder.parts) for folder in folders)):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
