"""Times a control step against its floor: MuJoCo's own 25 substeps from the same states, without a controller."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from tgrpo_envs.sim import control_block
from tgrpo_envs.sim.controller import SUBSTEPS
from tgrpo_envs.sim.init_states import InitStates
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
