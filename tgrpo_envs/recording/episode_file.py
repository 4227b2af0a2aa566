"""An episode on disk: states and actions to play it again, snapshots to score it again without physics."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tgrpo_envs.errors import StateError
from tgrpo_envs.files import ARRAY_ERRORS, atomic_file
from tgrpo_envs.settings import ACTION_SIZE
from tgrpo_envs.sim.snapshot import NO_PARENT, BoolArray, FloatArray, Snapshot, SnapshotLayout

FIXTURE_POSE_SIZE = 7

_LAYOUT, _SNAPSHOT = "layout.", "snapshot."
_ARRAYS = ("states_MX", "fixtures_F7", "actions_TA", "goal_MC")
_LAYOUT_ARRAYS = ("site_half_sizes_S3", "site_parents_S", "joint_objects_J", "joint_sites_J")
_SNAPSHOT_ARRAYS = tuple(field.name for field in fields(Snapshot))


class EpisodeInfo(BaseModel):
    """What an episode is of.

    Attributes:
        suite: LIBERO suite.
        task: Name of the task.
        pack: Name of the asset pack.
        mujoco: Version that simulated it.
        horizon: Most control steps the episode could have taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    suite: str
    task: str
    pack: str
    mujoco: str
    horizon: int = Field(ge=1)


class _Header(EpisodeInfo):
    """The part of the file that is not arrays."""

    format: Literal["tgrpo-episode/1"] = "tgrpo-episode/1"
    objects: list[str]
    num_movables: int = Field(ge=0)
    sites: list[str]
    joints: list[str]


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
        layout = self.layout
        header = _Header(
            **self.info.model_dump(),
            objects=list(layout.objects),
            num_movables=layout.num_movables,
            sites=list(layout.sites),
            joints=list(layout.joints),
        )
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {_LAYOUT + name: getattr(layout, name) for name in _LAYOUT_ARRAYS}
        arrays |= {_SNAPSHOT + name: getattr(self.snapshots, name) for name in _SNAPSHOT_ARRAYS}
        text = np.frombuffer(header.model_dump_json().encode(), dtype=np.uint8)
        with atomic_file(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, header=text, **arrays)

    @classmethod
    def load(cls, path: Path) -> Episode:
        """Read what `save` wrote; nothing in the file is ever run.

        Raises:
            StateError: The file is missing, damaged, of another format, or its arrays do not fit each other.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            header = _Header.model_validate_json(bytes(arrays.pop("header")))
            episode = _assemble(header, arrays)
        except ValidationError as error:
            reason = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, reason["loc"])) or "header"
            raise StateError(f"{path} is not an episode of this version: {where}: {reason['msg']}.") from error
        except ARRAY_ERRORS as error:
            raise StateError(f"{path} is not a readable episode ({error}); record it again.") from error
        _check(episode, path)
        return episode


def _assemble(header: _Header, arrays: dict[str, NDArray[Any]]) -> Episode:
    layout = SnapshotLayout(
        objects=tuple(header.objects),
        num_movables=header.num_movables,
        sites=tuple(header.sites),
        joints=tuple(header.joints),
        **{name: arrays[_LAYOUT + name] for name in _LAYOUT_ARRAYS},
    )
    info = EpisodeInfo(**{name: getattr(header, name) for name in EpisodeInfo.model_fields})
    snapshots = Snapshot(**{name: arrays[_SNAPSHOT + name] for name in _SNAPSHOT_ARRAYS})
    return Episode(info, layout, snapshots=snapshots, **{name: arrays[name] for name in _ARRAYS})


def _check(episode: Episode, path: Path) -> None:
    """Every array has the shape and the kind that the names and the number of steps ask for.

    Raises:
        StateError: One has not, or holds NaN or infinity.
    """
    for name, (array, shape, kind) in _expected(episode).items():
        sizes = zip(array.shape, shape, strict=False)
        fits = array.ndim == len(shape) and all(want in (None, got) for got, want in sizes)
        if not fits or not np.issubdtype(array.dtype, kind):
            raise StateError(f"{path}: {name} is {array.dtype} of shape {array.shape} where {shape} belongs.")
        if np.issubdtype(kind, np.floating) and not np.isfinite(array).all():
            raise StateError(f"{path}: {name} holds NaN or infinity; record the episode again.")
    if (np.abs(episode.actions_TA) > 1.0).any():
        raise StateError(f"{path}: actions_TA holds actions outside [-1, 1]; record the episode again.")
    layout = episode.layout
    bounds = {
        "site_parents_S": len(layout.objects),
        "joint_objects_J": len(layout.objects),
        "joint_sites_J": len(layout.sites),
    }
    for name, bound in bounds.items():
        rows = getattr(layout, name)
        if ((rows < NO_PARENT) | (rows >= bound)).any():
            raise StateError(f"{path}: {name} holds rows outside {NO_PARENT} to {bound - 1}.")


_Expected = dict[str, tuple[NDArray[Any], tuple[int | None, ...], Any]]


def _expected(episode: Episode) -> _Expected:
    """Each array by name with its shape (None: any size) and its kind."""
    layout = episode.layout
    steps = episode.actions_TA.shape[0] if episode.actions_TA.ndim else 0
    num_objects, num_sites, num_joints = len(layout.objects), len(layout.sites), len(layout.joints)
    num_fixtures = max(0, num_objects - layout.num_movables)
    expected: _Expected = {
        "states_MX": (episode.states_MX, (steps + 1, None), np.floating),
        "fixtures_F7": (episode.fixtures_F7, (num_fixtures, FIXTURE_POSE_SIZE), np.floating),
        "actions_TA": (episode.actions_TA, (steps, ACTION_SIZE), np.floating),
        "goal_MC": (episode.goal_MC, (steps + 1, None), np.bool_),
        "site_half_sizes_S3": (layout.site_half_sizes_S3, (num_sites, 3), np.floating),
        "site_parents_S": (layout.site_parents_S, (num_sites,), np.integer),
        "joint_objects_J": (layout.joint_objects_J, (num_joints,), np.integer),
        "joint_sites_J": (layout.joint_sites_J, (num_joints,), np.integer),
    }
    shaped = Snapshot.empty(layout, steps + 1)
    for name in _SNAPSHOT_ARRAYS:
        wanted = getattr(shaped, name)
        expected[name] = (getattr(episode.snapshots, name), wanted.shape, wanted.dtype.type)
    return expected
