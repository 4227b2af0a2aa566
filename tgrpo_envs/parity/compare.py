"""Measures how equal our simulator is to LIBERO's, task by task: trajectories, observations, success.

A trajectory that leaves LIBERO's is held against how far LIBERO leaves its own: see `rounding_sensitivity`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tgrpo_envs.arrays import whole_number
from tgrpo_envs.files import write_atomically
from tgrpo_envs.parity.boundary_states import placed_states
from tgrpo_envs.parity.rounding_sensitivity import Run, own_errors, robosuite_solver_errors, single_steps
from tgrpo_envs.parity.side_by_side import Pair, open_pair
from tgrpo_envs.scene import official_states
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray
from tgrpo_envs.tasks import Task, get_task, list_tasks

TOLERANCE = 1e-9  # metres, radians, and those per second

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
        own_error: Largest difference of time, qpos and qvel of LIBERO from LIBERO with a last bit changed.
        own_steps_within: Control steps before that difference first exceeded `TOLERANCE`.
        single_error: Largest difference after a control step that ours took from LIBERO's state.
        single_within: How many of these control steps ended within `TOLERANCE`.
        solver_error: Where ours leaves LIBERO's trajectory and LIBERO does not: the largest difference when contacts
            are solved as robosuite solves them. Else None.
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
    own_error: float
    own_steps_within: int
    single_error: float
    single_within: int
    solver_error: float | None
    conjuncts: int
    true_conjuncts: int
    wrong_conjuncts: int


def measure_parity(
    suite: str | None, task: int | str | None, assets: str | Path, *, steps: int, states: int, out: Path | None
) -> str:
    """Compare tasks one after the other, some twenty seconds each, as the command `parity` says.

    Raises:
        ConfigError: Fewer steps than one, or states than none.
    """
    whole_number("steps", steps, 1)
    whole_number("states", states, 0)
    chosen = list_tasks(suite) if task is None else [get_task(suite or "libero_object", task)]
    rows: list[TaskParity] = []
    for each in tqdm(chosen, desc="parity", unit="task"):
        rows.append(compare_task(each, assets, steps=steps, states=states))
        if out is not None:
            write_atomically(out, json.dumps([asdict(row) for row in rows], indent=1))
    return report(rows)


def compare_task(task: Task, assets: str | Path, *, steps: int, states: int) -> TaskParity:
    """One task: a trajectory of random actions, LIBERO's beside its own, single steps, then placed states."""
    with closing(open_pair(task.suite, task.index, assets)) as pair:
        all_states = official_states(pair.scene)
        init = all_states.take(np.array([task.index % len(all_states)]))
        rng = np.random.default_rng([task.index, len(task.name)])
        run = init, rng.uniform(-1.0, 1.0, (steps, 7))
        truths: list[Truths] = []
        path: list[FloatArray] = []
        errors = np.array(list(_trajectory(pair, run, truths, path)))
        own_T = own_errors(pair, run, np.array(path)).max(axis=0)
        single_T = np.array(list(single_steps(pair, run)))
        unexplained = errors[:, 0].max() > TOLERANCE >= own_T.max()
        solver_T = robosuite_solver_errors(pair, run, np.array(path)) if unexplained else None
        pair.reset(init, settle=False)
        for state in placed_states(pair, init, rng, states):
            pair.show(state)
            truths.append(pair.truths())
    ours, official = np.array([pair[0] for pair in truths]), np.array([pair[1] for pair in truths])
    return TaskParity(
        task.suite,
        task.index,
        state_error=float(errors[:, 0].max()),
        observation_error=float(errors[:, 1].max()),
        steps_within=steps_within(errors[:, 0]),
        steps=steps,
        own_error=float(own_T.max()),
        own_steps_within=steps_within(own_T),
        single_error=float(single_T.max()),
        single_within=int((single_T <= TOLERANCE).sum()),
        solver_error=None if solver_T is None else float(solver_T.max()),
        conjuncts=official.size,
        true_conjuncts=int(official.sum()),
        wrong_conjuncts=int((ours != official).sum()),
    )


def steps_within(errors_T: FloatArray) -> int:
    """Steps before the first error above `TOLERANCE`."""
    over_T = errors_T > TOLERANCE
    return int(over_T.argmax()) if over_T.any() else len(errors_T)


def _trajectory(pair: Pair, run: Run, truths: list[Truths], path: list[FloatArray]) -> Iterator[tuple[float, float]]:
    """Differences of state and observation after settling and each step; truths and LIBERO's states are appended."""
    init, actions_TA = run
    pair.reset(init, settle=True)
    for action_A in actions_TA:
        pair.step(action_A)
        truths.append(pair.truths())
        (ours_X, official_X), (seen, official_seen) = pair.states(), pair.observed()
        path.append(official_X)
        yield float(np.abs(ours_X - official_X).max()), float(np.abs(seen - official_seen).max())


def report(rows: Sequence[TaskParity]) -> str:
    """A line for each task, then what they come to."""
    lines = [
        f"{'suite':<15} task  {'qpos, qvel':>10}  {'observed':>8}  within 1e-9  {'LIBERO to itself':>22}  "
        f"{'single steps':>16}  conjuncts equal (true)"
    ]
    for row in rows:
        within = f"{row.steps_within}/{row.steps}"
        own = f"{row.own_error:.1e} {row.own_steps_within:>3}/{row.steps}"
        single = f"{row.single_error:.1e} {row.single_within:>3}/{row.steps}"
        equal = f"{row.conjuncts - row.wrong_conjuncts}/{row.conjuncts} ({row.true_conjuncts})"
        errors = f"{row.state_error:>10.1e}  {row.observation_error:>8.1e}"
        lines.append(f"{row.suite:<15} {row.task:>4}  {errors}  {within:>11}  {own:>22}  {single:>16}  {equal}")
    return "\n".join([*lines, *_conclusions(rows)])


def _conclusions(rows: Sequence[TaskParity]) -> list[str]:
    exact = [row for row in rows if row.state_error <= TOLERANCE]
    rest = [row for row in rows if row.solver_error is not None]
    solved = [row for row in rest if row.solver_error is not None and row.solver_error <= TOLERANCE]
    names = ", ".join(f"{row.suite} {row.task}" for row in rest if row not in solved) or "none"
    agree = sum(row.wrong_conjuncts == 0 for row in rows)
    single, steps = sum(row.single_within for row in rows), sum(row.steps for row in rows)
    others = len(rows) - len(exact)
    return [
        f"{len(exact)}/{len(rows)} within {TOLERANCE:g} for the whole trajectory; success equal in {agree}/{len(rows)}",
        f"of the other {others}, LIBERO leaves its own trajectory by more than {TOLERANCE:g} in {others - len(rest)} "
        f"when an input's last bit changes; {len(solved)} are within {TOLERANCE:g} with robosuite's solver sequence; "
        f"unexplained: {names}",
        f"{single}/{steps} control steps from LIBERO's own state end within {TOLERANCE:g}",
    ]
