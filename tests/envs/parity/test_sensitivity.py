"""The yardstick of parity: LIBERO repeats itself bit for bit, a change is one bit, single steps start afresh."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tgrpo_envs.parity import rounding_sensitivity as sensitivity
from tgrpo_envs.parity.rounding_sensitivity import Run
from tgrpo_envs.parity.side_by_side import Pair, open_pair
from tgrpo_envs.scene import InitStates, official_states

STEPS = 12


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    pair = open_pair("libero_object", 3, "primitive")
    yield pair
    pair.close()


ACTIONS_TA = np.random.default_rng(0).uniform(-1, 1, (STEPS, 7))
ACTIONS_TA[::3, 3:6] = 0.0  # keeps the goal rotation of the step before


@pytest.fixture(scope="module")
def run(pair: Pair) -> Run:
    return official_states(pair.scene).take(np.array([3])), ACTIONS_TA


def test_libero_repeats_itself_and_feels_the_last_bit(pair: Pair, run: Run) -> None:
    path_TX, again_TX = (np.array(list(sensitivity.own_states(pair, run))) for _ in range(2))
    assert np.array_equal(path_TX, again_TX)
    errors_CT = sensitivity.own_errors(pair, run, path_TX)
    assert errors_CT.shape == (2, STEPS)
    for worst in errors_CT.max(axis=1):
        assert 0 < worst < 1e-9


def test_a_change_is_one_bit_of_a_translation_or_of_the_start() -> None:
    init = InitStates(np.array([[0.5, 0.1, -0.2, 0.3]]), np.zeros((1, 0, 7)))  # time, two of qpos, one of qvel
    (same, changed_TA), (changed, same_TA) = sensitivity.changed_runs((init, ACTIONS_TA), nq=2)
    assert np.array_equal((changed_TA - ACTIONS_TA)[:, :3], np.spacing(np.abs(ACTIONS_TA[:, :3])))
    assert np.array_equal(changed_TA[:, 3:], ACTIONS_TA[:, 3:]), "a rotation decides by being zero or not"
    assert np.array_equal(changed.states_NX - init.states_NX, [[0.0, np.spacing(0.1), np.spacing(0.2), 0.0]])
    assert same is init
    assert same_TA is ACTIONS_TA


def test_single_steps_start_from_liberos_state_every_time(
    pair: Pair, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a step left wrong is forgotten: pose, speed, goal rotation, and the gripper's command, which ramps."""
    pair_step = Pair.step

    def spoil(pair: Pair, action_A: np.ndarray) -> None:
        pair_step(pair, action_A)
        errors.append(np.abs(np.subtract(*pair.states())).max())
        pair.ours.reset(run[0], np.ones(1, dtype=bool), settle=False)

    errors: list[float] = []
    monkeypatch.setattr(Pair, "step", spoil)
    assert max(sensitivity.single_steps(pair, run)) > 1e-3
    assert len(errors) == STEPS
    assert max(errors) < 1e-9
    pair.follow()
    assert np.array_equal(pair.ours.datas[0].qacc_warmstart, pair.official.sim.data._data.qacc_warmstart)


def test_robosuites_solves_give_liberos_trajectory(pair: Pair, run: Run) -> None:
    path_TX = np.array(list(sensitivity.own_states(pair, run)))
    tolerance = pair.scene.model.opt.tolerance
    assert sensitivity.robosuite_solver_errors(pair, run, path_TX).max() < 1e-12
    assert pair.scene.model.opt.tolerance == tolerance
