"""Evidence: episodes of one task, recorded once, on which every spec of that task is judged; its file and its key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

import tgrpo_envs.expert
from tgrpo_envs.base_settings import Frozen
from tgrpo_envs.expert.shapes import SHAPES
from tgrpo_envs.files import cache_dir
from tgrpo_envs.recording.snapshot_file import SnapshotFile, SnapshotHeader, single
from tgrpo_envs.sim.snapshot import BoolArray, Snapshot, SnapshotLayout

FORMAT = "tgrpo-evidence/3"  # raise it when episodes are recorded in another way

Purpose = Literal["certification", "selection"]
BadPolicy = Literal["press", "shove", "rub", "hover", "drag", "fling", "push_target"]
Kind = Literal["expert", "dropped", "idle", "random", "wrong_object", "wrong_target", "teleport"] | BadPolicy
BAD_POLICIES: tuple[BadPolicy, ...] = get_args(BadPolicy)

_ARRAYS = ("goal_MNC", "steps_N", "start_goal_SC")
_REMEDY = "delete it, and it is recorded again"


class Sizes(Frozen):
    """How much evidence is recorded.

    Attributes:
        expert: Episodes of the scripted expert; as many again with the gripper forced open.
        random: Episodes of uniform random actions, a seed each.
        idle: Episodes of doing nothing.
        wrong: Episodes for each wrong goal.
        wrong_goals: Most wrong goals.
        bad: Episodes of each bad policy, for each conjunct of the goal.
        starts: Initial states that are looked at without stepping.
        teleports: Initial states from which the goal is reached by setting the state.
        aimless_steps: Control steps of the random and idle episodes.
    """

    expert: int = 8
    random: int = 20
    idle: int = 2
    wrong: int = 2
    wrong_goals: int = 4
    bad: int = 1
    starts: int = 50
    teleports: int = 2
    aimless_steps: int = 150


class EvidenceInfo(Frozen):
    """What the evidence is of, beside its arrays; stored as JSON in the file.

    Attributes:
        suite: LIBERO suite.
        task: Name of the task.
        pack: Asset pack.
        horizon: Most control steps of an episode.
        key: Digest of all it was made from.
        purpose: Certification, or the choice and repair of specs; the two share no initial state.
        draw: Which draw of initial states and noise. Whoever repaired the spec may have seen the draws before it, and
            none of those shares a state with it.
        sizes: How much there is.
        versions: Of mujoco, LIBERO, robosuite and the expert's source.
        has_expert: Whether the scripted expert accepts the task's goal.
        microseconds: What one control step of one environment took while recording.
    """

    format: Literal["tgrpo-evidence/1", "tgrpo-evidence/2", "tgrpo-evidence/3"] = "tgrpo-evidence/3"
    suite: str
    task: str
    pack: str
    horizon: int
    key: str
    purpose: Purpose
    draw: int = 0
    sizes: Sizes
    versions: dict[str, str]
    has_expert: bool
    microseconds: float


class _Header(SnapshotHeader):
    """The part of the file that is not arrays."""

    info: EvidenceInfo
    kinds: tuple[Kind, ...]


@dataclass(frozen=True)
class Episodes:
    """N episodes side by side; axis M are moments: the reset, then the end of each control step.

    Attributes:
        layout: Names of the snapshots' rows.
        snapshots: Arrays with leading axes (M, N); after an episode's end its last moment is repeated.
        goal_MNC: Truth of each conjunct of the task's goal.
        steps_N: Control steps of each episode.
    """

    layout: SnapshotLayout
    snapshots: Snapshot
    goal_MNC: BoolArray
    steps_N: NDArray[np.int64]

    @cached_property
    def success_N(self) -> BoolArray:
        """Whether the whole goal held at the episode's end."""
        return goal_holds(self.goal_MNC[self.steps_N, np.arange(len(self.steps_N))])

    @cached_property
    def moments(self) -> tuple[Snapshot, ...]:
        """One N-row snapshot per moment, as views."""
        return tuple(self.snapshots.map(itemgetter(m)) for m in range(len(self.goal_MNC)))


