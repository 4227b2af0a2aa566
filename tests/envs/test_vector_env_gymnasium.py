"""The native vector environment against Gymnasium's own `SyncVectorEnv` of our single environments, in every mode."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from tests.helpers.unwrapped import libero_env, libero_envs
from tgrpo_envs.scene import InitStates
from tgrpo_envs.vector import LiberoVectorEnv

ENV_ID = "tgrpo_envs:TGRPO-LiberoObject-v0"
SETTINGS: dict[str, Any] = {"cameras": (), "assets": "primitive", "horizon": 3}
N = 3


def native(mode: AutoresetMode | str, **kwargs: Any) -> LiberoVectorEnv:
    return libero_envs(gym.make_vec(ENV_ID, num_envs=N, autoreset_mode=mode, **{**SETTINGS, **kwargs}))


def of_singles(mode: AutoresetMode | str, *, copy: bool = True, **kwargs: Any) -> SyncVectorEnv:
    def make() -> gym.Env[Any, Any]:
        return gym.make(ENV_ID, disable_env_checker=True, **{**SETTINGS, **kwargs})

    return SyncVectorEnv([make] * N, copy=copy, autoreset_mode=mode)


def assert_same(ours: Any, theirs: Any) -> None:
    """Equal, bit by bit; arrays, dicts of arrays (infos with their masks too), and objects."""
    if isinstance(theirs, dict):
        for key in theirs:
            assert_same(ours[key], theirs[key])
        assert ours.keys() == theirs.keys()
    elif theirs is not None and theirs.dtype == object:
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other) if isinstance(other, dict) else np.testing.assert_equal(one, other)
    else:
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def assert_same_all(ours: Any, theirs: Any) -> None:
    """What two resets or two steps returned."""
    for one, other in zip(ours, theirs, strict=True):
        assert_same(one, other)


def solved_state() -> NDArray[np.float64]:
    """A state in which the soup lies in the basket, so that the first step succeeds."""
    env = libero_env(gym.make(ENV_ID, **SETTINGS))
    env.reset(seed=0)
    states, record = env.episodes.simulator.get_states(), env.episodes.scene.record
    soup, basket = (
        next(entry.qpos_address for entry in record.objects if entry.name == name)
        for name in ("alphabet_soup_1", "basket_1")
    )
    assert soup is not None and basket is not None
    solved_X: NDArray[np.float64] = states.states_NX[0].copy()
    solved_X[1 + soup : 4 + soup] = solved_X[1 + basket : 4 + basket] + np.array([0.0, 0.0, 0.08])
    env.close()
    return solved_X


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_autoreset_equals_gymnasiums(mode: AutoresetMode) -> None:
    """Nine steps with ends by the horizon, one by success, and the resets between them drawn by the members."""
    pair = native(mode), of_singles(mode)
    assert_same_all(*(envs.reset(seed=7) for envs in pair))
    solved_X = solved_state()
    options = {"reset_mask": np.array([False, True, False]), "init_states": solved_X}
    assert_same_all(*(envs.reset(options=dict(options)) for envs in pair))  # now member 1 ends at its first step
    ends = {"terminated": 0, "truncated": 0}
    for actions in np.random.default_rng(0).uniform(-1, 1, (9, N, 7)).astype(np.float32):
        ours, theirs = (envs.step(actions) for envs in pair)
        assert_same_all(ours, theirs)
        ends["terminated"] += int(theirs[2].sum())
        ends["truncated"] += int(theirs[3].sum())
    assert ends["terminated"] == 1 and ends["truncated"] >= 2 * N - 1
    for envs in pair:
        envs.close()


def test_same_step_gives_the_last_observation_and_info() -> None:
    envs = native("SameStep")
    envs.reset(seed=0)
    actions = np.zeros((N, 7), np.float32)
    for _ in range(2):
        *_, infos = envs.step(actions)
        assert "final_obs" not in infos
    observations, _, _, truncated, infos = envs.step(actions)
    assert truncated.all() and infos["_final_obs"].all() and infos["_final_info"].all()
    assert infos["final_info"]["control_steps"].tolist() == [3] * N and infos["final_info"]["_control_steps"].all()
    assert infos["control_steps"].tolist() == [0] * N and infos["_control_steps"].all()
    assert set(infos["final_obs"][0]) == {"proprio"}
    assert not np.array_equal(infos["final_obs"][0]["proprio"], observations["proprio"][0])
    *_, truncated, infos = envs.step(actions)
    assert not truncated.any() and infos["control_steps"].tolist() == [1] * N
    envs.close()


def test_disabled_equals_gymnasiums_when_the_caller_resets_by_mask() -> None:
    pair = native(AutoresetMode.DISABLED), of_singles(AutoresetMode.DISABLED)
    for envs in pair:
        envs.reset(seed=3)
    late = {"reset_mask": np.array([True, False, True])}
    actions_TNA = np.random.default_rng(1).uniform(-1, 1, (7, N, 7)).astype(np.float32)
    for t, actions in enumerate(actions_TNA):
        if t == 1:  # from here members 0 and 2 are a step behind
            assert_same_all(*(envs.reset(seed=[5, 6, 7], options=dict(late)) for envs in pair))
        ours, theirs = (envs.step(actions) for envs in pair)
        assert_same_all(ours, theirs)
        done_N = theirs[2] | theirs[3]
        if done_N.any():
            for envs in pair:
                envs.reset(options={"reset_mask": done_N.copy()})
    for envs in pair:
        envs.close()


def test_pictures_equal_those_of_single_environments() -> None:
    pair = [make("SameStep", cameras=("agentview", "wrist"), image_size=24, horizon=2) for make in (native, of_singles)]
    starts = [envs.reset(seed=0)[0] for envs in pair]
    assert_same(*starts)
    for _ in range(3):
        ours, theirs = (envs.step(np.full((N, 7), 0.4, np.float32)) for envs in pair)
        assert_same(ours[0], theirs[0])
        assert_same(ours[4], theirs[4])
    for envs in pair:
        envs.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_without_copy_the_same_arrays_are_returned_each_step(mode: AutoresetMode) -> None:
    copied, kept = (native(mode, cameras=("agentview",), image_size=24, copy=copy) for copy in (True, False))
    first, _ = kept.reset(seed=0)
    again, _ = copied.reset(seed=0)
    buffers = {key: array.__array_interface__["data"] for key, array in first.items()}
    remembered = {key: array.copy() for key, array in again.items()}
    for _ in range(4):
        actions = np.full((N, 7), 0.5, np.float32)
        observations, fresh = kept.step(actions)[0], copied.step(actions)[0]
        assert {key: array.__array_interface__["data"] for key, array in observations.items()} == buffers
        assert all(array.flags.c_contiguous for array in observations.values())
        assert_same(observations, fresh)
        assert fresh["proprio"] is not again["proprio"]
    assert_same(again, remembered)
    assert observations in kept.observation_space
    kept.close()
    copied.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_diverged_member_is_truncated_and_reported_while_the_others_go_on(mode: AutoresetMode) -> None:
    envs, calm = native(mode), native(mode)
    for each in (envs, calm):
        each.reset(seed=0)
    envs.episodes.simulator.datas[1].qvel[:] = 1e12
    actions = np.full((N, 7), 0.2, np.float32)
    observations, _, terminated, truncated, infos = envs.step(actions)
    quiet, *_ = calm.step(actions)
    assert truncated.tolist() == [False, True, False] and not terminated.any()
    last = infos["final_info"] if mode is AutoresetMode.SAME_STEP else infos
    assert last["diverged"].tolist() == [False, True, False]
    assert np.isfinite(observations["proprio"]).all()
    assert np.array_equal(observations["proprio"][[0, 2]], quiet["proprio"][[0, 2]])
    *_, infos = envs.step(actions)
    steps_after = {AutoresetMode.NEXT_STEP: 0, AutoresetMode.SAME_STEP: 1, AutoresetMode.DISABLED: 1}[mode]
    assert infos["control_steps"].tolist() == [2, steps_after, 2]
    envs.close()
    calm.close()


def test_given_states_reach_the_single_environment_too() -> None:
    states = InitStates(np.stack([solved_state()]), np.zeros((1, 0, 7)))
    env = gym.make(ENV_ID, **SETTINGS)
    for given in (states, states.states_NX, states.states_NX[0]):
        env.reset(options={"init_states": given})
        _, reward, terminated, *_ = env.step(np.zeros(7, np.float32))
        assert terminated and reward == pytest.approx(1.0)
    env.close()


def test_a_limit_of_steps_cuts_episodes_and_leaves_the_reward_its_horizon() -> None:
    """A bonus for speed goes by the horizon, so the same states must earn the same in both."""
    options = {"init_states": solved_state()}
    settings = {"horizon": 280, "credit": {"eta": 0.5}, "max_episode_steps": 2}
    envs, single = native("Disabled", **settings), gym.make(ENV_ID, **{**SETTINGS, **settings})
    envs.reset(seed=0, options=options)
    single.reset(seed=0, options=options)
    _, rewards_N, *_ = envs.step(np.zeros((N, 7)))
    assert rewards_N[0] == float(single.step(np.zeros(7))[1]) > 1.0
    envs.reset(seed=0)
    ends = [envs.step(np.zeros((N, 7)))[3].tolist() for _ in range(2)]
    assert ends == [[False] * N, [True] * N]


def test_seeds_can_be_read_as_from_gymnasiums() -> None:
    ours, theirs = native("NextStep"), of_singles("NextStep")
    for envs in (ours, theirs):
        envs.reset(seed=7)
    assert ours.np_random_seed == theirs.np_random_seed == (7, 8, 9)
    assert [one.random() for one in ours.np_random] == [one.random() for one in theirs.np_random]


def test_a_frozen_member_stays_diverged() -> None:
    envs = native("Disabled", horizon=9)
    envs.reset(seed=0)
    envs.episodes.simulator.datas[1].qvel[0] = 1e8
    for _ in range(3):
        infos = envs.step(np.zeros((N, 7)))[4]
        assert infos["diverged"].tolist() == [False, True, False]
    infos = envs.reset(seed=0)[1]
    assert not infos["diverged"].any()
