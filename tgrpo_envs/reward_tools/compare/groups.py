"""Groups of clumsy episodes from one start each, and how long the expert needs from where each episode ends."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.expert import ScriptedExpert
from tgrpo_envs.expert.motion import OPEN
from tgrpo_envs.expert.rollout import EpisodePlan, run_expert
from tgrpo_envs.files import cache_dir
from tgrpo_envs.recording.snapshot_file import SnapshotFile, SnapshotHeader, single
from tgrpo_envs.reward_tools.certify.evidence import Episodes, expert_version, goal_holds
from tgrpo_envs.scene import InitStates, Scene, sample_train_states
from tgrpo_envs.sim import snapshot_fill
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot
from tgrpo_envs.sim.success import goal_truth

FORMAT = "tgrpo-groups/2"  # raise it when episodes are recorded in another way
STREAM = 0xC1A5  # apart from the seeds of training, demonstrations, certificates and held-out states
MEMBERS = 8
CENSORED = -1  # a time that the expert did not reach within the horizon

FAULTS = ("none", "shaky", "cut", "drops", "misses")
FAULT_SHARES = (0.05, 0.15, 0.35, 0.25, 0.2)
SHAKES = (0.3, 1.0)  # standard deviation of a shaky hand's disturbance, in units of the action: 1.5 to 5 cm a step
CUT_BETWEEN = (0.05, 0.95)  # an episode is cut off at this share of the expert's median episode
OPENS_BETWEEN = (0.15, 0.95)  # the gripper opens for good at this share of it
MISSES_BY_M = (0.02, 0.06)  # the hand takes itself to be this far from where it is, in a random horizontal direction
SPARE_SHARE = 1.1  # what is not cut off before may take this much longer than the expert's longest episode

_REMEDY = "delete it, and it is recorded again"


class _Header(SnapshotHeader):
    """The part of the file that is not arrays."""

    suite: str
    task: str
    horizon: int
    key: str


@dataclass(frozen=True)
class Groups(Episodes):
    """N = G x 8 episodes.

    Attributes:
        horizon: Most control steps of an episode of the task.
        expert_steps_N: Control steps the undisturbed expert needs from there to success; 0 for a success, `CENSORED`
            where it does not get there within the horizon.
        fault_N: What is wrong with each episode, a row of `FAULTS`.
    """

    horizon: int
    expert_steps_N: NDArray[np.int64]
    fault_N: NDArray[np.int64]

    @property
    def rows(self) -> list[slice]:
        """Where the episodes of each group are."""
        return [slice(start, start + MEMBERS) for start in range(0, len(self.steps_N), MEMBERS)]


@dataclass(frozen=True)
class Clumsiness:
    """What is wrong with each of N episodes.

    Attributes:
        fault_N: A row of `FAULTS`.
        ends_N: Control step after which the episode is cut off, and the expert takes over.
        opens_N: Control step from which the gripper stays open until then.
        sigma_N: Standard deviation of the disturbance of the translation until then.
        shift_N3: How far from where it is the hand takes itself to be until then, metres.
    """

    fault_N: NDArray[np.int64]
    ends_N: NDArray[np.int64]
    opens_N: NDArray[np.int64]
    sigma_N: FloatArray
    shift_N3: FloatArray


def load_groups(scene: Scene, num_groups: int, *, record: bool = True) -> Groups:
    """The task's groups from the cache, recorded first where they are not there (about half a minute for four).

    Args:
        scene: The task's scene.
        num_groups: G.
        record: Whether they may be recorded.

    Raises:
        ConfigError: There is no skill for the goal, the expert does not solve one of G episodes, or they are not in
            the cache and may not be recorded.
        StateError: The file in the cache is damaged.
    """
    key = _key(scene, num_groups)
    path = cache_dir() / "groups" / scene.task.suite / f"{scene.task.name}-{key}.npz"
    if not path.exists():
        if not record:
            raise ConfigError(f"{num_groups} groups of {scene.task.name} are not recorded yet; compare records them.")
        _save(record_groups(scene, num_groups), scene, key, path)
    return _load(path)  # always from the file, whose numbers are rounded: the first comparison equals the second


def _key(scene: Scene, num_groups: int) -> str:
    """Digest of what groups are made from: compiled scene, expert's source, and what a snapshot is filled with."""
    parts = (FORMAT, scene.record.model_dump_json(), expert_version(), num_groups)
    filled = Path(snapshot_fill.__file__).read_bytes()
    return hashlib.sha256(json.dumps(parts).encode() + filled).hexdigest()[:16]


