"""How long a suite's evaluation takes beside LIBERO's own environment, for a policy that answers at once.

    python -m benchmarks.envs.evaluation                       # 500 episodes of LIBERO-Object, all to their horizon
    python -m benchmarks.envs.evaluation --episodes 20 --official-episodes 1

Ours plays every episode. LIBERO's environment plays a few, one after another as its scripts do, and its time is
extrapolated from them. Both run in one process at the same time of day; only their ratio outlives the machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tyro

from tgrpo_envs.assets import find_pack
from tgrpo_envs.bridges.policy import ACTION_SIZE, Seen
from tgrpo_envs.evaluate.play import Finished, play_states
from tgrpo_envs.scene import load_scene, official_states
from tgrpo_envs.scene.build import official_env
from tgrpo_envs.sim.simulator import SETTLE_ACTION, SETTLE_STEPS
from tgrpo_envs.sim.snapshot import FloatArray
from tgrpo_envs.tasks import Task, list_tasks


@dataclass(frozen=True)
class Options:
    """What to measure."""

    suite: str = "libero_object"
    """LIBERO suite."""
    episodes: int = 500
    """Of all its tasks together."""
    official_episodes: int = 2
    """Of its first task in LIBERO's own environment."""
    assets: str = "auto"
    """Asset pack of both."""
    detail: Literal["fast", "exact"] = "exact"
    """How ours draws; LIBERO's pixels are exact."""
    image_size: int = 256
    """Side of both cameras' pictures, pixels."""
    replan_steps: int = 5
    """Control steps that are played of an answer. Ours draws for each answer, LIBERO's at each control step."""
    num_envs: int = 16
    """Episodes side by side in ours."""


class AtOnce:
    """A policy that keeps the arm still and costs nothing, so that every episode lasts to its horizon."""

    def __init__(self, options: Options) -> None:
        self.image_size, self.replan_steps = options.image_size, options.replan_steps
        self.detail: str = options.detail

    def act(self, seen: Seen) -> Sequence[FloatArray]:
        """See `bridges.policy.OutsidePolicy.act`."""
        return [np.zeros((self.replan_steps, ACTION_SIZE))] * len(seen.episodes)

    def end(self, episode: int) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


def ours_s(options: Options, tasks: Sequence[Task]) -> float:
    """Seconds that our evaluation takes, scenes opened from the cache among them."""
    counts = [len(part) for part in np.array_split(np.arange(options.episodes), len(tasks))]
    ended: list[Finished] = []
    start = time.perf_counter()
    for task, count in zip(tasks, counts, strict=True):
        settings = {"suite": task.suite, "task": task.index, "assets": options.assets, "detail": options.detail}
        if count:
            play_states(
                AtOnce(options),
                settings,
                "official",
                [row % 50 for row in range(count)],
                num_envs=options.num_envs,
                first_number=0,
                finished=ended.append,
            )
    seconds = time.perf_counter() - start
    assert [one.record.end for one in ended] == ["horizon"] * options.episodes
    return seconds


def official_s(options: Options, task: Task) -> float:
    """Seconds an episode takes in LIBERO's environment: reset, state, settling, control steps with pictures."""
    states = official_states(load_scene(task, options.assets)).states_NX
    size = options.image_size
    cameras: dict[str, Any] = {
        "camera_heights": size,
        "camera_widths": size,
        "use_camera_obs": True,
        "has_offscreen_renderer": True,
    }
    env = official_env(task, find_pack(options.assets).folder, **cameras)
    start = time.perf_counter()
    for episode in range(options.official_episodes):
        env.reset()
        env.set_init_state(states[episode])
        for _ in range(SETTLE_STEPS + task.horizon):
            env.step(SETTLE_ACTION)
    seconds = time.perf_counter() - start
    env.close()
    return seconds / options.official_episodes


def main(options: Options) -> str:
    """Measure both."""
    tasks = list_tasks(options.suite)
    for task in tasks:
        load_scene(task, options.assets)  # built before the clock starts
    official, ours = official_s(options, tasks[0]), ours_s(options, tasks)
    total, num, played = official * options.episodes, options.episodes, options.official_episodes
    return (
        f"{num} episodes of {options.suite} to their horizon of {tasks[0].horizon} control steps, assets "
        f"{find_pack(options.assets).name}, {options.image_size} px, {os.cpu_count()} cores\n"
        f"ours, detail {options.detail}, {options.replan_steps} control steps an answer: {ours:.0f} s, "
        f"{ours / num:.2f} s an episode\n"
        f"LIBERO's own, one process: {official:.1f} s an episode ({played} played), so {total:.0f} s for "
        f"{num} (extrapolated)\nratio: {total / ours:.1f}"
    )


if __name__ == "__main__":
    print(main(tyro.cli(Options)))  # noqa: T201
