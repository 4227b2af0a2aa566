"""Records a task's evidence with the engine: the expert, spoilt and aimless episodes, other goals, teleports."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import ConfigError, StateError, UnknownNameError
from tgrpo_envs.expert import ScriptedExpert
from tgrpo_envs.expert.motion import OPEN
from tgrpo_envs.reward_tools.certify.bad_policies import Act, Actor, bad_policies
from tgrpo_envs.reward_tools.certify.evidence import (
    Evidence,
    EvidenceInfo,
    Kind,
    Purpose,
    Sizes,
    evidence_key,
    evidence_path,
    expert_version,
    goal_holds,
)
from tgrpo_envs.reward_tools.certify.teleport import goal_teleports
from tgrpo_envs.reward_tools.certify.wrong import WrongGoal, wrong_goals
from tgrpo_envs.scene import InitStates, Scene, sample_train_states
from tgrpo_envs.settings import ACTION_SIZE
from tgrpo_envs.sim.simulator import SETTLE_ACTION, Simulator
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot
from tgrpo_envs.sim.success import Goal, compile_goal, goal_truth

# Apart from the seeds of training, demonstrations and held-out states: none of those has a spawn key of two numbers.
STREAM = 0xCE47
PURPOSES: tuple[Purpose, ...] = ("certification", "selection")

SPOIL_BETWEEN = (0.25, 0.85)  # the gripper is forced open at this share of the expert's median episode
SPARE_SHARE = 1.25  # spoilt and wrong episodes may take this much longer than the expert's longest
TELEPORT_STEPS = 20  # idle control steps after a teleport: objects settle and debounced conditions have time to hold


class Group(NamedTuple):
    """Consecutive environments that act alike.

    Attributes:
        kind: Of their episodes.
        init: Their initial states.
        actor: Makes what acts from the settled start.
        max_steps: Where their episodes are cut.
        goal: Also ends an episode, beside the task's own; None for no other.
    """

    kind: Kind
    init: InitStates
    actor: Actor
    max_steps: int
    goal: Goal | None = None


@dataclass
class _Film:
    """What is kept of a run: each moment of all environments."""

    kinds: list[Kind] = field(default_factory=list)
    moments: list[Snapshot] = field(default_factory=list)
    goals: list[BoolArray] = field(default_factory=list)
    steps_N: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def keep(self, snapshot: Snapshot, goal_NC: BoolArray) -> None:
        self.moments.append(snapshot.copy())
        self.goals.append(goal_NC)


def load_evidence(
    scene: Scene, purpose: Purpose = "certification", sizes: Sizes | None = None, draw: int = 0
) -> Evidence:
    """The task's evidence from the cache, recorded first where it is not there (half a minute).

    Args:
        scene: The task's scene.
        purpose: Specs are chosen and repaired on ``selection`` evidence and certified on the other, so that a
            certificate is not the luck of its seeds.
        sizes: How much; None takes the defaults.
        draw: Which draw of initial states and noise: a spec that was repaired after its certificate on one draw is
            certified on the next.

    Raises:
        ConfigError: The draw is negative.
        StateError: The file in the cache is damaged.
    """
    sizes = sizes or Sizes()
    if draw < 0:
        raise ConfigError(f"The draw of evidence is {draw}, but must be 0 or more; 0 is the first.")
    key = evidence_key(scene.record.model_dump_json(), purpose, sizes, draw)
    path = evidence_path(scene.task.suite, scene.task.name, key)
    if not path.exists():
        record_evidence(scene, purpose, sizes, key, draw).save(path)
    # Always from the file, whose numbers are rounded: the first certificate equals the second.
    return Evidence.load(path)


def record_evidence(scene: Scene, purpose: Purpose, sizes: Sizes, key: str, draw: int = 0) -> Evidence:
    """Simulate all episodes of a task; one thread, so that the machine stays usable."""
    init, acts_rng = initial_states(scene, purpose, sizes, draw)
    starts, start_goal_SC = _settled(scene, init)
    began = time.perf_counter()
    films = []
    has_expert = _make_expert(scene, scene.task.goal, 1) is not None
    longest = sizes.aimless_steps
    if has_expert:
        expert = _run(scene, [_expert_group(scene, init, sizes.expert)])
        films.append(expert)
        longest = min(scene.task.horizon, int(SPARE_SHARE * expert.steps_N.max()))
        median = float(np.median(expert.steps_N))
        films.append(_run(scene, [_dropped_group(scene, init, sizes.expert, longest, median, acts_rng)]))
    wrong = [_wrong_group(scene, init, sizes.wrong, longest, goal) for goal in _possible(scene, sizes.wrong_goals)]
    bad = _bad_groups(scene, init, sizes, longest)
    films.append(_run(scene, [*_aimless_groups(init, sizes, acts_rng), *wrong, *bad]))
    env_steps = sum(int(film.steps_N.sum()) for film in films)
    microseconds = (time.perf_counter() - began) / env_steps * 1e6
    films.append(_teleported(scene, init, sizes.teleports))
    info = EvidenceInfo(
        suite=scene.task.suite,
        task=scene.task.name,
        pack=scene.pack_name,
        horizon=scene.task.horizon,
        key=key,
        purpose=purpose,
        draw=draw,
        sizes=sizes,
        versions={**scene.record.versions, "expert": expert_version()},
        has_expert=has_expert,
        microseconds=microseconds,
    )
    return _assemble(info, scene, films, starts, start_goal_SC)


def initial_states(scene: Scene, purpose: Purpose, sizes: Sizes, draw: int) -> tuple[InitStates, np.random.Generator]:
    """The states from which evidence is recorded, and what its noise is drawn from."""
    seeds = np.random.SeedSequence(STREAM, spawn_key=(draw, PURPOSES.index(purpose)))
    states_rng, acts_rng = (np.random.default_rng(seed) for seed in seeds.spawn(2))
    return sample_train_states(scene, states_rng, max(sizes.starts, sizes.expert, sizes.random)), acts_rng


def _run(scene: Scene, groups: Sequence[Group]) -> _Film:
    """Play the groups side by side, each episode until success, its group's other goal, divergence or its limit."""
    sizes = [len(group.init) for group in groups]
    ends = np.cumsum(sizes).tolist()
    rows = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    film = _Film([group.kind for group, size in zip(groups, sizes, strict=True) for _ in range(size)])
    film.steps_N = np.zeros(ends[-1], dtype=np.int64)
    limit_N = np.repeat([group.max_steps for group in groups], sizes)
    live_N = np.ones(ends[-1], dtype=bool)
    with closing(Simulator(scene, ends[-1], num_threads=1)) as simulator:
        simulator.reset(_join([group.init for group in groups]), live_N)
        film.keep(simulator.snapshot, goal_truth(scene.goal, scene.layout, simulator.snapshot))
        acts = [group.actor(simulator.snapshot.take(at)) for group, at in zip(groups, rows, strict=True)]
        for step in range(int(limit_N.max())):
            action_NA = np.concatenate(
                [act(simulator.snapshot.take(at), step) for act, at in zip(acts, rows, strict=True)]
            )
            live_N &= ~simulator.step(action_NA, live_N)
            film.steps_N += live_N
            goal_NC = goal_truth(scene.goal, scene.layout, simulator.snapshot)
            film.keep(simulator.snapshot, goal_NC)
            live_N &= ~goal_NC.all(axis=1) & (film.steps_N < limit_N)
            for group, at in zip(groups, rows, strict=True):
                if group.goal is not None:
                    live_N[at] &= ~goal_truth(group.goal, scene.layout, simulator.snapshot.take(at)).all(axis=1)
            if not live_N.any():
                break
    return film


