"""What an environment costs over its size: members, tasks, picture size and threads, with the physical floor.

    python -m benchmarks.envs.curves --out curves.json --plot docs/images/cost_curves.webp
    python -m benchmarks.envs.curves --numbers curves.json --plot docs/images/cost_curves.webp     # only draw

Everything is processor time of one thread, which a busy machine changes little, or memory. More threads than this
machine has are modelled: whichever thread is free takes the next member of a control step from one queue; a member
holds the interpreter's lock for a part of its time, which is measured, and waits for it where another has it; what is
done for all members at once (reward, observations) comes on top. Memory and caches are as fast for many threads as for
one, and hyper-threads are cores, so the model is an upper bound.
"""

from __future__ import annotations

import copy
import heapq
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import gymnasium as gym
import numpy as np
import tyro
from tqdm import tqdm

from benchmarks.envs.bench import resident_mib
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.files import read_json, write_atomically
from tgrpo_envs.scene import Scene, load_scene, sample_train_states
from tgrpo_envs.sim import control_block
from tgrpo_envs.sim.controller import SUBSTEPS
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.pictures import CAMERAS
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import FloatArray
from tgrpo_envs.tasks import get_task, list_tasks

MEMBERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SIZES_PX = (32, 64, 128, 256, 512)
TASKS = (1, 2, 5, 10, 20, 40, 80, 130)
THREADS = (1, 2, 4, 8, 16, 32)
MODELLED_MEMBERS = (8, 64)
ROUNDS = 8
PICTURE_ROUNDS = 12
CHUNK = 8
"""Control steps of a decision in the model of threads, as in the quickstart: pictures are drawn after the last."""
_ENDS = -1.0
"""In the model of threads: nothing is left to do without the lock."""


@dataclass
class Curves:
    """Points of each curve: what was varied, and what was measured."""

    step_ms: dict[int, float] = field(default_factory=dict)
    """Members to processor time of a member's control step, without pictures, milliseconds."""
    floor_ms: dict[int, float] = field(default_factory=dict)
    """Members to that of MuJoCo's 25 substeps from the same states."""
    members_mib: dict[int, float] = field(default_factory=dict)
    """Members to what they add to the process, MiB."""
    tasks_mib: dict[int, float] = field(default_factory=dict)
    """Tasks to what their scenes add, one member each with two pictures, MiB."""
    tasks_s: dict[int, float] = field(default_factory=dict)
    """Tasks to the processor time in which they are opened, reset and first drawn, seconds."""
    fast_ms: dict[int, float] = field(default_factory=dict)
    """Pixels a side to two pictures of detail fast, milliseconds."""
    exact_ms: dict[int, float] = field(default_factory=dict)
    """The same of detail exact."""
    speedup: dict[str, dict[int, float]] = field(default_factory=dict)
    """What the model says, by its label: threads to control steps per second, against one thread."""


@dataclass(frozen=True)
class Options:
    """What to measure, and where to write it."""

    suite: str = "libero_object"
    """LIBERO suite of the scene; the curve over tasks takes all 130."""
    task: int = 0
    """Task of the scene."""
    assets: str = "primitive"
    """Asset pack. Scenes that were never opened are built, at some six seconds each."""
    parts: tuple[Literal["members", "pictures", "threads", "tasks"], ...] = ("members", "pictures", "threads", "tasks")
    """Curves to measure."""
    out: Path | None = None
    """File for the numbers."""
    numbers: Path | None = None
    """Numbers of an earlier run, to draw in place of measuring."""
    plot: Path | None = None
    """Picture to draw, such as curves.webp; its numbers' second half goes beside it."""


def measure(options: Options) -> Curves:
    """Measure the parts that are asked for; some three minutes of processor time with all of them."""
    curves = Curves()
    if "tasks" in options.parts:  # first: memory that other parts have freed would be used again
        _tasks(options.assets, curves)
    scene = load_scene(get_task(options.suite, options.task), options.assets)
    if "members" in options.parts:
        for num_envs in tqdm(MEMBERS, desc="Members", disable=None):
            _members(scene, num_envs, curves)
    if "pictures" in options.parts:
        for size in tqdm(SIZES_PX, desc="Pictures", disable=None):
            curves.fast_ms[size] = _two_pictures_ms(scene, size, "fast")
            curves.exact_ms[size] = _two_pictures_ms(scene, size, "exact")
    if "threads" in options.parts:
        locked_s = _locked_seconds(scene)
        for num_envs in tqdm(MODELLED_MEMBERS, desc="Threads", disable=None):
            shared_s = max(_decision_seconds(options, num_envs) - CHUNK * num_envs * locked_s, 0.0)
            for pictures in (False, True):
                label = f"{num_envs} members, {'two pictures a decision' if pictures else 'no pictures'}"
                seconds_DCN = _member_seconds(scene, num_envs, pictures=pictures)
                curves.speedup[label] = _modelled(seconds_DCN, locked_s, shared_s)
    return curves


