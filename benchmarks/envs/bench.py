"""Measures the engine: control steps against their floor and against LIBERO's own environment, resets, pictures.

Ratios are taken between things measured side by side in one run, since a machine's speed changes by the minute.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.envs.timing import step_and_floor_seconds, thread_seconds
from benchmarks.table import Measurement, as_text, save_json
from tgrpo_envs.assets import AssetPack, find_pack
from tgrpo_envs.errors import AssetError
from tgrpo_envs.rewards import CreditProfile, StageSpec, StageTracker, choose_spec
from tgrpo_envs.rewards.shipped import spec_path
from tgrpo_envs.scene import Scene, load_scene, official_states, sample_train_states
from tgrpo_envs.scene.build import official_env
from tgrpo_envs.sim.pictures import CAMERAS
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.success import goal_truth
from tgrpo_envs.tasks import Task, get_task

NUM_ENVS = 8
SCALES = (1, 8, 32, 128)  # environments
SCALE_ROUNDS = 6
MEMORY_ENVS = 32
PIXEL_SCALES = (1, 32, 128)  # environments
STEPS = 150
OFFICIAL_STEPS = 30
PICTURE_ROUNDS = 10
IMAGE_SIZES = (64, 128)
OFFICIAL_IMAGE_SIZE = 128
OFFICIAL_CAMERAS: dict[str, Any] = {
    "has_offscreen_renderer": True,
    "use_camera_obs": True,
    "camera_heights": OFFICIAL_IMAGE_SIZE,
    "camera_widths": OFFICIAL_IMAGE_SIZE,
}
# Rows that others are compared with
_OPEN = "open a scene from the cache"
_ALONE = "control step, state only"
_RESET = "reset to a state, settled, each of a group of 8"
_BOTH = f"step and 2 pictures, {OFFICIAL_IMAGE_SIZE} px"


def run_bench(
    suite: str = "libero_object",
    task: int | str = 0,
    assets: str = "auto",
    *,
    official: bool = True,
    out: Path | None = None,
) -> str:
    """Measure one task's scene, as the command `bench` says; about a minute."""
    chosen = get_task(suite, task)
    scene = load_scene(chosen, assets)
    make_seconds, scene = timed(lambda: load_scene(chosen, assets))
    rows = [Measurement(_OPEN, 1e3 * make_seconds, "ms", "<= 500")]
    rows += _control_steps(scene)
    rows += _resets(scene)
    rows += _threads(scene)
    rows += _scaling(scene)
    rows += _memory(scene)
    rows += _rewards(scene)
    rows += [row for size in IMAGE_SIZES for row in _pictures(scene, size)]
    rows += [row for num_envs in PIXEL_SCALES for row in _pixels(scene, num_envs)]
    if official:
        rows += _official(chosen, scene, assets, rows)
    facts = {"suite": suite, "task": chosen.name, "assets": scene.pack_name, "cores": os.cpu_count()}
    facts |= {"python": platform.python_version(), **scene.record.versions}
    if out is not None:
        save_json(out, facts, rows)
    return as_text(facts, rows)


def _control_steps(scene: Scene) -> list[Measurement]:
    actions_TA = np.random.default_rng(0).uniform(-1, 1, (STEPS, 7))
    ours_T, floor_T = step_and_floor_seconds(scene, official_states(scene).take(np.array([0])), actions_TA)
    return [
        Measurement(_ALONE, 1e3 * float(np.median(ours_T)), "ms"),
        Measurement("its floor, mj_step(nstep=25)", 1e3 * float(np.median(floor_T)), "ms"),
        Measurement("control step / floor, median of pairs", float(np.median(ours_T / floor_T)), "x", "<= 1.3"),
    ]


