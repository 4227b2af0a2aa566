"""Measures how equal our simulator is to LIBERO's, task by task: trajectories, observations, success."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tgrpo_envs.official import ONE, Pair, open_pair
from tgrpo_envs.scene import InitStates, Scene, official_states
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, SnapshotLayout
from tgrpo_envs.sim.success import Conjunct
from tgrpo_envs.tasks import Task, get_task, list_tasks

TOLERANCE = 1e-9  # metres, radians, and those per second
NEAR_THRESHOLD = (0.0, -1e-6, 1e-6)  # joints exactly at, just below and just above a threshold of LIBERO's
JOINT_THRESHOLDS = (0.0, -0.005, -0.14, -1.3, 0.5)  # metres or radians: success.JOINT_TESTS
CLUTTER_M = 0.08  # how far from its place an object is dropped when it is not aimed at a goal
BEYOND_BOX = 1.5  # goal positions are drawn in a region's box enlarged by this factor
AIM_ABOVE_M = (-0.02, 0.13)  # and on an object within these heights over its centre

Truths = tuple[BoolArray, BoolArray]
"""Truth of each conjunct of the goal: ours, LIBERO's."""


@dataclass(frozen=True)
class TaskParity:
    """One task in both simulators.

    Attributes:
        suite: LIBERO suite.
        task: Index within it.
        state_error: Largest difference of time, qpos and qvel along the trajectory.
        observation_error: Largest difference of gripper position, fingers and object positions.
        steps_within: Control steps before the difference first exceeded `TOLERANCE`.
        steps: Control steps taken.
        conjuncts: Truth values compared, over the trajectory and all placed states.
        true_conjuncts: How many of them were true in LIBERO.
        wrong_conjuncts: How many differed.
    """

    suite: str
    task: int
    state_error: float
    observation_error: float
    steps_within: int
    steps: int
    conjuncts: int
    true_conjuncts: int
    wrong_conjuncts: int


def measure_parity(
    suite: str | None = None,
    task: int | str | None = None,
    assets: str | Path = "auto",
    *,
    steps: int = 200,
    states: int = 1000,
    out: Path | None = None,
) -> str:
    """Compare tasks one after the other; some ten seconds each.

    Args:
        suite: Only this suite; None takes all.
        task: Only this task of the suite.
        assets: Asset pack.
        steps: Control steps of random actions after settling.
        states: States with teleported objects and joints in which success is compared.
        out: File for the numbers as JSON, rewritten after every task.

    Returns:
        A table, and a line that counts.
    """
    chosen = list_tasks(suite) if task is None else [get_task(suite or "libero_object", task)]
    rows: list[TaskParity] = []
    for each in tqdm(chosen, desc="parity", unit="task"):
        rows.append(compare_task(each, assets, steps=steps, states=states))
        if out is not None:
            out.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    return _report(rows)


def compare_task(task: Task, assets: str | Path, *, steps: int, states: int) -> TaskParity:
    """One task: a trajectory of random actions, then placed states."""
    with closing(open_pair(task.suite, task.index, assets)) as pair:
        all_states = official_states(pair.scene)
        init = all_states.take(np.array([task.index % len(all_states)]))
        rng = np.random.default_rng([task.index, len(task.name)])
        truths: list[Truths] = []
        errors = np.array(list(_trajectory(pair, init, rng.uniform(-1.0, 1.0, (steps, 7)), truths)))
        pair.reset(init, settle=False)
        for state in placed_states(pair, init, rng, states):
            pair.show(state)
            truths.append(pair.truths())
    ours, official = np.array([pair[0] for pair in truths]), np.array([pair[1] for pair in truths])
    over_T = errors[:, 0] > TOLERANCE
    return TaskParity(
        task.suite,
        task.index,
        state_error=float(errors[:, 0].max()),
        observation_error=float(errors[:, 1].max()),
        steps_within=int(over_T.argmax()) if over_T.any() else steps,
        steps=steps,
        conjuncts=official.size,
        true_conjuncts=int(official.sum()),
        wrong_conjuncts=int((ours != official).sum()),
    )