def _expert_group(scene: Scene, init: InitStates, count: int) -> Group:
    return Group("expert", init.take(np.arange(count)), _expert_actor(scene, scene.task.goal), scene.task.horizon)


def _dropped_group(
    scene: Scene, init: InitStates, count: int, max_steps: int, median: float, rng: np.random.Generator
) -> Group:
    """The expert's own states and actions, but from a random moment on the gripper stays open."""
    opens_N = rng.uniform(*SPOIL_BETWEEN, size=count) * median
    make = _expert_actor(scene, scene.task.goal)

    def actor(start: Snapshot) -> Act:
        expert = make(start)

        def act(snapshot: Snapshot, step: int) -> FloatArray:
            action_NA = expert(snapshot, step)
            action_NA[step >= opens_N, -1] = OPEN
            return action_NA

        return act

    return Group("dropped", init.take(np.arange(count)), actor, max_steps)


def _aimless_groups(init: InitStates, sizes: Sizes, rng: np.random.Generator) -> list[Group]:
    """Random and idle episodes."""
    noise_TNA = rng.uniform(-1.0, 1.0, (sizes.aimless_steps, sizes.random, ACTION_SIZE))
    idle_NA = np.tile(SETTLE_ACTION, (sizes.idle, 1))
    groups = [
        Group(
            "random",
            init.take(np.arange(sizes.random)),
            lambda _: lambda _, step: noise_TNA[step % len(noise_TNA)],
            len(noise_TNA),
        ),
        Group("idle", init.take(np.arange(sizes.idle)), lambda _: lambda _, _step: idle_NA, len(noise_TNA)),
    ]
    return [group for group in groups if len(group.init)]


def _wrong_group(scene: Scene, init: InitStates, count: int, max_steps: int, wrong: WrongGoal) -> Group:
    categories = {entry.name: entry.category for entry in scene.record.objects}
    site_joints = {entry.name: entry.joints for entry in scene.record.sites}
    goal = compile_goal(wrong.goal, scene.layout, categories, site_joints)
    return Group(wrong.kind, init.take(np.arange(count)), _expert_actor(scene, wrong.goal), max_steps, goal)