def _resets(scene: Scene) -> list[Measurement]:
    """One fresh state for each member, then one state for a whole group."""
    mask_N = np.ones(NUM_ENVS, dtype=bool)
    states = sample_train_states(scene, np.random.default_rng(0), NUM_ENVS)
    draw_seconds, _ = timed(lambda: sample_train_states(scene, np.random.default_rng(0), NUM_ENVS))
    simulator = Simulator(scene, NUM_ENVS)
    simulator.reset(states, mask_N)
    fresh, _ = timed(lambda: simulator.reset(states, mask_N))
    group, _ = timed(lambda: simulator.reset(states.take(np.zeros(NUM_ENVS, dtype=np.int64)), mask_N))
    shown, _ = timed(lambda: simulator.reset(states, mask_N, settle=False))
    simulator.close()
    each = 1e3 / NUM_ENVS
    return [
        Measurement("draw an initial state", each * draw_seconds, "ms"),
        Measurement("reset to a state, settled, each of 8", each * fresh, "ms"),
        Measurement(_RESET, each * group, "ms", "<= 5"),
        Measurement("reset to a recorded state, unsettled, each of 8", each * shown, "ms", "<= 5"),
    ]


def _threads(scene: Scene) -> list[Measurement]:
    """Two threads against one on the same actions, beside what MuJoCo alone gains from the second."""
    states = sample_train_states(scene, np.random.default_rng(0), NUM_ENVS)
    actions_TNA = np.random.default_rng(1).uniform(-1, 1, (STEPS // 5, NUM_ENVS, 7))
    (one_T, two_T), (floor_one_T, floor_two_T) = thread_seconds(scene, states, actions_TNA)
    return [
        Measurement("control steps per second, 8 environments, 2 threads", NUM_ENVS / float(np.median(two_T)), "1/s"),
        Measurement("2 threads / 1 thread, median of pairs", float(np.median(one_T / two_T)), "x", ">= 1.9"),
        Measurement("the same of mj_step(nstep=25) alone", float(np.median(floor_one_T / floor_two_T)), "x"),
    ]


def _scaling(scene: Scene) -> list[Measurement]:
    """Control steps per second over the number of environments and of threads."""
    rows = []
    for num_envs in SCALES:
        mask_N = np.ones(num_envs, dtype=bool)
        states = sample_train_states(scene, np.random.default_rng(0), 1).take(np.zeros(num_envs, dtype=np.int64))
        for threads in sorted({1, min(num_envs, os.cpu_count() or 1)}):
            simulator = Simulator(scene, num_envs, num_threads=threads)
            simulator.reset(states, mask_N)
            actions_TNA = np.random.default_rng(1).uniform(-1, 1, (SCALE_ROUNDS, num_envs, 7))
            seconds = [timed(partial(simulator.step, actions_NA, mask_N))[0] for actions_NA in actions_TNA]
            simulator.close()
            what = f"control steps per second, N = {num_envs}, {threads} thread{'s' * (threads > 1)}"
            rows.append(Measurement(what, num_envs / float(np.median(seconds)), "1/s"))
    return rows


def _memory(scene: Scene) -> list[Measurement]:
    """What further environments of one simulator add to the process, once they have stepped."""
    resident = []
    states = sample_train_states(scene, np.random.default_rng(0), 1)
    simulators = []  # alive until all is measured: freed memory is not given back to the system
    for num_envs in (1, 1 + MEMORY_ENVS):
        before = resident_mib()
        simulator = Simulator(scene, num_envs)
        mask_N = np.ones(num_envs, dtype=bool)
        simulator.reset(states.take(np.zeros(num_envs, dtype=np.int64)), mask_N)
        simulator.step(np.zeros((num_envs, 7)), mask_N)
        resident.append(resident_mib() - before)
        simulators.append(simulator)
    for simulator in simulators:
        simulator.close()
    return [
        Measurement("memory of each further environment", (resident[1] - resident[0]) / MEMORY_ENVS, "MiB", "<= 20")
    ]


def _rewards(scene: Scene) -> list[Measurement]:
    """Stage reward and success beside the physics of the same control steps, by processor time.

    A step is ten milliseconds and its reward a tenth of one: on a busy machine the clock would mostly count other
    processes, and in the step rather than in the reward.
    """
    specs = {"the goal's template": choose_spec("sparse", scene.problem, scene.task)}
    if spec_path(scene.task, "llm").is_file():
        specs["a language model"] = choose_spec("llm", scene.problem, scene.task)
    what = "stage reward and success, share of a step, N = 8, 1 thread, stages of"
    return [Measurement(f"{what} {who}", _reward_share(scene, spec), "%", "<= 3") for who, spec in specs.items()]


def _reward_share(scene: Scene, spec: StageSpec) -> float:
    tracker = StageTracker(spec, CreditProfile(), scene.layout, NUM_ENVS, scene.task.horizon)
    simulator = Simulator(scene, NUM_ENVS, num_threads=1)  # which steps in this thread
    mask_N, steps_N = np.ones(NUM_ENVS, dtype=bool), np.zeros(NUM_ENVS, dtype=np.int64)
    simulator.reset(sample_train_states(scene, np.random.default_rng(0), NUM_ENVS), mask_N)
    snapshot = simulator.snapshot
    tracker.reset(snapshot, goal_truth(scene.goal, scene.layout, snapshot), mask_N)
    shares = []
    for actions_NA in np.random.default_rng(1).uniform(-1, 1, (STEPS // 5, NUM_ENVS, 7)):
        start = time.thread_time()
        simulator.step(actions_NA, mask_N)
        middle = time.thread_time()
        tracker.step(snapshot, goal_truth(scene.goal, scene.layout, snapshot), mask_N, steps_N)
        shares.append(100 * (time.thread_time() - middle) / (middle - start))
    simulator.close()
    return float(np.median(shares))


def _pictures(scene: Scene, size: int) -> list[Measurement]:
    """Pictures of both cameras for 8 environments on two threads, alone and with a control step each."""
    mask_N = np.ones(NUM_ENVS, dtype=bool)
    simulator = Simulator(scene, NUM_ENVS, num_threads=2, cameras=tuple(CAMERAS), image_size=size)
    simulator.reset(sample_train_states(scene, np.random.default_rng(0), NUM_ENVS), mask_N)
    images = {camera: np.zeros((NUM_ENVS, size, size, 3), np.uint8) for camera in CAMERAS}
    first, _ = timed(lambda: simulator.render(images, mask_N))
    drawing = [timed(lambda: simulator.render(images, mask_N))[0] for _ in range(PICTURE_ROUNDS)]
    simulator.close()
    return [
        Measurement(f"pictures per second, {size} px, 2 threads", 2 * NUM_ENVS / float(np.median(drawing)), "1/s"),
        Measurement(f"first picture, {size} px", 1e3 * first, "ms"),
        Measurement(f"step and 2 pictures, {size} px, 1 thread", 1e3 * _step_and_draw(scene, size, 1), "ms"),
        Measurement(f"step and 2 pictures, {size} px", 1e3 * _step_and_draw(scene, size, None), "ms"),
    ]


def _step_and_draw(scene: Scene, size: int, threads: int | None) -> float:
    """Seconds of a single environment's step, on one thread or as it comes."""
    single, mask_N = Simulator(scene, 1, num_threads=threads, cameras=tuple(CAMERAS), image_size=size), np.ones(1, bool)
    single.reset(official_states(scene).take(np.array([0])), mask_N)
    images = {camera: np.zeros((1, size, size, 3), np.uint8) for camera in CAMERAS}

    def step_and_draw() -> None:
        single.step(np.zeros((1, 7)), mask_N, images)

    step_and_draw()
    both = [timed(step_and_draw)[0] for _ in range(3 * PICTURE_ROUNDS)]
    single.close()
    return float(np.median(both))


def _pixels(scene: Scene, num_envs: int) -> list[Measurement]:
    """Environment steps with two pictures on all cores, against drawing the same pictures and nothing else."""
    mask_N, size = np.ones(num_envs, dtype=bool), OFFICIAL_IMAGE_SIZE
    simulator = Simulator(scene, num_envs, cameras=tuple(CAMERAS), image_size=size)
    simulator.reset(sample_train_states(scene, np.random.default_rng(0), num_envs), mask_N)
    images = {camera: np.zeros((num_envs, size, size, 3), np.uint8) for camera in CAMERAS}
    actions_NA = np.random.default_rng(1).uniform(-1, 1, (num_envs, 7))
    simulator.render(images, mask_N)  # the first makes pyramids of textures
    stepping, drawing = [], []
    for _ in range(PICTURE_ROUNDS):
        stepping.append(timed(partial(simulator.step, actions_NA, mask_N))[0])
        drawing.append(timed(partial(simulator.render, images, mask_N))[0])
    simulator.close()
    draw = float(np.median(drawing))
    both = draw + float(np.median(stepping))
    what = f"steps with 2 pictures per second, {size} px, N = {num_envs}, all cores"
    return [
        Measurement(what, num_envs / both, "1/s"),
        Measurement(f"drawing alone takes of that, N = {num_envs}", 100 * draw / both, "%"),
    ]


def _official(task: Task, scene: Scene, assets: str, rows: list[Measurement]) -> list[Measurement]:
    """LIBERO's environment as it ships beside ours: on the same assets, and on its own where ours are primitive."""
    ours_ms = _value(rows, _BOTH)
    alone = _official_steps(task, scene, find_pack(assets), {})
    drawn = _official_steps(task, scene, find_pack(assets), OFFICIAL_CAMERAS)
    found = [
        Measurement(f"LIBERO: {what}, {name}", 1e3 * seconds, "ms")
        for name, times in (("state only", alone), (f"2 pictures, {OFFICIAL_IMAGE_SIZE} px", drawn))
        for what, seconds in zip(("make", "reset", "control step"), times, strict=True)
    ]
    goal = "" if scene.pack_name == "primitive" else ">= 10"
    found += [
        Measurement(f"LIBERO / ours, {OFFICIAL_IMAGE_SIZE} px", 1e3 * drawn[2] / ours_ms, "x", goal),
        Measurement("LIBERO / ours, control step, state only", 1e3 * alone[2] / _value(rows, _ALONE), "x"),
        Measurement("LIBERO / ours, make", 1e3 * alone[0] / _value(rows, _OPEN), "x"),
        Measurement("LIBERO / ours, reset, state only", 1e3 * alone[1] / _value(rows, _RESET), "x"),
    ]
    if scene.pack_name == "primitive" and (own := _libero_pack()) is not None:
        times = _official_steps(task, scene, own, OFFICIAL_CAMERAS)
        what = f"LIBERO on its own assets / ours, {OFFICIAL_IMAGE_SIZE} px"
        found.append(Measurement(what, 1e3 * times[2] / ours_ms, "x", ">= 20"))
    return found


def _libero_pack() -> AssetPack | None:
    try:
        return find_pack("libero")
    except AssetError:
        return None


def _official_steps(task: Task, scene: Scene, pack: AssetPack, settings: dict[str, Any]) -> tuple[float, float, float]:
    """Seconds in which LIBERO's environment is made, reset to an official state, and stepped."""
    start = time.perf_counter()
    env = official_env(task, pack.folder, **settings)
    made = time.perf_counter()
    env.reset()
    env.set_init_state(official_states(scene).states_NX[0])
    reset = time.perf_counter()
    actions_TA = np.random.default_rng(0).uniform(-1, 1, (OFFICIAL_STEPS, 7))
    seconds = [timed(partial(env.step, action_A))[0] for action_A in actions_TA]
    env.close()
    return made - start, reset - made, float(np.median(seconds))


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def resident_mib() -> float:
    """Memory of this process that is in use, from Linux's own account."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _value(rows: list[Measurement], what: str) -> float:
    return next(row.value for row in rows if row.what == what and row.value is not None)