@dataclass(frozen=True)
class Evidence(Episodes):
    """What specs are certified on.

    Attributes:
        info: What it is of.
        kinds_N: What each episode is.
        starts: More initial states, settled; leading axis `Sizes.starts`.
        start_goal_SC: Truth of the conjuncts in those.
    """

    info: EvidenceInfo
    kinds_N: tuple[Kind, ...]
    starts: Snapshot
    start_goal_SC: BoolArray

    def rows(self, *kinds: Kind) -> NDArray[np.int64]:
        """Rows of the episodes of these kinds."""
        return np.flatnonzero(np.isin(self.kinds_N, kinds))

    @cached_property
    def solved(self) -> NDArray[np.int64]:
        """Rows of the expert's successful episodes."""
        rows = self.rows("expert")
        return rows[self.success_N[rows]]

    @property
    def shows_success(self) -> bool:
        """Whether the expert solves at least half of its episodes, so that they say what a good episode is."""
        return 0 < len(self.rows("expert")) <= 2 * len(self.solved)

    def episode(self, row: int) -> tuple[Snapshot, BoolArray]:
        """Snapshots and goal of one episode, without padding: what `rewards.rescore` takes."""
        moments = slice(self.steps_N[row] + 1)
        return self.snapshots.map(lambda array: array[moments, row]), self.goal_MNC[moments, row]

    def pick(self, rows: NDArray[np.int64]) -> Evidence:
        """Only these episodes, cut to the longest of them."""
        steps_N = self.steps_N[rows]
        moments = slice(int(steps_N.max(initial=0)) + 1)
        return replace(
            self,
            kinds_N=tuple(self.kinds_N[row] for row in rows),
            snapshots=self.snapshots.map(lambda array: array[moments, rows]),
            goal_MNC=self.goal_MNC[moments, rows],
            steps_N=steps_N,
        )

    @cached_property
    def backwards(self) -> Evidence:
        """The expert's successes from their start on backwards: reset, then from before success to the first moment."""
        forward = self.pick(self.solved)
        order_MN = np.zeros(forward.goal_MNC.shape[:2], dtype=np.int64)
        for n, steps in enumerate(forward.steps_N):
            order_MN[1:steps, n] = np.arange(steps - 1, 0, -1)
        rows = np.arange(len(forward.steps_N))
        return replace(
            forward,
            snapshots=forward.snapshots.map(lambda array: array[order_MN, rows]),
            goal_MNC=forward.goal_MNC[order_MN, rows],
            steps_N=np.maximum(forward.steps_N - 1, 0),
        )

    def save(self, path: Path) -> None:
        """Write a compressed .npz, whole or not at all; numbers in single precision (0.1 micrometre at 1 m)."""
        header = _Header(info=self.info, kinds=self.kinds_N, **SnapshotHeader.names_of(self.layout))
        snapshots = {"snapshots": self.snapshots.map(single), "starts": self.starts.map(single)}
        SnapshotFile(header, self.layout, snapshots, {name: getattr(self, name) for name in _ARRAYS}).save(path)

    @classmethod
    def load(cls, path: Path) -> Evidence:
        """Read what `save` wrote; nothing in the file is ever run.

        Raises:
            StateError: The file is missing, damaged or of another format.
        """
        file = SnapshotFile.load(path, _Header, ("snapshots", "starts"), _REMEDY)
        num_episodes = len(file.header.kinds)
        moments, starts = ((*part.gripper_pos_N3.shape, 0)[0] for part in file.snapshots.values())
        file.check(
            path,
            {"snapshots": (moments, num_episodes), "starts": (starts,)},
            {
                "goal_MNC": ((moments, num_episodes, None), np.bool_),
                "steps_N": ((num_episodes,), np.integer),
                "start_goal_SC": ((starts, None), np.bool_),
            },
            _REMEDY,
        )
        parts: dict[str, Any] = {**file.snapshots, **{name: file.arrays[name] for name in _ARRAYS}}
        return cls(file.layout, info=file.header.info, kinds_N=file.header.kinds, **parts)


def evidence_path(suite: str, task: str, key: str) -> Path:
    """Where the evidence of this key is kept."""
    return cache_dir() / "evidence" / suite / f"{task}-{key}.npz"


def evidence_key(scene_digest: str, purpose: Purpose, sizes: Sizes, draw: int = 0) -> str:
    """Digest of what evidence is made from: compiled scene, expert's source, seeds, sizes, format.

    The seeds follow from purpose and draw.
    """
    parts: list[Any] = [FORMAT, scene_digest, expert_version(), purpose, sizes.model_dump()]
    parts += [draw] if draw else []  # the first draw keeps the key it had before there were others
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def expert_version() -> str:
    """Digest of the expert's source and of the sizes it plans with: another expert needs other evidence."""
    digest = hashlib.sha256()
    for path in sorted(Path(tgrpo_envs.expert.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    digest.update(repr([(shape.below, shape.above) for shape in SHAPES.values()]).encode())
    return digest.hexdigest()[:12]


def goal_holds(goal: BoolArray) -> BoolArray:
    """Whether all conjuncts, the last axis, are true."""
    holds: BoolArray = np.logical_and.reduce(goal, axis=-1)
    return holds