def _members(scene: Scene, num_envs: int, curves: Curves) -> None:
    """Control steps of N members and, in turn, MuJoCo alone from the same states."""
    before_mib = resident_mib()
    simulator, mask_N = _simulator(scene, num_envs), np.ones(num_envs, dtype=bool)
    actions_RNA = np.random.default_rng(1).uniform(-1, 1, (1 + ROUNDS, num_envs, 7))
    simulator.step(actions_RNA[0], mask_N)
    curves.members_mib[num_envs] = resident_mib() - before_mib
    model = copy.copy(simulator.thread_models[0])
    floor_data = mujoco.MjData(model)
    step_s, floor_s = [], []
    for actions_NA in actions_RNA[1:]:
        floor = 0.0
        for data in simulator.datas:
            control_block.copy_data(model, data, floor_data)
            floor_data.userdata[:] = 0.0  # no mark, so the controller leaves it alone
            floor += _seconds(lambda: mujoco.mj_step(model, floor_data, SUBSTEPS))
        floor_s.append(floor)
        step_s.append(_seconds(lambda actions_NA=actions_NA: simulator.step(actions_NA, mask_N)))  # type: ignore[misc]
    simulator.close()
    curves.step_ms[num_envs] = 1e3 * float(np.median(step_s)) / num_envs
    curves.floor_ms[num_envs] = 1e3 * float(np.median(floor_s)) / num_envs


def _two_pictures_ms(scene: Scene, size: int, detail: Literal["fast", "exact"]) -> float:
    simulator = _simulator(scene, 1, cameras=tuple(CAMERAS), image_size=size, detail=detail)
    images = {camera: np.zeros((1, size, size, 3), np.uint8) for camera in CAMERAS}
    mask_N = np.ones(1, dtype=bool)
    simulator.render(images, mask_N)  # the first makes pyramids of textures
    seconds = [_seconds(lambda: simulator.render(images, mask_N)) for _ in range(PICTURE_ROUNDS)]
    simulator.close()
    return 1e3 * float(np.median(seconds))


def _tasks(assets: str, curves: Curves) -> None:
    """All tasks one after the other in this process, all kept open."""
    before_mib, opened, spent_s = resident_mib(), [], 0.0
    for number, task in enumerate(tqdm(list_tasks(), desc="Tasks", disable=None), 1):
        load_scene(task, assets)  # built if it never was; then it is opened as a later process would
        start = time.process_time()
        simulator = _simulator(load_scene(task, assets), 1, cameras=tuple(CAMERAS))
        simulator.render({name: np.zeros((1, 128, 128, 3), np.uint8) for name in CAMERAS}, np.ones(1, dtype=bool))
        spent_s += time.process_time() - start
        opened.append(simulator)
        if number in TASKS:
            curves.tasks_mib[number], curves.tasks_s[number] = resident_mib() - before_mib, spent_s
    for simulator in opened:
        simulator.close()


def _modelled(seconds_DCN: FloatArray, locked_s: float, shared_s: float) -> dict[int, float]:
    """Threads to the speed of whole decisions against one thread's, by the model of this module.

    Args:
        seconds_DCN: Of each member's control steps, in D decisions of C.
        locked_s: Of each of them, what passes under the interpreter's lock.
        shared_s: Of a decision, what one thread does for all members.
    """
    mean_s = {
        threads: shared_s
        + sum(makespan(c_N, threads, locked_s) for d_CN in seconds_DCN for c_N in d_CN) / len(seconds_DCN)
        for threads in THREADS
    }
    return {threads: mean_s[1] / mean_s[threads] for threads in THREADS}


def makespan(seconds_N: Sequence[float], threads: int, locked_s: float = 0.0) -> float:
    """When the last of N items is done that so many threads take from one queue.

    Args:
        seconds_N: How long each item takes alone, in the queue's order.
        threads: How many there are.
        locked_s: Of each item's time, what passes under a lock that they share: half at its begin, half at its end.
    """
    lock_free_s, waiting = 0.0, list(seconds_N[threads:])[::-1]
    # Who asks for the lock: when, the thread, and what it will do without the lock before it asks again.
    asking = [(0.0, thread, seconds - locked_s) for thread, seconds in enumerate(seconds_N[:threads])]
    while asking:
        when, thread, left = heapq.heappop(asking)
        lock_free_s = max(when, lock_free_s) + locked_s / 2
        if left != _ENDS:
            heapq.heappush(asking, (lock_free_s + left, thread, _ENDS))
        elif waiting:
            heapq.heappush(asking, (lock_free_s, thread, waiting.pop() - locked_s))
    return lock_free_s


