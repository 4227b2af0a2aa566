"""Measures `grasped` against the simulator: does an object that it calls held rise with the hand, for every category?

Plays the expert, random actions and the bad policies on a task of each category of objects. Every few control steps in
which the gripper touches the object with its fingers commanded shut, the simulation is copied, and the copy's hand
rises by some centimetres: the object was held if it rises along. Writes a Markdown table, a row for each category.

    python scripts/measure_grasps.py                 # all categories; about six minutes on one core
    python scripts/measure_grasps.py moka_pot        # only these
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.expert import ScriptedExpert
from tgrpo_envs.reward_tools.certify.bad_policies import Act, Actor, bad_policies
from tgrpo_envs.scene import Scene, load_scene, sample_train_states
from tgrpo_envs.sim import control_block
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import Snapshot
from tgrpo_envs.sim.snapshot_fill import _finger_geoms
from tgrpo_envs.tasks import Task, list_tasks

STEPS, EVERY = 120, 5
RISE_STEPS, RISE = 8, 0.6  # control steps and command of the copy's hand
ALONG = 0.6  # share of the hand's rise from which the object counts as held
GROUPS = ("expert", "random", "bad")
HEADINGS = ("object", "held", "missed", *(f"{group}: not held, touched by both, called held" for group in GROUPS))


def tasks_by_category() -> dict[str, tuple[Task, tuple[str, ...]]]:
    """The first task, and its conjunct, that puts an object of a category somewhere."""
    found: dict[str, tuple[Task, tuple[str, ...]]] = {}
    for task in list_tasks():
        for conjunct in task.goal:
            if len(conjunct) == 3:
                found.setdefault(re.sub(r"_\d+$", "", conjunct[1]), (task, conjunct))
    return found


def actors(scene: Scene, conjunct: tuple[str, ...]) -> dict[str, Actor]:
    """The policies by name; the expert only where it has a skill."""
    noise_TA = np.random.default_rng(1).uniform(-1.0, 1.0, (STEPS, 1, 7))

    def expert(start: Snapshot) -> Act:
        scripted = ScriptedExpert(scene.layout, (conjunct,), 1)
        scripted.reset(start, np.array([True]))
        return lambda snapshot, _: scripted.act(snapshot)

    found: dict[str, Actor] = {"random": lambda _: lambda _, step: noise_TA[step]}
    try:
        ScriptedExpert(scene.layout, (conjunct,), 1)
    except ConfigError:
        return found | bad_policies(scene.layout, conjunct, has_expert=False)
    return found | {"expert": expert} | bad_policies(scene.layout, conjunct, has_expert=True)


def moments(scene: Scene, conjunct: tuple[str, ...], actor: Actor) -> Iterator[tuple[bool, bool, bool]]:
    """Of some moments of an episode: does it rise along, do both fingers touch it, does the snapshot call it held."""
    row, one = scene.layout.object_row(conjunct[1]), np.array([True])
    fingers = [set(_finger_geoms(scene.model, pads[0])) for pads in scene.record.robot.pad_geoms]
    geoms = set(scene.record.objects[row].geoms)
    init = sample_train_states(scene, np.random.default_rng(0), 1)
    with closing(Simulator(scene, 1, num_threads=1)) as played, closing(Simulator(scene, 1, num_threads=1)) as copied:
        for simulator in (played, copied):
            simulator.reset(init, one)
        act = actor(played.snapshot)
        for step in range(STEPS):
            action_NA = act(played.snapshot, step)
            played.step(action_NA, one)
            if step % EVERY == 0 and action_NA[0, -1] > 0 and played.snapshot.touch_NO[0, row]:
                touched = all(_touches(played.datas[0], finger, geoms) for finger in fingers)
                control_block.copy_episode(
                    scene.model, (played.datas[0], played.blocks[0]), (copied.datas[0], copied.blocks[0])
                )
                said = bool(played.snapshot.finger_contact_NO2[0, row].all())
                yield _rises(copied, played.snapshot, row), touched, said


def _rises(simulator: Simulator, before: Snapshot, row: int) -> bool:
    for _ in range(RISE_STEPS):
        simulator.step(np.array([[0.0, 0.0, RISE, 0.0, 0.0, 0.0, 1.0]]), np.array([True]))
    hand = simulator.snapshot.gripper_pos_N3[0, 2] - before.gripper_pos_N3[0, 2]
    thing = simulator.snapshot.object_pos_NO3[0, row, 2] - before.object_pos_NO3[0, row, 2]
    return bool(thing > ALONG * max(hand, 0.01))


def _touches(data: mujoco.MjData, finger: set[int], geoms: set[int]) -> bool:
    return any((a in finger and b in geoms) or (b in finger and a in geoms) for a, b in data.contact.geom)


def table_row(category: str, task: Task, conjunct: tuple[str, ...]) -> tuple[str, ...]:
    """Counts of one category."""
    scene = load_scene(task, "primitive")
    found = {name: np.array([*moments(scene, conjunct, actor)]) for name, actor in actors(scene, conjunct).items()}
    every = np.concatenate([each.reshape(-1, 3) for each in found.values()])
    held_N, said_N = every[:, 0].astype(bool), every[:, 2].astype(bool)
    cells = [category, str(held_N.sum()), str((held_N & ~said_N).sum())]
    for group in GROUPS:
        own = [each for name, each in found.items() if name == group or (group == "bad" and name not in GROUPS)]
        rows = np.concatenate([np.zeros((0, 3)), *(each.reshape(-1, 3) for each in own)]).astype(bool)
        loose = rows[~rows[:, 0]]
        cells.append(f"{len(loose)}, {loose[:, 1].sum()}, {loose[:, 2].sum()}")
    return tuple(cells)


def main(categories: Sequence[str]) -> None:
    """Print the table, row by row."""
    sys.stdout.write("| " + " | ".join(HEADINGS) + " |\n|" + "---|" * len(HEADINGS) + "\n")
    for category, (task, conjunct) in tasks_by_category().items():
        if not categories or category in categories:
            sys.stdout.write("| " + " | ".join(table_row(category, task, conjunct)) + " |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
