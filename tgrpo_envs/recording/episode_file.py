"""An episode on disk: states and actions to play it again, snapshots to score it again without physics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tgrpo_envs.errors import ConfigError, StateError
from tgrpo_envs.recording.snapshot_file import SnapshotFile, SnapshotHeader
from tgrpo_envs.settings import ACTION_SIZE
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout
from tgrpo_envs.tasks import Task

FIXTURE_POSE_SIZE = 7

_SNAPSHOT = "snapshot"
_ARRAYS = ("states_MX", "fixtures_F7", "actions_TA", "goal_MC")
_REMEDY = "record the episode again with play --save"


class EpisodeInfo(BaseModel):
    """What an episode is of.

    Attributes:
        suite: LIBERO suite.
        task: Name of the task.
        pack: Name of the asset pack.
        mujoco: Version that simulated it.
        horizon: Most control steps the episode could have taken.
        bddl_digest: What a task file of one's own said (`Task.bddl_digest`); empty for LIBERO's tasks, and where a
            version up to 0.12.0 recorded it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    suite: str
    task: str
    pack: str
    mujoco: str
    horizon: int = Field(ge=1)
    bddl_digest: str = ""

    def check_task(self, task: Task) -> None:
        """Make sure that the episode can be judged by the task's file as it is now.

        Raises:
            ConfigError: It was recorded under another text of that file.
        """
        if task.has_changed_since(self.bddl_digest):
            raise ConfigError(
                f"It was recorded under another text of {task.name}.bddl, whose goal and start it shows; give the file "
                "as it was then, or record the episode again."
            )


class _Header(SnapshotHeader, EpisodeInfo):
    """The part of the file that is not arrays."""

    format: Literal["tgrpo-episode/1"] = "tgrpo-episode/1"


@dataclass(frozen=True)
class Episode:
    """T control steps of one environment, seen at M = T + 1 moments: after the reset, then after each step.

    Attributes:
        info: What it is an episode of.
        layout: Names of the snapshots' rows.
        states_MX: Time, qpos and qvel.
        fixtures_F7: Pose of each fixture: position (metres) and quaternion (w, x, y, z).
        actions_TA: What was executed, in [-1, 1].
        snapshots: What rewards and success read; its axis N is M.
        goal_MC: Truth of each conjunct of the goal.
    """

    info: EpisodeInfo
    layout: SnapshotLayout
    states_MX: FloatArray
    fixtures_F7: FloatArray
    actions_TA: FloatArray
    snapshots: Snapshot
    goal_MC: BoolArray

    def __len__(self) -> int:
        return len(self.actions_TA)

    @property
    def success(self) -> bool:
        """Whether the whole goal held at the last moment."""
        return bool(self.goal_MC[-1].all())

    def save(self, path: Path) -> None:
        """Write a compressed .npz, whole or not at all; a hundred steps take about a hundred kilobytes."""
        header = _Header(**self.info.model_dump(), **SnapshotHeader.names_of(self.layout))
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        SnapshotFile(header, self.layout, {_SNAPSHOT: self.snapshots}, arrays).save(path)

    @classmethod
    def load(cls, path: Path) -> Episode:
        """Read what `save` wrote; nothing in the file is ever run.

        Raises:
            StateError: The file is missing, damaged, of another format, or its arrays do not fit each other.
        """
        file = SnapshotFile.load(path, _Header, (_SNAPSHOT,), _REMEDY)
        actions_TA = file.arrays.get("actions_TA", np.zeros(0))
        moments = len(actions_TA) + 1 if actions_TA.ndim else 1
        num_fixtures = max(0, len(file.layout.objects) - file.layout.num_movables)
        file.check(
            path,
            {_SNAPSHOT: (moments,)},
            {
                "states_MX": ((moments, None), np.floating),
                "fixtures_F7": ((num_fixtures, FIXTURE_POSE_SIZE), np.floating),
                "actions_TA": ((moments - 1, ACTION_SIZE), np.floating),
                "goal_MC": ((moments, None), np.bool_),
            },
            _REMEDY,
        )
        if (np.abs(actions_TA) > 1.0).any():
            raise StateError(f"{path}: actions_TA holds actions outside [-1, 1]; {_REMEDY}.")
        info = EpisodeInfo(**{name: getattr(file.header, name) for name in EpisodeInfo.model_fields})
        arrays = {name: file.arrays[name] for name in _ARRAYS}
        return cls(info, file.layout, snapshots=file.snapshots[_SNAPSHOT], **arrays)