def _bad_groups(scene: Scene, init: InitStates, sizes: Sizes, longest: int) -> list[Group]:
    """The bad policies, for each conjunct; those that wait for the expert's grasp may take as long as the expert."""
    groups = []
    for conjunct in scene.task.goal if sizes.bad else ():
        has_expert = _make_expert(scene, (conjunct,), 1) is not None
        for kind, actor in bad_policies(scene.layout, conjunct, has_expert=has_expert).items():
            steps = longest if kind in ("drag", "fling") else sizes.aimless_steps
            groups.append(Group(kind, init.take(np.arange(sizes.bad)), actor, steps))
    return groups


def _possible(scene: Scene, limit: int) -> list[WrongGoal]:
    """The first wrong goals that the expert accepts."""
    possible: list[WrongGoal] = []
    for wrong in wrong_goals(scene.task, scene.layout):
        if len(possible) < limit and _make_expert(scene, wrong.goal, 1) is not None:
            possible.append(wrong)
    return possible


def _make_expert(scene: Scene, goal: tuple[tuple[str, ...], ...], num_envs: int) -> ScriptedExpert | None:
    try:
        return _expert(scene, goal, num_envs)
    except (ConfigError, UnknownNameError):
        return None


def _expert(scene: Scene, goal: tuple[tuple[str, ...], ...], num_envs: int) -> ScriptedExpert:
    problem = scene.problem if goal == scene.task.goal else None  # a wrong goal is played as if all were open
    return ScriptedExpert(scene.layout, goal, num_envs, problem)


def _expert_actor(scene: Scene, goal: tuple[tuple[str, ...], ...]) -> Callable[[Snapshot], Act]:
    def actor(start: Snapshot) -> Act:
        count = len(start.gripper_pos_N3)
        expert = _expert(scene, goal, count)
        expert.reset(start, np.ones(count, dtype=bool))
        return lambda snapshot, _: expert.act(snapshot)

    return actor


def _settled(scene: Scene, init: InitStates) -> tuple[Snapshot, BoolArray]:
    with closing(Simulator(scene, len(init), num_threads=1)) as simulator:
        simulator.reset(init, np.ones(len(init), dtype=bool))
        return simulator.snapshot.copy(), goal_truth(scene.goal, scene.layout, simulator.snapshot)


def _teleported(scene: Scene, init: InitStates, count: int) -> _Film:
    """From settled starts, the goal's conjuncts are made true one after the other by writing the state."""
    every = np.ones(count, dtype=bool)
    idle_NA = np.tile(SETTLE_ACTION, (count, 1))
    film = _Film(["teleport"] * count)
    with closing(Simulator(scene, count, num_threads=1)) as simulator:
        simulator.reset(init.take(np.arange(count)), every)
        film.keep(simulator.snapshot, goal_truth(scene.goal, scene.layout, simulator.snapshot))
        for state in goal_teleports(scene, simulator):
            simulator.reset(state, every, settle=False)
            for _ in range(TELEPORT_STEPS):
                simulator.step(idle_NA, every)
                film.keep(simulator.snapshot, goal_truth(scene.goal, scene.layout, simulator.snapshot))
    solved_MN = goal_holds(np.stack(film.goals))
    solved_MN[-1] = True
    film.steps_N = solved_MN.argmax(axis=0)  # an episode ends at success
    return film


def _join(states: Sequence[InitStates]) -> InitStates:
    return InitStates(
        np.concatenate([state.states_NX for state in states]), np.concatenate([state.fixtures_NF7 for state in states])
    )


def _assemble(
    info: EvidenceInfo, scene: Scene, films: Sequence[_Film], starts: Snapshot, start_goal_SC: BoolArray
) -> Evidence:
    """All films side by side, the shorter ones padded with their last moment."""
    length = max(len(film.moments) for film in films)
    padded = [[min(m, len(film.moments) - 1) for m in range(length)] for film in films]
    moments = [
        Snapshot.join([film.moments[rows[m]] for film, rows in zip(films, padded, strict=True)]) for m in range(length)
    ]
    goal_MNC = np.stack(
        [np.concatenate([film.goals[rows[m]] for film, rows in zip(films, padded, strict=True)]) for m in range(length)]
    )
    steps_N = np.concatenate([film.steps_N for film in films])
    snapshots = Snapshot.stack(moments)
    if not np.isfinite(snapshots.object_pos_NO3).all():
        raise StateError(f"The physics of {info.task} left the finite numbers while evidence was recorded.")
    kinds_N = tuple(kind for film in films for kind in film.kinds)
    return Evidence(scene.layout, snapshots, goal_MNC, steps_N, info, kinds_N, starts, start_goal_SC)
