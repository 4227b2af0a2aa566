"""The native vector environment: equal to single environments, groups, partial resets, frozen members."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers.unwrapped import libero_envs
from tgrpo_envs.errors import ActionError, ConfigError, StateError, UnknownNameError
from tgrpo_envs.vector import LiberoVectorEnv

ENV_ID = "tgrpo_envs:TGRPO-LiberoObject-v0"
STATE_ONLY: dict[str, Any] = {"cameras": (), "assets": "primitive"}


def make(num_envs: int, **kwargs: Any) -> LiberoVectorEnv:
    return libero_envs(gym.make_vec(ENV_ID, num_envs=num_envs, **{**STATE_ONLY, **kwargs}))


def positions(envs: LiberoVectorEnv) -> NDArray[np.float64]:
    return envs.episodes.simulator.snapshot.object_pos_NO3.copy()


def test_make_vec_takes_the_native_environment_with_images() -> None:
    envs = make(3, cameras=("agentview", "wrist"), image_size=36)
    observations, infos = envs.reset(seed=0)
    assert type(envs).__name__ == "LiberoVectorEnv"
    assert observations in envs.observation_space
    assert observations["agentview"].shape == (3, 36, 36, 3)
    assert list(infos["instruction"]) == ["pick up the alphabet soup and place it in the basket"] * 3
    envs.close()


def test_member_i_equals_a_single_environment_seeded_with_s_plus_i() -> None:
    envs = make(3)
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 3, 7)).astype(np.float32)
    first, _ = envs.reset(seed=10)
    trace = [first["proprio"], *(envs.step(action)[0]["proprio"] for action in actions)]
    for member in range(3):
        env = gym.make(ENV_ID, **STATE_ONLY)
        observation, _ = env.reset(seed=10 + member)
        single = [observation["proprio"], *(env.step(action[member])[0]["proprio"] for action in actions)]
        assert all(np.array_equal(batch[member], one) for batch, one in zip(trace, single, strict=True))
        env.close()
    envs.close()


def test_a_group_shares_its_first_members_state() -> None:
    envs = make(4)
    envs.reset(seed=1, options={"group_size": 2})
    grouped = positions(envs)
    assert np.array_equal(grouped[0], grouped[1]) and np.array_equal(grouped[2], grouped[3])
    assert not np.array_equal(grouped[0], grouped[2])
    envs.reset(seed=1)
    assert np.array_equal(positions(envs)[0], grouped[0])
    envs.close()


def test_explicit_states_are_those_states_whatever_the_batch() -> None:
    envs = make(4)
    envs.reset(options={"init_states": "heldout", "init_state_ids": np.array([5, 9, 5, 0])})
    batch = positions(envs)
    assert np.array_equal(batch[0], batch[2]) and not np.array_equal(batch[0], batch[1])
    one = make(1)
    one.reset(options={"init_states": "heldout", "init_state_ids": np.array([9])})
    assert np.array_equal(positions(one)[0], batch[1])
    assert envs.call("num_init_states", "official") == (50,) * 4
    envs.close()
    one.close()


def test_partial_reset_leaves_the_others_alone() -> None:
    envs = make(3)
    envs.reset(seed=0)
    actions = np.full((3, 7), 0.3, np.float32)
    envs.step(actions)
    before = positions(envs)
    envs.reset(options={"reset_mask": np.array([False, True, False])})
    after = positions(envs)
    assert np.array_equal(after[[0, 2]], before[[0, 2]]) and not np.array_equal(after[1], before[1])
    *_, infos = envs.step(actions)
    assert infos["control_steps"].tolist() == [2, 1, 2]
    envs.close()


def test_next_step_autoreset_starts_anew_and_ignores_that_action() -> None:
    envs = make(2, horizon=2)
    envs.reset(seed=0)
    actions = np.zeros((2, 7), np.float32)
    envs.step(actions)
    *_, truncated, _ = envs.step(actions)
    assert truncated.all()
    ended = positions(envs)
    _, rewards, terminated, truncated, infos = envs.step(actions)
    assert not rewards.any() and not terminated.any() and not truncated.any()
    assert infos["control_steps"].tolist() == [0, 0]
    assert not np.array_equal(positions(envs), ended)
    envs.close()


def test_disabled_autoreset_freezes_finished_members() -> None:
    envs = make(2, horizon=3, autoreset_mode="Disabled")
    envs.reset(seed=0)
    for _ in range(3):
        envs.step(np.full((2, 7), 0.5, np.float32))
    frozen = positions(envs)
    _, rewards, _, truncated, infos = envs.step(np.full((2, 7), np.nan))
    assert truncated.all() and not rewards.any() and infos["control_steps"].tolist() == [3, 3]
    assert np.array_equal(positions(envs), frozen)
    envs.close()


def test_a_solved_member_terminates_with_return_one_while_the_other_runs_on() -> None:
    """Teleport the soup into the basket: LIBERO's containment holds at once, and the rewards must sum to 1."""
    envs = make(2, autoreset_mode="Disabled")
    envs.reset(seed=0)
    episodes = envs.episodes
    states = episodes.simulator.get_states()
    soup, basket = (
        episodes.scene.record.objects[episodes.scene.layout.object_row(name)].qpos_address
        for name in ("alphabet_soup_1", "basket_1")
    )
    assert soup is not None and basket is not None
    qpos = states.states_NX[0, 1:]
    qpos[soup : soup + 3] = [*qpos[basket : basket + 2], qpos[basket + 2] + 0.08]
    episodes.reset(states, np.array([True, False]))
    _, rewards, terminated, truncated, infos = envs.step(np.zeros((2, 7), np.float32))
    assert terminated.tolist() == [True, False] and not truncated.any()
    assert infos["success"].tolist() == [True, False] == infos["is_success"].tolist()
    assert rewards[0] == pytest.approx(1.0) and rewards[1] == 0.0
    _, rewards, terminated, *_ = envs.step(np.zeros((2, 7), np.float32))
    assert terminated.tolist() == [True, False] and rewards[0] == 0.0
    envs.close()


@pytest.mark.parametrize("num_envs", [0, -1, 10**6, True])
def test_absurd_sizes_are_refused(num_envs: int) -> None:
    with pytest.raises(ConfigError, match="num_envs"):
        make(num_envs)


def test_bad_input_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Disabled"):
        make(2, autoreset_mode="disable")
    envs = make(4)
    with pytest.raises(ConfigError, match="divide"):
        envs.reset(options={"group_size": 3})
    with pytest.raises(ConfigError, match="whole numbers"):
        envs.reset(options={"init_states": "heldout", "init_state_ids": np.array([0.5] * 4)})
    with pytest.raises(StateError, match="heldout"):
        envs.reset(options={"init_states": "heldout", "init_state_ids": np.array([0, 1, 2, 10**6])})
    envs.reset(seed=0)
    with pytest.raises(ActionError, match="shape"):
        envs.step(np.zeros((3, 7)))
    with pytest.raises(ActionError, match="environment 2"):
        envs.step(np.array([[0.0] * 7, [0.0] * 7, [np.nan] * 7, [0.0] * 7]))
    envs.close()
