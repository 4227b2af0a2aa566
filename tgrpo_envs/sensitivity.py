"""How far LIBERO's environment stays on its own trajectory when an input changes in the last bit: parity's yardstick.

Two simulators that compute the same physics in another order differ by rounding, 1e-16. Most scenes keep that small.
Some amplify it: a contact opens in one run and not in the other, and within a control step the two are 1e-6 or more
apart, both of them right. Where LIBERO leaves its own trajectory like that, nothing but the same bits can stay on it,
and a difference says nothing about the physics. So a difference of ours is held against LIBERO's own (`own_paths`),
and every control step is also taken from LIBERO's own state, where what earlier steps amplified is gone
(`single_steps`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tgrpo_envs.official import Pair
from tgrpo_envs.sim.init_states import InitStates
from tgrpo_envs.sim.snapshot import FloatArray

TRANSLATION = slice(0, 3)
"""Of an action. The rotation stays as it is: robosuite keeps or replaces its goal rotation by whether it is zero."""

Run = tuple[str, InitStates, FloatArray]
"""What was changed, where the run starts, its actions (T, 7)."""


@dataclass(frozen=True)
class OwnPath:
    """LIBERO against itself.

    Attributes:
        change: What was changed.
        errors_T: Largest difference of time, qpos and qvel after each control step.
    """

    change: str
    errors_T: FloatArray


def own_paths(pair: Pair, init: InitStates, actions_TA: FloatArray, path_TX: FloatArray) -> Iterator[OwnPath]:
    """Repeat LIBERO's run with last bits changed, one kind of change after the other.

    Args:
        pair: LIBERO's environment is used, ours is left alone.
        init: Where the run started, one row.
        actions_TA: (T, 7) its actions after settling.
        path_TX: (T, X) LIBERO's states after each of them.
    """
    for change, changed_init, changed_TA in changed_runs(init, actions_TA, pair.scene.model.nq):
        states_TX = np.array(list(own_states(pair, changed_init, changed_TA)))
        yield OwnPath(change, np.abs(states_TX - path_TX).max(axis=1))


def changed_runs(init: InitStates, actions_TA: FloatArray, nq: int) -> Iterator[Run]:
    """The same run with every translation, then every start coordinate, moved to the next larger or smaller number."""
    for name, towards in (("actions up", np.inf), ("actions down", -np.inf)):
        changed_TA = actions_TA.copy()
        changed_TA[:, TRANSLATION] = np.nextafter(actions_TA[:, TRANSLATION], towards)
        yield name, init, changed_TA
    for name, towards in (("start up", np.inf), ("start down", -np.inf)):
        states_NX = init.states_NX.copy()
        states_NX[:, 1 : 1 + nq] = np.nextafter(states_NX[:, 1 : 1 + nq], towards)
        yield name, InitStates(states_NX, init.fixtures_NF7), actions_TA


def own_states(pair: Pair, init: InitStates, actions_TA: FloatArray) -> Iterator[FloatArray]:
    """LIBERO's states (X,) after each action, from `init` settled."""
    pair.reset_official(init, settle=True)
    for action_A in actions_TA:
        pair.official.step(action_A)
        yield pair.official.get_sim_state()


def single_steps(pair: Pair, init: InitStates, actions_TA: FloatArray) -> Iterator[float]:
    """Largest difference of time, qpos and qvel after each control step, ours taken from LIBERO's state before it."""
    pair.reset(init, settle=True)
    for action_A in actions_TA:
        pair.follow()
        pair.step(action_A)
        ours_X, official_X = pair.states()
        yield float(np.abs(ours_X - official_X).max())
