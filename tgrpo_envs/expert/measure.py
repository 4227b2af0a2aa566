"""How often the scripted expert succeeds, as a table of k/n per task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tgrpo_envs.expert.motion import Phase
from tgrpo_envs.expert.plan import expert_tasks, plan
from tgrpo_envs.expert.rollout import check_numbers, plan_episode, run_expert
from tgrpo_envs.scene import load_scene
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.tasks import Task, get_task, list_tasks

BATCH_SIZE = 16
SOLVED_SHARE = 0.8  # of its episodes, from which a task counts as solved
NAME_WIDTH = 62


@dataclass(frozen=True)
class TaskScore:
    """The expert on one task.

    Attributes:
        task: The task.
        successes: Solved episodes.
        episodes: All episodes.
        mean_steps: Mean length of the solved ones, control steps; NaN without any.
        stuck_in: How many failed episodes ended in each `Phase`.
    """

    task: Task
    successes: int
    episodes: int
    mean_steps: float
    stuck_in: dict[str, int]


@dataclass(frozen=True)
class ExpertTable:
    """The expert on several tasks; `str` gives the table that is printed.

    Attributes:
        asset_pack: Which shapes were simulated.
        scores: One entry per task.
        refused: Tasks of the suite for which there is no skill.
    """

    asset_pack: str
    scores: tuple[TaskScore, ...]
    refused: tuple[Task, ...] = ()

    @property
    def solved(self) -> tuple[Task, ...]:
        """The tasks solved in at least `SOLVED_SHARE` of their episodes."""
        return tuple(score.task for score in self.scores if score.successes >= SOLVED_SHARE * score.episodes)

    def __str__(self) -> str:
        """A line per task, one for each suite and one for all."""
        lines = [f"{'task':<{NAME_WIDTH + 3}}{'solved':>9}{'steps':>7}  failures ended in"]
        for score in self.scores:
            solved = f"{score.successes}/{score.episodes}"
            stuck = ", ".join(f"{phase} {count}" for phase, count in score.stuck_in.items())
            lines.append(f"{_named(score.task)}{solved:>9}{score.mean_steps:>7.0f}  {stuck}")
        lines += [f"{_named(task)}{'no skill':>9}" for task in self.refused]
        tasks = [*(score.task for score in self.scores), *self.refused]
        for suite in dict.fromkeys(task.suite for task in tasks):
            solved = f"{_count(self.solved, suite)}/{_count(tasks, suite)}"
            lines.append(f"{f'{suite}: tasks solved in {SOLVED_SHARE:.0%} of episodes':<{NAME_WIDTH + 3}}{solved:>9}")
        successes, episodes = (
            sum(score.successes for score in self.scores),
            sum(score.episodes for score in self.scores),
        )
        lines.append(f"{f'all, {self.asset_pack} assets':<{NAME_WIDTH + 3}}{f'{successes}/{episodes}':>9}")
        return "\n".join(line.rstrip() for line in lines)


def _named(task: Task) -> str:
    return f"{task.index:>2} {task.name[: NAME_WIDTH - 1]:<{NAME_WIDTH}}"


def _count(tasks: Sequence[Task], suite: str) -> int:
    return sum(task.suite == suite for task in tasks)


def measure_expert(
    suite: str = "libero_object",
    tasks: Sequence[int | str] | None = None,
    episodes: int = 20,
    *,
    seed: int = 0,
    assets: str | Path = "auto",
    max_noise: float = 0.0,
    num_envs: int = BATCH_SIZE,
    progress: bool = True,
) -> ExpertTable:
    """Run the expert from fresh training states, without pictures.

    Args:
        suite: One suite, or ``all``.
        tasks: Indices or names; None for all tasks of the suite, of which those without a skill are only listed.
        episodes: Per task.
        seed: Fixes initial states and noise.
        assets: Name or folder of an asset pack.
        max_noise: As in `record_demonstrations`.
        num_envs: Episodes simulated side by side; the result does not depend on it.
        progress: Show a progress bar.

    Raises:
        UnknownNameError: No such suite or task.
        ConfigError: One of `tasks` is a task the expert cannot do, or a number is out of range.
        AssetError: The asset pack is missing or incomplete.
    """
    check_numbers(max_noise, seed, episodes=episodes, num_envs=num_envs)
    refused: tuple[Task, ...] = ()
    if tasks is None:
        named = None if suite == "all" else suite
        chosen = expert_tasks(named)
        refused = tuple(task for task in list_tasks(named) if task not in chosen)
    else:
        chosen = tuple(get_task(suite, task) for task in tasks)
    for task in chosen:
        plan(task.goal)
    scores: list[TaskScore] = []
    pack_name = str(assets)
    with tqdm(total=len(chosen) * episodes, desc="expert", unit="episode", disable=not progress) as bar:
        for task in chosen:
            scene = load_scene(task, assets)
            pack_name = scene.pack_name
            simulator = Simulator(scene, min(num_envs, episodes))
            try:
                scores.append(_score(simulator, episodes, seed, max_noise, bar))
            finally:
                simulator.close()
    return ExpertTable(pack_name, tuple(scores), refused)


def _score(simulator: Simulator, episodes: int, seed: int, max_noise: float, bar: tqdm[None]) -> TaskScore:
    success: list[bool] = []
    steps: list[int] = []
    stuck_in: Counter[str] = Counter()
    for first in range(0, episodes, simulator.num_envs):
        numbers = range(first, min(first + simulator.num_envs, episodes))
        plans = [plan_episode(simulator.scene, seed, number, max_noise) for number in numbers]
        outcome = run_expert(simulator, plans)
        success.extend(outcome.success_N.tolist())
        steps.extend(outcome.steps_N[outcome.success_N].tolist())
        stuck_in.update(Phase(phase).name.lower() for phase in outcome.phase_N[~outcome.success_N])
        bar.update(len(plans))
    mean_steps = float(np.mean(steps)) if steps else float("nan")
    return TaskScore(simulator.scene.task, sum(success), episodes, mean_steps, dict(stuck_in))
