"""The yardstick of parity: LIBERO repeats itself bit for bit, a change is one bit, single steps start afresh."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tgrpo_envs import sensitivity
from tgrpo_envs.official import Pair, open_pair
from tgrpo_envs.scene import InitStates, official_states

STEPS = 12


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    pair = open_pair("libero_object", 3, "primitive")
    yield pair
    pair.close()


@pytest.fixture(scope="module")
def init(pair: Pair) -> InitStates:
    return official_states(pair.scene).take(np.array([3]))


ACTIONS_TA = np.random.default_rng(0).uniform(-1, 1, (STEPS, 7))
ACTIONS_TA[::3, 3:6] = 0.0  # keeps the goal rotation of the step before


def test_libero_repeats_itself_and_feels_the_last_bit(pair: Pair, init: InitStates) -> None:
    path_TX, again_TX = (np.array(list(sensitivity.own_states(pair, init, ACTIONS_TA))) for _ in range(2))
    assert np.array_equal(path_TX, again_TX)
    own = list(sensitivity.own_paths(pair, init, ACTIONS_TA, path_TX))
    assert [one.change for one in own] == ["actions up", "actions down", "start up", "start down"]
    for one in own:
        assert one.errors_T.shape == (STEPS,)
        assert 0 < one.errors_T.max() < 1e-9


def test_a_change_is_one_bit_of_a_translation_or_of_the_start() -> None:
    init = InitStates(np.array([[0.5, 0.1, -0.2, 0.3]]), np.zeros((1, 0, 7)))  # time, two of qpos, one of qvel
    runs = list(sensitivity.changed_runs(init, ACTIONS_TA, nq=2))
    for _, _, changed_TA in runs[:2]:
        assert np.array_equal(np.abs(changed_TA - ACTIONS_TA)[:, :3], np.spacing(np.abs(ACTIONS_TA[:, :3])))
        assert np.array_equal(changed_TA[:, 3:], ACTIONS_TA[:, 3:]), "a rotation decides by being zero or not"
    assert (runs[0][2][:, :3] > runs[1][2][:, :3]).all()
    for _, changed, changed_TA in runs[2:]:
        assert np.array_equal(changed.states_NX != init.states_NX, [[False, True, True, False]])
        assert np.allclose(changed.states_NX, init.states_NX, rtol=3e-16, atol=0)
        assert changed_TA is ACTIONS_TA


def test_single_steps_start_from_liberos_state_every_time(
    pair: Pair, init: InitStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a step left wrong is forgotten: pose, speed, goal rotation, and the gripper's command, which ramps."""
    pair_step = Pair.step

    def spoil(pair: Pair, action_A: np.ndarray) -> None:
        pair_step(pair, action_A)
        errors.append(np.abs(np.subtract(*pair.states())).max())
        pair.ours.reset(init, np.ones(1, dtype=bool), settle=False)

    errors: list[float] = []
    monkeypatch.setattr(Pair, "step", spoil)
    assert max(sensitivity.single_steps(pair, init, ACTIONS_TA)) > 1e-3
    assert len(errors) == STEPS
    assert max(errors) < 1e-9
    pair.follow()
    assert np.array_equal(pair.ours.datas[0].qacc_warmstart, pair.official.sim.data._data.qacc_warmstart)