def record_groups(scene: Scene, num_groups: int) -> Groups:
    """Simulate all episodes of a task; one thread, so that the machine stays usable."""
    rng = np.random.default_rng([STREAM, num_groups])
    starts = sample_train_states(scene, rng, num_groups)
    expert_steps = _expert_lengths(scene, starts)
    longest = min(scene.task.horizon, int(SPARE_SHARE * max(expert_steps)))
    clumsy = draw_clumsiness(rng, num_groups * MEMBERS, float(np.median(expert_steps)), longest)
    return _play(scene, starts.take(np.repeat(np.arange(num_groups), MEMBERS)), clumsy, rng)


def draw_clumsiness(rng: np.random.Generator, num_episodes: int, median: float, longest: int) -> Clumsiness:
    """Draw the faults of N episodes.

    Args:
        rng: What they are drawn from.
        num_episodes: N.
        median: Control steps of the expert's median episode.
        longest: Control steps after which what is not cut before is cut.
    """
    fault_N = rng.choice(len(FAULTS), size=num_episodes, p=FAULT_SHARES)
    cut_N = 1 + np.floor(rng.uniform(*CUT_BETWEEN, num_episodes) * median).astype(np.int64)
    opens_N = np.floor(rng.uniform(*OPENS_BETWEEN, num_episodes) * median).astype(np.int64)
    sigma_N = rng.uniform(*SHAKES, num_episodes)
    by_N, angle_N = rng.uniform(*MISSES_BY_M, num_episodes), rng.uniform(0.0, 2 * np.pi, num_episodes)
    shift_N3 = np.stack([by_N * np.cos(angle_N), by_N * np.sin(angle_N), np.zeros(num_episodes)], axis=1)
    return Clumsiness(
        fault_N,
        np.where(fault_N == FAULTS.index("cut"), cut_N, longest),
        np.where(fault_N == FAULTS.index("drops"), opens_N, longest),
        np.where(fault_N == FAULTS.index("shaky"), sigma_N, 0.0),
        np.where((fault_N == FAULTS.index("misses"))[:, None], shift_N3, 0.0),
    )


def _expert_lengths(scene: Scene, starts: InitStates) -> list[int]:
    """Control steps of the undisturbed expert's successes."""
    still_T3 = np.zeros((scene.task.horizon, 3))
    plans = [EpisodePlan(starts.take(np.array([row])), still_T3) for row in range(len(starts))]
    with closing(Simulator(scene, len(plans), num_threads=1)) as simulator:
        outcome = run_expert(simulator, plans)
    if not outcome.success_N.any():
        raise ConfigError(
            f"The scripted expert solves none of {len(plans)} episodes of {scene.task.suite}/{scene.task.name}, so "
            "nothing says how far an episode is from success; compare specs of another task."
        )
    return [int(steps) for steps in outcome.steps_N[outcome.success_N]]