def placed_states(pair: Pair, init: InitStates, rng: np.random.Generator, count: int) -> Iterator[InitStates]:
    """States that goals turn on: joints at thresholds, carriers turned, objects at the faces of their targets.

    Args:
        pair: Shows the states in between: where a region is depends on its carrier.
        init: The state that is varied, one row.
        rng: Source of randomness.
        count: How many.
    """
    objects = pair.scene.record.objects
    for _ in range(count):
        placed = InitStates(init.states_NX.copy(), init.fixtures_NF7)
        state_X = placed.states_NX[0]
        _scatter(state_X, pair.scene, rng)
        pair.ours.reset(placed, ONE, settle=False)
        for conjunct in pair.scene.goal:
            address = objects[conjunct.object_row].qpos_address if conjunct.object_row >= 0 else None
            if address is not None:
                state_X[address + 1 : address + 4] = _aim(pair, conjunct, rng)
        yield placed


def _scatter(state_X: FloatArray, scene: Scene, rng: np.random.Generator) -> None:
    """Write into one state: joints at thresholds, the goal's carriers turned, other objects moved about."""
    for joint in scene.record.joints:
        low, high = scene.model.joint(joint.name).range
        threshold = rng.choice(JOINT_THRESHOLDS) + rng.choice(NEAR_THRESHOLD)
        choices = [low, high, np.clip(threshold, low, high), rng.uniform(low, high)]
        state_X[1 + joint.qpos_address] = rng.choice(choices)
    carriers = {_carrier(scene.layout, conjunct) for conjunct in scene.goal}
    for row, entry in enumerate(scene.record.objects):
        address = entry.qpos_address
        if address is None:  # a fixture
            continue
        if row in carriers:
            half_yaw = rng.choice([0.0, 0.05, np.pi / 8, rng.uniform(-np.pi / 2, np.pi / 2)])
            state_X[address + 4 : address + 8] = np.cos(half_yaw), 0.0, 0.0, np.sin(half_yaw)
        elif rng.random() < 0.5:
            state_X[address + 1 : address + 3] += rng.uniform(-CLUTTER_M, CLUTTER_M, 2)


def _carrier(layout: SnapshotLayout, conjunct: Conjunct) -> int:
    """Row of the object that a goal's target belongs to; -1 where none does."""
    return int(layout.site_parents_S[conjunct.site_row]) if conjunct.site_row >= 0 else conjunct.support_row


def _aim(pair: Pair, conjunct: Conjunct, rng: np.random.Generator) -> FloatArray:
    """A position in or near a region's box, or on or near an object."""
    snapshot, site = pair.ours.snapshot, conjunct.site_row
    if site >= 0:
        half_3 = pair.scene.layout.site_half_sizes_S3[site]
        offset_3 = half_3 * rng.uniform(-BEYOND_BOX, BEYOND_BOX, 3)
        if rng.random() < 0.5:  # what stands on a region has its centre above it
            offset_3[2] = half_3[2] + rng.uniform(*AIM_ABOVE_M)
        aimed: FloatArray = snapshot.site_pos_NS3[0, site] + offset_3
        return aimed
    sideways_2 = rng.uniform(-CLUTTER_M / 2, CLUTTER_M / 2, 2)
    offset_3 = np.array([*sideways_2, rng.uniform(*AIM_ABOVE_M)])
    over: FloatArray = snapshot.object_pos_NO3[0, conjunct.support_row] + offset_3
    return over


def _trajectory(
    pair: Pair, init: InitStates, actions_TA: FloatArray, truths: list[Truths]
) -> Iterator[tuple[float, float]]:
    """Differences of state and observation after settling and after each step; truths are appended."""
    pair.reset(init, settle=True)
    for action_A in actions_TA:
        pair.step(action_A)
        truths.append(pair.truths())
        (ours_X, official_X), (seen, official_seen) = pair.states(), pair.observed()
        yield float(np.abs(ours_X - official_X).max()), float(np.abs(seen - official_seen).max())


def _report(rows: Sequence[TaskParity]) -> str:
    lines = [f"{'suite':<15} task  {'qpos, qvel':>10}  {'observed':>9}  within 1e-9  conjuncts equal (true)"]
    for row in rows:
        equal = f"{row.conjuncts - row.wrong_conjuncts}/{row.conjuncts} ({row.true_conjuncts})"
        within = f"{row.steps_within}/{row.steps}"
        errors = f"{row.state_error:>10.1e}  {row.observation_error:>9.1e}"
        lines.append(f"{row.suite:<15} {row.task:>4}  {errors}  {within:>11}  {equal}")
    exact = sum(row.steps_within == row.steps for row in rows)
    agree = sum(row.wrong_conjuncts == 0 for row in rows)
    lines.append(
        f"{exact}/{len(rows)} within {TOLERANCE:g} for the whole trajectory; success equal in {agree}/{len(rows)}"
    )
    return "\n".join(lines)