def _locked_seconds(scene: Scene) -> float:
    """What a member's control step takes without MuJoCo's 25 substeps, in which the interpreter's lock is free."""
    simulator, mask_N, action_1A = _simulator(scene, 1), np.ones(1, dtype=bool), np.zeros((1, 7))
    with mock.patch.object(mujoco, "mj_step", return_value=None):
        seconds = [_seconds(lambda: simulator.step(action_1A, mask_N)) for _ in range(20 * ROUNDS)]
    simulator.close()
    return float(np.median(seconds))


def _member_seconds(scene: Scene, num_envs: int, *, pictures: bool) -> FloatArray:
    """(D, C, N) processor time of each member's control steps in D decisions of C, pictures with the last."""
    members = [_simulator(scene, 1, seed=row, cameras=tuple(CAMERAS) if pictures else ()) for row in range(num_envs)]
    images = {name: np.zeros((1, 128, 128, 3), np.uint8) for name in CAMERAS} if pictures else None
    mask_N, rng = np.ones(1, dtype=bool), np.random.default_rng(2)
    for member in members:
        member.step(np.zeros((1, 7)), mask_N, images)
    seconds_DCN = np.zeros((ROUNDS // 2, CHUNK, num_envs))
    for d, c, n in np.ndindex(*seconds_DCN.shape):
        action_1A, drawn = rng.uniform(-1, 1, (1, 7)), images if c == CHUNK - 1 else None
        seconds_DCN[d, c, n] = _seconds(lambda: members[n].step(action_1A, mask_N, drawn))  # noqa: B023
    for member in members:
        member.close()
    return seconds_DCN


def _decision_seconds(options: Options, num_envs: int) -> float:
    """What a decision of the whole environment takes on one thread without MuJoCo's substeps and pictures."""
    camel = "".join(word.capitalize() for word in options.suite.split("_"))
    chosen: dict[str, Any] = {
        "task": options.task,
        "assets": options.assets,
        "action_chunk": CHUNK,
        "num_threads": 1,
        "detail": "off",
    }
    envs = gym.make_vec(f"tgrpo_envs:TGRPO-{camel}-v0", num_envs=num_envs, **chosen)
    envs.reset(seed=0)
    actions_NCA = np.zeros((num_envs, CHUNK, 7), dtype=np.float32)
    with mock.patch.object(mujoco, "mj_step", return_value=None):
        seconds = [_seconds(lambda: envs.step(actions_NCA)) for _ in range(4 * ROUNDS)]
    envs.close()
    return float(np.median(seconds))


def _simulator(scene: Scene, num_envs: int, *, seed: int = 0, **settings: object) -> Simulator:
    """On one thread, settled: of many members all begin with one state, which is settled once."""
    simulator = Simulator(scene, num_envs, num_threads=1, **settings)  # type: ignore[arg-type]
    states = sample_train_states(scene, np.random.default_rng(seed), 1)
    simulator.reset(states.take(np.zeros(num_envs, dtype=np.int64)), np.ones(num_envs, dtype=bool))
    return simulator


def _seconds(function: Callable[[], object]) -> float:
    """Processor time of the whole process: a software renderer has threads of its own."""
    start = time.process_time()
    function()
    return time.process_time() - start


def load(path: Path) -> Curves:
    """Numbers that an earlier run wrote.

    Raises:
        ConfigError: The file holds none.
    """
    try:
        found = read_json(path)
        speedup = {label: {int(x): y for x, y in points.items()} for label, points in found.pop("speedup").items()}
        return Curves(
            **{name: {int(x): y for x, y in points.items()} for name, points in found.items()}, speedup=speedup
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} holds no numbers of this command ({error}); write them with --out.") from error


def main(options: Options) -> None:
    """Measure or read, write, draw, and print."""
    curves = load(options.numbers) if options.numbers else measure(options)
    text = json.dumps(asdict(curves), indent=1)
    if options.out is not None:
        write_atomically(options.out, text + "\n")
    if options.plot is not None:
        from benchmarks.envs.curves_plot import draw

        draw(curves, options.plot)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