def _play(scene: Scene, init: InitStates, clumsy: Clumsiness, rng: np.random.Generator) -> Groups:
    """Each episode until success or its cut; from there the same expert goes on undisturbed until success or the limit.

    The expert that was disturbed goes on, for it knows what it holds: a new one would begin by opening the hand.
    """
    num, horizon = len(init), scene.task.horizon
    ends_N = clumsy.ends_N.copy()
    success_at_N = np.full(num, CENSORED)
    live_N = np.ones(num, dtype=bool)
    moments: list[Snapshot] = []
    goals: list[BoolArray] = []
    with closing(Simulator(scene, num, num_threads=1)) as simulator:
        simulator.reset(init, live_N)
        expert = ScriptedExpert(scene.layout, scene.task.goal, num, scene.problem)
        expert.reset(simulator.snapshot, live_N)
        for step in range(int(ends_N.max()) + horizon + 1):
            goal_NC = goal_truth(scene.goal, scene.layout, simulator.snapshot)
            if step <= ends_N.max():
                moments.append(simulator.snapshot.copy())
                goals.append(goal_NC)
            solved_N = live_N & goal_holds(goal_NC)
            success_at_N[solved_N] = step
            live_N = live_N & ~solved_N & (step < ends_N + horizon)
            if not live_N.any():
                break
            own_N = step < ends_N
            seen = simulator.snapshot.copy()
            seen.gripper_pos_N3[own_N] += clumsy.shift_N3[own_N]
            action_NA = expert.act(seen)
            noise_N3 = rng.normal(0.0, 1.0, (num, 3)) * clumsy.sigma_N[:, None]
            action_NA[own_N, :3] = np.clip(action_NA[own_N, :3] + noise_N3[own_N], -1.0, 1.0)
            action_NA[own_N & (step >= clumsy.opens_N), -1] = OPEN
            live_N = live_N & ~simulator.step(action_NA, live_N)
    ended_itself_N = (success_at_N >= 0) & (success_at_N <= ends_N)
    steps_N = np.where(ended_itself_N, success_at_N, ends_N)
    expert_steps_N = np.where(success_at_N >= 0, np.maximum(success_at_N - steps_N, 0), CENSORED)
    return _assemble(scene, moments, goals, steps_N, expert_steps_N, clumsy.fault_N)


def _assemble(
    scene: Scene,
    moments: Sequence[Snapshot],
    goals: Sequence[BoolArray],
    steps_N: NDArray[np.int64],
    expert_steps_N: NDArray[np.int64],
    fault_N: NDArray[np.int64],
) -> Groups:
    """The moments of each episode up to its end, which is repeated."""
    length = int(steps_N.max()) + 1
    at_MN = np.minimum(np.arange(length)[:, None], steps_N)
    columns = np.arange(len(steps_N))
    snapshots = Snapshot.stack(moments[:length]).map(lambda array: array[at_MN, columns])
    goal_MNC = np.stack(goals[:length])[at_MN, columns]
    return Groups(scene.layout, snapshots, goal_MNC, steps_N, scene.task.horizon, expert_steps_N, fault_N)


def _save(groups: Groups, scene: Scene, key: str, path: Path) -> None:
    header = _Header(
        suite=scene.task.suite,
        task=scene.task.name,
        horizon=groups.horizon,
        key=key,
        **SnapshotHeader.names_of(groups.layout),
    )
    arrays = {name: getattr(groups, name) for name in ("goal_MNC", "steps_N", "expert_steps_N", "fault_N")}
    SnapshotFile(header, groups.layout, {"snapshots": groups.snapshots.map(single)}, arrays).save(path)


def _load(path: Path) -> Groups:
    file = SnapshotFile.load(path, _Header, ("snapshots",), _REMEDY)
    moments, num = file.snapshots["snapshots"].gripper_pos_N3.shape[:2]
    numbers = dict.fromkeys(("steps_N", "expert_steps_N", "fault_N"), ((num,), np.integer))
    shapes = {"goal_MNC": ((moments, num, None), np.bool_), **numbers}
    file.check(path, {"snapshots": (moments, num)}, shapes, _REMEDY)
    return Groups(file.layout, file.snapshots["snapshots"], horizon=file.header.horizon, **file.arrays)
