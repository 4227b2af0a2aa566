"""Record the scripted expert's successful episodes as a LIBERO demonstration file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tgrpo_envs.arrays import whole_number
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.expert.hdf5 import DatasetInfo, Demonstration, write_dataset
from tgrpo_envs.expert.plan import own_problem, plan
from tgrpo_envs.expert.rollout import EpisodePlan, check_numbers, run_expert, spread_episodes
from tgrpo_envs.scene import Scene, load_scene
from tgrpo_envs.shared_settings import MAX_PICTURE_PX
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray
from tgrpo_envs.tasks import choose_task

MAX_NOISE = 0.3
BATCH_SIZE = 16
CAMERAS = ("agentview", "wrist")
# Below one success in so many episodes something is wrong with the task, the assets or the noise.
MAX_EPISODES_PER_DEMO = 5


@dataclass(frozen=True)
class RecordingReport:
    """What a recording came to.

    Attributes:
        path: The file written.
        num_demos: Episodes in it.
        num_failures: Episodes that failed on the way and were left out.
        mean_steps: Mean length of the recorded episodes, control steps.
    """

    path: Path
    num_demos: int
    num_failures: int
    mean_steps: float

    def __str__(self) -> str:
        """One line for the terminal."""
        attempts = self.num_demos + self.num_failures
        return (
            f"{self.path}: {self.num_demos} demonstrations of {self.mean_steps:.0f} steps on average; "
            f"the expert solved {self.num_demos}/{attempts} episodes."
        )


def record_demonstrations(
    suite: str,
    task: int | str,
    num_demos: int,
    path: Path,
    *,
    seed: int = 0,
    image_size: int = 128,
    max_noise: float = MAX_NOISE,
    assets: str | Path = "auto",
    num_envs: int = BATCH_SIZE,
    progress: bool = True,
    bddl: str | Path | None = None,
) -> RecordingReport:
    """Record demonstrations of one task in LIBERO's HDF5 format, from training states spread evenly over its regions.

    The file depends on the arguments up to `assets` only: neither on `num_envs` nor on the number of threads.

    Args:
        suite: The task's suite.
        task: Index or name.
        num_demos: Successful episodes to write; failures are left out and counted.
        path: The file to write, e.g. ``demos/alphabet_soup_demo.hdf5``.
        seed: Fixes initial states and noise.
        image_size: Side of the square images, pixels.
        max_noise: Each episode's executed translation is disturbed by noise of standard deviation uniform in
            [0, max_noise] (of the full action); the labels stay clean.
        assets: Name or folder of an asset pack.
        num_envs: Episodes simulated side by side.
        progress: Show a progress bar.
        bddl: A task file of your own, of the suite ``custom``.

    Raises:
        ConfigError: A number out of range, a task the expert cannot do, or hardly
            any success.
        UnknownNameError: No such suite or task.
        AssetError: The asset pack is missing or incomplete.
    """
    check_numbers(max_noise, seed, num_demos=num_demos, num_envs=num_envs)
    whole_number("image_size", image_size, 1, MAX_PICTURE_PX)
    chosen = choose_task(suite, task, bddl)
    plan(chosen.goal, own_problem(chosen))
    scene = load_scene(chosen, assets)
    simulator = Simulator(scene, min(num_envs, num_demos), cameras=CAMERAS, image_size=image_size)
    try:
        with tqdm(total=num_demos, desc="demonstrations", unit="demo", disable=not progress) as bar:
            recording = _Recording(simulator, num_demos, seed, max_noise, image_size, bar)
            lengths = write_dataset(path, _dataset_info(scene, image_size, seed), recording.demonstrations())
    finally:
        simulator.close()
    return RecordingReport(path, len(lengths), recording.num_failures, float(np.mean(lengths)))


@dataclass
class _Recording:
    """The first `num_demos` successes in the order of episode numbers, and the failures among them."""

    simulator: Simulator
    num_demos: int
    seed: int
    max_noise: float
    image_size: int
    bar: tqdm[None]
    num_failures: int = 0

    def demonstrations(self) -> Iterator[Demonstration]:
        """Run batch after batch, yielding successes.

        Raises:
            ConfigError: Hardly any episode succeeds.
        """
        num_done = 0
        episodes = spread_episodes(self.simulator.scene, self.seed, self.max_noise)
        while num_done < self.num_demos:
            number = num_done + self.num_failures
            if number >= MAX_EPISODES_PER_DEMO * (num_done + 1):
                raise ConfigError(
                    f"The expert solved only {num_done} of {number} episodes of {self.simulator.scene.task.name!r} "
                    f"with max_noise={self.max_noise}; lower the noise or choose another task."
                )
            count = min(self.simulator.num_envs, self.num_demos - num_done)
            plans = list(itertools.islice(episodes, count))
            tape = _Tape(self.simulator, self.image_size, self.bar)
            outcome = run_expert(self.simulator, plans, tape.record)
            self.num_failures += int(np.sum(~outcome.success_N))
            for row in np.flatnonzero(outcome.success_N).tolist():
                yield tape.demonstration(row, plans[row])
                num_done += 1
                self.bar.update()


@dataclass
class _Tape:
    """Everything seen and done in one batch of episodes: a list entry per control step, an array row per episode."""

    simulator: Simulator
    image_size: int
    bar: tqdm[None]
    live: list[BoolArray] = field(default_factory=list)
    arrays: dict[str, list[NDArray[Any]]] = field(default_factory=dict)

    def record(self, live_N: BoolArray, expert_NA: FloatArray, executed_NA: FloatArray) -> None:
        """Keep the present state, observation and actions (see `rollout.Watcher`)."""
        simulator, size = self.simulator, self.image_size
        images = {camera: np.zeros((len(live_N), size, size, 3), np.uint8) for camera in CAMERAS}
        simulator.render(images, live_N)
        self.live.append(live_N.copy())
        seen: dict[str, NDArray[Any]] = {
            "actions_TA": executed_NA,
            "expert_actions_TA": expert_NA,
            "states_TX": simulator.get_states().states_NX,
            "grip_pos_T3": simulator.snapshot.gripper_pos_N3.copy(),
            "grip_mat_T33": simulator.snapshot.gripper_mat_N33.copy(),
            "proprio_TP": simulator.proprio_NP.copy(),
            "agentview_THWC": images["agentview"],
            "wrist_THWC": images["wrist"],
        }
        for name, array in seen.items():
            self.arrays.setdefault(name, []).append(array)
        self.bar.set_postfix(step=len(self.live), refresh=False)
        self.bar.update(0)

    def demonstration(self, row: int, plan: EpisodePlan) -> Demonstration:
        """One episode, cut to the steps in which it was live."""
        steps = sum(int(live_N[row]) for live_N in self.live)
        stacked = {name: np.stack([array[row] for array in arrays[:steps]]) for name, arrays in self.arrays.items()}
        return Demonstration(
            **stacked, reset_state_X=plan.init.states_NX[0], fixture_poses_F7=plan.init.fixtures_NF7[0]
        )


def _dataset_info(scene: Scene, image_size: int, seed: int) -> DatasetInfo:
    return DatasetInfo(
        problem_name=scene.problem.name,
        language_instruction=scene.task.instruction,
        bddl_file_name=f"bddl_files/{scene.task.suite}/{scene.task.name}.bddl",
        bddl_file_content=scene.record.bddl,
        image_size=image_size,
        asset_pack=scene.pack_name,
        seed=seed,
    )
