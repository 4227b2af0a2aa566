"""Measures what scripted cheats are paid: the looser grasp and the specs of a past commit, then today's.

Each cheat plays a few episodes of a task, and so does the expert. Both rules score these same episodes: `grasped` as
any touch of both fingers with the specs of commit BEFORE, and all as it is now. A figure is the most that a failing
episode had been paid at any moment. An honest near-miss is the expert's episode when it has lifted the object by 2 cm
(lifted; a handle: at 75 % of its way) and at 90 % of its way (late), averaged over its successes. A cheat that
makes a conjunct of the goal true is none. Writes a Markdown table; what earns more than the near-miss is bold.

    python scripts/measure_cheats.py                                  # about four minutes on one core
    python scripts/measure_cheats.py libero_object/0 libero_10/9      # only these tasks
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.expert import ScriptedExpert
from tgrpo_envs.expert.motion import ACTION_METRES, ACTION_SIZE, CLOSE, GAIN, OPEN, Phase
from tgrpo_envs.reward_tools.certify.bad_policies import Act, Actor, bad_policies
from tgrpo_envs.reward_tools.certify.scoring import ARRIVING, LATE, LIFTED_M
from tgrpo_envs.rewards.entities import resolve
from tgrpo_envs.rewards.openings import opens_to_front
from tgrpo_envs.rewards.quantities import position
from tgrpo_envs.rewards.rescore import rescore
from tgrpo_envs.rewards.shipped import PRODUCERS, SPECS_FOLDER, Producer, shipped_spec, spec_path
from tgrpo_envs.rewards.spec import StageSpec, parse_spec
from tgrpo_envs.scene import Scene, load_scene, sample_train_states
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import NO_PARENT, BoolArray, FloatArray, Snapshot
from tgrpo_envs.sim.snapshot_fill import NONE, _finger_geoms
from tgrpo_envs.sim.success import goal_truth
from tgrpo_envs.tasks import Task, get_task

BEFORE: Final = "ba1fe6e"  # the last commit before `grasped` meant held and specs asked for lifts and openings
TASKS: Final = (
    *("libero_object/0", "libero_object/4", "libero_spatial/0", "libero_goal/0", "libero_goal/1", "libero_goal/2"),
    *("libero_goal/7", "libero_10/5", "libero_10/9", "libero_90/40"),
)
STATES, SEED, STEPS = 4, 3, 200
HONEST = "honest"
ROOF = "roof"
CHEATS: Final = ("press", "shove", "rub", "hover", "drag", "fling", "push_target", ROOF)
LATER: Final = ("drag", "fling", ROOF)  # they do hold the object, so a lift is no near-miss for them
LIFTED, LATEST = "honest: lifted", "honest: late"
COLUMNS: Final = (*CHEATS, LIFTED, LATEST)
OVER_M, ABOVE_M = 0.05, 0.35


@dataclass(frozen=True)
class Episode:
    """One episode of M moments.

    Attributes:
        name: Of the cheat, or HONEST.
        loose: Moments in which `grasped` is any touch of both fingers.
        strict: The same moments as they are.
        goal_MC: Truth of the goal's conjuncts.
    """

    name: str
    loose: Snapshot
    strict: Snapshot
    goal_MC: BoolArray

    @property
    def is_success(self) -> bool:
        """Whether the goal held at its end."""
        return bool(self.goal_MC[-1].all())

    @property
    def made_nothing_true(self) -> bool:
        """Whether no conjunct came true that did not hold at the start."""
        return not (self.goal_MC & ~self.goal_MC[0]).any()


def actors(scene: Scene) -> Iterator[tuple[str, Actor]]:
    """Name and maker of each policy: the expert of the whole goal, and the cheats of each conjunct."""
    if _has_expert(scene, scene.task.goal):
        yield HONEST, _expert(scene, scene.task.goal)
    for conjunct in scene.task.goal:
        has_expert = _has_expert(scene, (conjunct,))
        yield from bad_policies(scene.layout, conjunct, has_expert=has_expert).items()
        if len(conjunct) == 3 and opens_to_front(conjunct[2]):
            yield ROOF, _to_roof(scene, conjunct)


def _has_expert(scene: Scene, goal: tuple[tuple[str, ...], ...]) -> bool:
    try:
        ScriptedExpert(scene.layout, goal, 1)
    except ConfigError:
        return False
    return True


def _expert(scene: Scene, goal: tuple[tuple[str, ...], ...]) -> Actor:
    def actor(start: Snapshot) -> Act:
        expert = ScriptedExpert(scene.layout, goal, STATES)
        expert.reset(start, np.ones(STATES, dtype=bool))
        return lambda snapshot, _: expert.act(snapshot)

    return actor


def _to_roof(scene: Scene, conjunct: tuple[str, ...]) -> Actor:
    """Lifts the object, carries it over what it is to be put into from the front, and lets go."""
    moved, target = (resolve(name, scene.layout, "the goal") for name in conjunct[1:])
    zone = scene.layout.sites[int(np.flatnonzero(scene.layout.site_parents_S == NO_PARENT)[0])]
    to_zone = (("on", conjunct[1], zone),)  # the expert can do that with any object; only its lift is used

    def actor(start: Snapshot) -> Act:
        expert = ScriptedExpert(scene.layout, to_zone, STATES)
        expert.reset(start, np.ones(STATES, dtype=bool))
        held_N, let_go_N = np.zeros((2, STATES), dtype=bool)
        start_z_N = position(start, moved)[:, 2].copy()

        def act(snapshot: Snapshot, _: int) -> FloatArray:
            action_NA = expert.act(snapshot)
            held_N[:] |= (expert.phase_N == Phase.CARRY) & (position(snapshot, moved)[:, 2] > start_z_N + OVER_M)
            way_N3 = position(snapshot, target) - snapshot.gripper_pos_N3
            way_N3[:, 2] += ABOVE_M
            let_go_N[:] |= held_N & (np.linalg.norm(way_N3, axis=1) < OVER_M)
            way_N3[way_N3[:, 2] > OVER_M, :2] = 0.0  # up first
            over_NA = np.zeros((STATES, ACTION_SIZE))
            over_NA[:, :3] = np.clip(GAIN * way_N3 / ACTION_METRES, -1.0, 1.0)
            over_NA[:, -1] = np.where(let_go_N, OPEN, CLOSE)
            return np.where(held_N[:, None], over_NA, action_NA)

        return act

    return actor


def play(scene: Scene) -> list[Episode]:
    """All policies side by side, each from the same initial states."""
    names, makers = zip(*actors(scene), strict=True)
    rows = [slice(STATES * i, STATES * (i + 1)) for i in range(len(names))]
    live_N = np.ones(STATES * len(names), dtype=bool)
    states = sample_train_states(scene, np.random.default_rng(SEED), STATES)
    touch = _Touch(scene)
    moments, touched, goals = [], [], []
    steps_N = np.zeros(len(live_N), dtype=np.int64)
    with closing(Simulator(scene, len(live_N), num_threads=1)) as simulator:
        simulator.reset(states.take(np.tile(np.arange(STATES), len(names))), live_N)
        acts = [make(simulator.snapshot.take(at)) for make, at in zip(makers, rows, strict=True)]
        for step in range(min(STEPS, scene.task.horizon) + 1):
            moments.append(simulator.snapshot.copy())
            touched.append(touch.by_both_fingers(simulator))
            goals.append(goal_truth(scene.goal, scene.layout, simulator.snapshot).copy())
            live_N &= ~goals[-1].all(axis=1)
            now = [act(simulator.snapshot.take(at), step) for act, at in zip(acts, rows, strict=True)]
            live_N &= ~simulator.step(np.concatenate(now), live_N)
            steps_N += live_N
    return [
        _episode(name, STATES * i + k, steps_N, moments, touched, goals)
        for i, name in enumerate(names)
        for k in range(STATES)
    ]


def _episode(
    name: str,
    row: int,
    steps_N: np.ndarray,
    moments: Sequence[Snapshot],
    touched: Sequence[BoolArray],
    goals: Sequence[BoolArray],
) -> Episode:
    length, at = int(steps_N[row]) + 1, slice(row, row + 1)
    strict = Snapshot.join([moment.take(at) for moment in moments[:length]])
    loose = replace(strict, finger_contact_NO2=np.concatenate([each[at] for each in touched[:length]]))
    return Episode(name, loose, strict, np.concatenate([each[at] for each in goals[:length]]))


class _Touch:
    """Which fingers touch which objects at all, in whatever direction."""

    def __init__(self, scene: Scene) -> None:
        self._object_G, self._finger_G = np.full((2, scene.model.ngeom), NONE)
        for row, entry in enumerate(scene.record.objects):
            self._object_G[list(entry.geoms)] = row
        for side, pads in enumerate(scene.record.robot.pad_geoms):
            self._finger_G[_finger_geoms(scene.model, pads[0])] = side

    def by_both_fingers(self, simulator: Simulator) -> BoolArray:
        """(N, O, 2), as `Snapshot.finger_contact_NO2` was until BEFORE."""
        found_NO2 = np.zeros_like(simulator.snapshot.finger_contact_NO2)
        for row, data in enumerate(simulator.datas):
            for things, others in (data.contact.geom.T, data.contact.geom.T[::-1]):
                object_c, finger_c = self._object_G[things], self._finger_G[others]
                both_c = (object_c != NONE) & (finger_c != NONE)
                found_NO2[row, object_c[both_c], finger_c[both_c]] = True
        return found_NO2


def past_spec(task: Task, producer: Producer) -> StageSpec:
    """The spec of commit BEFORE."""
    path = f"{BEFORE}:tgrpo_envs/rewards/specs/{spec_path(task, producer).relative_to(SPECS_FOLDER)}"
    text = subprocess.run(["git", "show", path], check=True, capture_output=True, text=True, cwd=SPECS_FOLDER).stdout
    return parse_spec(text, path)


def table_row(task: Task, producer: Producer, scene: Scene, episodes: Sequence[Episode]) -> tuple[str, ...]:
    """What each cheat, and the honest near-misses, were paid: before, then now."""
    before = _paid(scene, past_spec(task, producer), [(each, each.loose) for each in episodes])
    now = _paid(scene, shipped_spec(task, producer), [(each, each.strict) for each in episodes])
    return tuple(f"{old} → {new}" if new else "" for old, new in zip(before, now, strict=True))


def _paid(scene: Scene, spec: StageSpec, seen: Sequence[tuple[Episode, Snapshot]]) -> list[str]:
    """A cell for each cheat and near-miss; empty where there was none."""
    paid: dict[str, list[float]] = {name: [] for name in COLUMNS}
    for episode, snapshots in seen:
        score = rescore(spec, scene.layout, snapshots, episode.goal_MC, horizon=scene.task.horizon)
        so_far_T = np.cumsum(score.rewards_T)
        if episode.is_success or episode.name == ROOF:
            paid[LIFTED].append(so_far_T[_first_lift(episode.strict) - 1])
        if episode.name == HONEST and episode.is_success:
            paid[LATEST].append(so_far_T[round(ARRIVING * (len(so_far_T) - 1)) - 1])
        if episode.name != HONEST and episode.made_nothing_true:
            paid[episode.name].append(so_far_T.max())
    most = {name: (np.max if name in CHEATS else np.mean)(values) for name, values in paid.items() if values}
    bars = {name: most.get(LATEST if name in LATER else LIFTED, np.inf) for name in CHEATS}
    shown = {
        name: f"**{value:.3f}**" if value > bars.get(name, np.inf) else f"{value:.3f}" for name, value in most.items()
    }
    return [shown.get(name, "") for name in COLUMNS]


def _first_lift(snapshots: Snapshot) -> int:
    """Control steps after which something is held and has risen; a handle does not rise."""
    movables = np.flatnonzero(np.ptp(snapshots.object_pos_NO3[:, :, 2], axis=0) > 0.0)
    height_MO = snapshots.object_pos_NO3[:, movables, 2]
    held_MO = snapshots.finger_contact_NO2[:, movables].all(axis=2)
    lifted_M = (held_MO & (height_MO >= height_MO[0] + LIFTED_M)).any(axis=1)
    return int(lifted_M.argmax()) if lifted_M.any() else round(LATE * (len(lifted_M) - 2))


def main(names: Sequence[str]) -> None:
    """Print the table, task by task."""
    headings = ("task", "spec", *COLUMNS)
    sys.stdout.write("| " + " | ".join(headings) + " |\n|" + "---|" * len(headings) + "\n")
    for name in names or TASKS:
        suite, index = name.split("/")
        task = get_task(suite, int(index))
        scene = load_scene(task, "primitive")
        episodes = play(scene)
        for producer in PRODUCERS:
            cells = table_row(task, producer, scene, episodes)
            sys.stdout.write("| " + " | ".join((name, producer, *cells)) + " |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
