"""Times control steps against their floor: MuJoCo's own 25 substeps from the same states, without a controller."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING

import numpy as np

from tgrpo_envs.sim import control_block
from tgrpo_envs.sim.controller import SUBSTEPS
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.init_states import InitStates
from tgrpo_envs.sim.pool import WorkerPool
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import FloatArray

if TYPE_CHECKING:
    from tgrpo_envs.scene.scene import Scene

_DEFAULT_TOLERANCE = 1e-8  # MuJoCo's, which LIBERO leaves as it is


def step_and_floor_seconds(scene: Scene, init: InitStates, actions_TA: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Wall time of each control step and of its floor, one after the other so that both meet the same machine.

    Args:
        scene: The scene.
        init: One state.
        actions_TA: (T, 7) actions.

    Returns:
        Seconds of `Simulator.step` with one environment, and of ``mj_step(model, data, 25)`` from the same state with
        the torques of the step before; (T,) each.
    """
    simulator = Simulator(scene, 1, num_threads=1)
    mask_N = np.ones(1, dtype=bool)
    simulator.reset(init, mask_N)
    model = copy.copy(simulator.thread_models[0])
    model.opt.tolerance = _DEFAULT_TOLERANCE
    data = simulator.datas[0]
    floor_data = mujoco.MjData(model)
    seconds_2T = np.zeros((2, len(actions_TA)))
    for step, action_A in enumerate(actions_TA):
        control_block.copy_data(model, data, floor_data)
        floor_data.userdata[:] = 0.0  # no mark, so the controller leaves it alone
        start = time.perf_counter()
        mujoco.mj_step(model, floor_data, SUBSTEPS)
        middle = time.perf_counter()
        simulator.step(action_A[None], mask_N)
        seconds_2T[:, step] = time.perf_counter() - middle, middle - start
    simulator.close()
    return seconds_2T[0], seconds_2T[1]


def thread_seconds(scene: Scene, init: InitStates, actions_TNA: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Wall time of one thread and of two, for control steps and for MuJoCo alone, side by side.

    Args:
        scene: The scene.
        init: N states.
        actions_TNA: (T, N, 7) actions.

    Returns:
        Seconds of `Simulator.step`, and of ``mj_step(model, data, 25)`` for N copies of the states before it, each
        (2, T) for one and two threads. What MuJoCo alone gains from the second thread, no step can exceed by much.
    """
    num_envs = actions_TNA.shape[1]
    mask_N = np.ones(num_envs, dtype=bool)
    simulators = [Simulator(scene, num_envs, num_threads=threads) for threads in (1, 2)]
    for simulator in simulators:
        simulator.reset(init, mask_N)
    models = [copy.copy(model) for model in simulators[1].thread_models]
    datas = [mujoco.MjData(models[0]) for _ in range(num_envs)]
    pools = [WorkerPool(threads) for threads in (1, 2)]

    def advance(worker: int, row: int) -> None:
        mujoco.mj_step(models[worker], datas[row], SUBSTEPS)

    ours_2T, floor_2T = np.zeros((2, 2, len(actions_TNA)))
    for t, actions_NA in enumerate(actions_TNA):
        for i, (simulator, pool) in enumerate(zip(simulators, pools, strict=True)):
            for source, data in zip(simulator.datas, datas, strict=True):
                control_block.copy_data(models[0], source, data)
                data.userdata[:] = 0.0  # no mark, so the controller leaves it alone
            start = time.perf_counter()
            pool.map(advance, range(num_envs))
            middle = time.perf_counter()
            simulator.step(actions_NA, mask_N)
            ours_2T[i, t], floor_2T[i, t] = time.perf_counter() - middle, middle - start
    for simulator, pool in zip(simulators, pools, strict=True):
        simulator.close()
        pool.close()
    return ours_2T, floor_2T
