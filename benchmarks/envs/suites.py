"""How many times as fast as LIBERO's own environment, with two pictures: the first task of each suite, on both packs.

LIBERO's pictures are drawn by OpenGL in software, on all cores; as it comes, one environment of ours draws its two
cameras side by side.

python -m benchmarks.envs.suites          needs LIBERO's meshes; a minute, on a machine that does nothing else
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import tyro
from tqdm import tqdm

from benchmarks.envs.bench import OFFICIAL_CAMERAS, OFFICIAL_IMAGE_SIZE, timed
from tgrpo_envs.assets import find_pack
from tgrpo_envs.scene import Scene, load_scene, official_states
from tgrpo_envs.scene.build import official_env
from tgrpo_envs.sim.pictures import CAMERAS
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.tasks import SUITES, Task, get_task
from tgrpo_envs.text_table import markdown

BLOCKS, STEPS = 4, 10  # of control steps, ours and LIBERO's in turn
ACTIONS_TA = np.random.default_rng(0).uniform(-1, 1, (BLOCKS * STEPS, 7))
ONE = np.ones(1, dtype=bool)
LIBERO = "LIBERO"


def step_milliseconds(task: Task) -> dict[str, float]:
    """Median of a control step with two pictures: LIBERO's on its own pack, ours by pack and number of threads."""
    env = official_env(task, find_pack("libero").folder, **OFFICIAL_CAMERAS)
    env.reset()
    scenes = {pack: load_scene(task, pack) for pack in ("libero", "primitive")}
    env.set_init_state(official_states(scenes["libero"]).states_NX[0])
    simulators = {
        f"{pack} pack, {name}": _simulator(scene, threads)
        for pack, scene in scenes.items()
        for name, threads in (("one thread", 1), ("as it comes", None))
    }
    steps: dict[str, Callable[[int], object]] = {LIBERO: lambda row: env.step(ACTIONS_TA[row])}
    for name, simulator in simulators.items():
        steps[name] = partial(_step, simulator, _images())
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for block in range(BLOCKS):
        for name, step in steps.items():
            seconds[name] += [timed(partial(step, block * STEPS + row))[0] for row in range(STEPS)]
    env.close()
    for simulator in simulators.values():
        simulator.close()
    return {name: 1e3 * float(np.median(values)) for name, values in seconds.items()}


def _simulator(scene: Scene, threads: int | None) -> Simulator:
    simulator = Simulator(scene, 1, num_threads=threads, cameras=tuple(CAMERAS), image_size=OFFICIAL_IMAGE_SIZE)
    simulator.reset(official_states(scene).take(np.array([0])), ONE)
    return simulator


def _images() -> dict[str, np.ndarray]:
    return {camera: np.zeros((1, OFFICIAL_IMAGE_SIZE, OFFICIAL_IMAGE_SIZE, 3), np.uint8) for camera in CAMERAS}


def _step(simulator: Simulator, images: dict[str, np.ndarray], row: int) -> None:
    simulator.step(ACTIONS_TA[row : row + 1], ONE, images)


def main() -> None:
    """Measure, and print a table."""
    rows = {suite: step_milliseconds(get_task(suite, 0)) for suite in tqdm(SUITES, unit="suite", disable=None)}
    lines = [["suite, task 0", *next(iter(rows.values()))]]
    for suite, found in rows.items():
        libero = found.pop(LIBERO)
        lines.append([suite, f"{libero:.0f} ms", *(f"{ms:.2f} ms, {libero / ms:.1f} x" for ms in found.values())])
    sys.stdout.write(markdown(lines) + "\n")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
