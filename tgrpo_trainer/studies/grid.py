"""What a study is: a base run, tasks, methods and seeds, and the settings of each run that they span."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from tgrpo_envs.base_settings import Settings
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.config import EnvConfig, TrainConfig
from tgrpo_trainer.objectives import with_kind

Overrides = dict[str, dict[str, Any]]
"""Settings that replace others: group -> setting -> value, for example {"env": {"reward": "sparse"}}."""

ALL = "all"
"""In place of a task's name: a run that learns all tasks of its study."""
CLONED_ENV = {"suite", "tasks", "assets", "image_size", "action_chunk"}
"""Settings of `env` that a clone depends on, beside all of `policy` and `sft`."""


class StudyTask(Settings):
    """A task of a study."""

    name: str
    """Its name in tables and folders."""
    overrides: Overrides
    """What this task changes in the base: suite and task, and what its clones learn from."""


class Method(Settings):
    """What a study compares with other methods."""

    name: str
    """Its name in tables and folders."""
    overrides: Overrides = Field(default_factory=dict)
    """What this method changes in the base."""
    learner: Literal["train", "ppo"] = "train"
    """train = the trainer with the run's objective; ppo = Stable-Baselines3's PPO with a critic, from the clone too."""
    joint: bool = False
    """One policy learns all tasks of the study, from a clone of its own; it is counted task by task."""

    @model_validator(mode="after")
    def _leaves_the_clone_alone(self) -> Method:
        if not self.joint:
            changed: list[str] = [group for group in ("policy", "sft") if group in self.overrides]
            changed += [f"env.{name}" for name in CLONED_ENV & set(self.overrides.get("env", {}))]
            if changed:
                raise ValueError(
                    f"method {self.name} changes {', '.join(changed)}, but the methods of a seed share one clone; "
                    "change it in the base or in the tasks"
                )
        return self


@dataclass(frozen=True)
class StudyRun:
    """One run of a study."""

    task: str
    """A task's name, or `ALL`."""
    method: str
    seed: int

    @property
    def path(self) -> Path:
        """Its folder, within the study's."""
        return Path("runs") / self.task / self.method / f"seed_{self.seed}"

    @property
    def clone_path(self) -> Path:
        """The folder of the clone that it starts from, within the study's."""
        of = Path(ALL, self.method) if self.task == ALL else Path(self.task)
        return Path("clones") / of / f"seed_{self.seed}"

    def __str__(self) -> str:
        return f"{self.task}, {self.method}, seed {self.seed}"


class Study(Settings):
    """A grid of runs: every method on every task with every seed."""

    name: str
    """Name of the study, and of its folder."""
    question: str
    """What it asks, in a sentence."""
    base: TrainConfig
    """Settings of all runs, before what task and method change."""
    tasks: tuple[StudyTask, ...] = Field(min_length=1)
    """The tasks, chosen before any result."""
    methods: tuple[Method, ...] = Field(min_length=1)
    """What is compared."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """Seeds of the runs. Methods of one seed and task share their clone and their start states."""
    comparisons: tuple[tuple[str, str], ...] = ()
    """Pairs of methods: the success of the first less that of the second."""

    @model_validator(mode="after")
    def _names_fit(self) -> Study:
        methods, tasks = [one.name for one in self.methods], [one.name for one in self.tasks]
        for kind, names in (("tasks", tasks), ("methods", methods), ("seeds", list(self.seeds))):
            if len(set(names)) < len(names):
                raise ValueError(f"study {self.name} names {kind} twice: {names}; give each once")
        if ALL in tasks:
            raise ValueError(f"study {self.name} has a task named {ALL!r}, which stands for all tasks; rename it")
        if unknown := sorted({name for pair in self.comparisons for name in pair} - set(methods)):
            raise ValueError(f"study {self.name} compares {unknown}, but its methods are {methods}")
        return self

    def runs(self) -> tuple[StudyRun, ...]:
        """All runs, seed by seed, so that a study that is stopped early has whole seeds."""
        return tuple(
            StudyRun(task, method.name, seed)
            for seed in self.seeds
            for task in (*(one.name for one in self.tasks), ALL)
            for method in self.methods
            if method.joint == (task == ALL)
        )

    def config(self, run: StudyRun, folder: Path) -> TrainConfig:
        """Settings of a run.

        Args:
            run: One of `runs`.
            folder: The study's.

        Raises:
            ConfigError: Task and method give settings that cannot work.
        """
        method = next(one for one in self.methods if one.name == run.method)
        return self._placed(with_settings(self._of_task(run.task), method.overrides), run.seed, folder / run.path)

    def clone_config(self, run: StudyRun, folder: Path) -> TrainConfig:
        """Settings of the clone that a run starts from: those of the run, but for what only a method changes."""
        config = self.config(run, folder) if run.task == ALL else self._of_task(run.task)
        return self._placed(config, run.seed, folder / run.clone_path)

    def learner(self, run: StudyRun) -> str:
        """The command that does a run."""
        return next(one.learner for one in self.methods if one.name == run.method)

    def clone_alone(self, run: StudyRun) -> StudyRun | None:
        """The run that trains nothing and evaluates the clone of `run` as that would, if there is one."""
        config = self.config(run, Path())
        for method in self.methods:
            other = StudyRun(run.task, method.name, run.seed)
            if other != run and other.clone_path == run.clone_path and method.joint == (run.task == ALL):
                alone = self.config(other, Path())
                if alone.run.iterations == 0 and (alone.env, alone.evaluation) == (config.env, config.evaluation):
                    return other
        return None

    def task_env(self, task: str) -> EnvConfig:
        """The environment of one of the tasks, as the base and the task set it."""
        return self._of_task(task).env

    def _of_task(self, task: str) -> TrainConfig:
        chosen = [one.overrides for one in self.tasks if one.name == task]  # none for ALL
        return with_settings(self.base, chosen[0] if chosen else {})

    def _placed(self, config: TrainConfig, seed: int, folder: Path) -> TrainConfig:
        """In its folder, with its seed, and stopped by iterations: a clock would compare unequal work."""
        place = {"name": folder.name, "folder": folder.parent, "seed": seed, "max_minutes": None}
        return with_settings(config, {"run": place})


def with_settings(config: TrainConfig, overrides: Mapping[str, Mapping[str, Any]]) -> TrainConfig:
    """The same settings but for some of them; an objective of another kind keeps the settings that both kinds have.

    Raises:
        ConfigError: A group or setting does not exist, or a value is out of range.
    """
    groups: dict[str, Any] = {}
    for group, values in overrides.items():
        if group not in TrainConfig.model_fields:
            raise ConfigError(f"{group!r} is no group of settings; use one of {', '.join(TrainConfig.model_fields)}.")
        known = getattr(config, group)
        if group == "objective" and "kind" in values:
            known = with_kind(known, values["kind"])
        groups[group] = {**known.model_dump(), **values}
    return config.replace(**groups)
