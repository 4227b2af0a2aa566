"""How far LIBERO's own trajectory moves when an input changes in its last bit: the yardstick of parity.

Two simulators that compute the same physics in another order differ by rounding, 1e-16. Most scenes keep that small.
Some amplify it: a contact opens in one run and not in the other, and within a control step the two are 1e-6 or more
apart, both of them right. Where LIBERO leaves its own trajectory like that, nothing but the same bits can stay on it,
and a difference says nothing about the physics. So a difference of ours is held against LIBERO's own (`own_errors`),
and every control step is also taken from LIBERO's own state, where what earlier steps amplified is gone
(`single_steps`). What is left is not rounding but the solver's: robosuite solves the contacts of a substep three times
to a coarse tolerance, ours once to a fine one. `robosuite_solver_errors` solves as robosuite does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tgrpo_envs.parity.side_by_side import ONE, Pair
from tgrpo_envs.sim.control_block import step_as_robosuite
from tgrpo_envs.sim.init_states import InitStates
from tgrpo_envs.sim.simulator import SETTLE_ACTION, SETTLE_STEPS
from tgrpo_envs.sim.snapshot import FloatArray

TRANSLATION = slice(0, 3)
"""Of an action. The rotation stays as it is: robosuite keeps or replaces its goal rotation by whether it is zero."""

Run = tuple[InitStates, FloatArray]
"""Where a run starts, one row, and its actions (T, 7) after settling."""


def own_errors(pair: Pair, run: Run, path_TX: FloatArray) -> FloatArray:
    """Largest differences of time, qpos and qvel, LIBERO with a last bit changed against LIBERO without.

    Args:
        pair: LIBERO's environment is used, ours is left alone.
        run: The unchanged run.
        path_TX: (T, X) LIBERO's states after each of its actions.

    Returns:
        (C, T): for each of `changed_runs`, after each action.
    """
    changed = [np.array(list(own_states(pair, one))) for one in changed_runs(run, pair.scene.model.nq)]
    errors_CT: FloatArray = np.abs(np.array(changed) - path_TX).max(axis=2)
    return errors_CT


def changed_runs(run: Run, nq: int) -> tuple[Run, Run]:
    """The run with every translation moved to the next larger number, and with every coordinate of its start."""
    init, actions_TA = run
    changed_TA, states_NX = actions_TA.copy(), init.states_NX.copy()
    changed_TA[:, TRANSLATION] = np.nextafter(actions_TA[:, TRANSLATION], np.inf)
    states_NX[:, 1 : 1 + nq] = np.nextafter(states_NX[:, 1 : 1 + nq], np.inf)
    return (init, changed_TA), (InitStates(states_NX, init.fixtures_NF7), actions_TA)


def own_states(pair: Pair, run: Run) -> Iterator[FloatArray]:
    """LIBERO's states (X,) after each action of a run."""
    init, actions_TA = run
    pair.reset_official(init, settle=True)
    for action_A in actions_TA:
        pair.official.step(action_A)
        yield pair.official.get_sim_state()


def single_steps(pair: Pair, run: Run) -> Iterator[float]:
    """Largest difference of time, qpos and qvel after each control step, ours taken from LIBERO's state before it."""
    init, actions_TA = run
    pair.reset(init, settle=True)
    for action_A in actions_TA:
        pair.follow()
        pair.step(action_A)
        ours_X, official_X = pair.states()
        yield float(np.abs(ours_X - official_X).max())


def robosuite_solver_errors(pair: Pair, run: Run, path_TX: FloatArray) -> FloatArray:
    """Largest difference of time, qpos and qvel after each action (T,), ours with robosuite's solves and tolerance.

    Args:
        pair: Ours is used, LIBERO's environment is left alone.
        run: The run.
        path_TX: (T, X) LIBERO's states after each of its actions.
    """
    init, actions_TA = run
    (model,), (data,), (block,) = pair.ours.thread_models, pair.ours.datas, pair.ours.blocks
    fine = model.opt.tolerance
    model.opt.tolerance = pair.official.sim.model._model.opt.tolerance
    pair.ours.reset(init, ONE, settle=False)
    for _ in range(SETTLE_STEPS):
        step_as_robosuite(model, data, block, SETTLE_ACTION)
    errors = []
    for action_A, official_X in zip(actions_TA, path_TX, strict=True):
        step_as_robosuite(model, data, block, action_A)
        errors.append(np.abs(pair.ours.get_states().states_NX[0] - official_X).max())
    model.opt.tolerance = fine
    return np.array(errors)
