"""The single environment against Gymnasium's and Stable-Baselines3's own checkers, and its promises to users."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import tgrpo_envs
from tests.helpers.unwrapped import libero_env, libero_envs
from tgrpo_envs.errors import ActionError, ConfigError, StateError, UnknownNameError

ENV_ID = "tgrpo_envs:TGRPO-LiberoObject-v0"
SMALL: dict[str, Any] = {"image_size": 36, "assets": "primitive"}


@pytest.fixture
def env() -> Iterator[gym.Env[Any, Any]]:
    made = gym.make(ENV_ID, **SMALL)
    yield made
    made.close()


def test_gymnasium_checker_accepts_it() -> None:
    env = gym.make(ENV_ID, render_mode="rgb_array", disable_env_checker=True, **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*different from the unwrapped version.*")
        warnings.filterwarnings("ignore", message=".*Box observation space.*infinity.*")
        check_env(env.unwrapped)
    env.close()


def test_stable_baselines3_checker_accepts_it(env: gym.Env[Any, Any]) -> None:
    sb3_check_env(env.unwrapped, warn=False)


def test_same_seed_gives_identical_episodes(env: gym.Env[Any, Any]) -> None:
    def play(seed: int) -> list[Any]:
        observation, _ = env.reset(seed=seed)
        env.action_space.seed(0)
        trace = [observation["proprio"], observation["agentview"]]
        for _ in range(5):
            observation, reward, *_ = env.step(env.action_space.sample())
            trace += [observation["proprio"], observation["wrist"], np.float64(reward)]
        return trace

    first, again, other = play(3), play(3), play(4)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0]) or not np.array_equal(first[1], other[1])


def test_a_chunk_equals_its_control_steps_one_by_one() -> None:
    single = gym.make(ENV_ID, cameras=(), assets="primitive")
    chunked = gym.make(ENV_ID, cameras=(), assets="primitive", action_chunk=4)
    actions = np.random.default_rng(0).uniform(-1, 1, (2, 4, 7)).astype(np.float32)
    single.reset(seed=5)
    chunked.reset(seed=5)
    for chunk in actions:
        rewards = [single.step(action)[1] for action in chunk]
        _, reward, *_, info = chunked.step(chunk)
        assert reward == pytest.approx(sum(map(float, rewards)), abs=1e-12)
    last = single.step(np.zeros(7, np.float32))[0]["proprio"]
    after = libero_env(chunked).episodes.step(np.zeros((1, 1, 7)), np.ones(1, bool))
    assert np.array_equal(libero_env(chunked).episodes.observe()["proprio"][0], last)
    assert info["control_steps"] == 8 and not after.success_N.any()
    single.close()
    chunked.close()


def test_the_horizon_truncates_in_control_steps() -> None:
    env = gym.make(ENV_ID, cameras=(), assets="primitive", horizon=6, action_chunk=4)
    env.reset(seed=0)
    action = np.zeros((4, 7), np.float32)
    *_, truncated, info = env.step(action)
    assert not truncated and info["control_steps"] == 4
    *_, terminated, truncated, info = env.step(action)
    assert truncated and not terminated and info["control_steps"] == 6
    env.close()


def test_actions_beyond_the_bounds_are_clipped(env: gym.Env[Any, Any]) -> None:
    rows = []
    for scale in (1.0, 50.0):
        env.reset(seed=0)
        action = scale * np.ones(7, np.float32)
        rows.append(env.unwrapped.step(action)[0]["proprio"])
    assert np.array_equal(rows[0], rows[1])


@pytest.mark.parametrize("action", [np.zeros(6), np.full(7, np.nan), np.full(7, np.inf), "left"])
def test_bad_actions_are_refused(env: gym.Env[Any, Any], action: Any) -> None:
    env.reset(seed=0)
    with pytest.raises(ActionError):
        env.unwrapped.step(action)


@pytest.mark.parametrize(
    ("kwargs", "error", "hint"),
    [
        ({"task": "pick_up_the_buter_and_place_it_in_the_basket"}, UnknownNameError, "pick_up_the_butter"),
        ({"task": 10}, UnknownNameError, "task .10."),
        ({"reward": "stage"}, UnknownNameError, "'stages'"),
        ({"assets": "primitiv"}, UnknownNameError, "'primitive'"),
        ({"init_states": "held_out"}, UnknownNameError, "'heldout'"),
        ({"detail": "quick"}, UnknownNameError, "'exact'"),
        ({"cameras": (), "depth": True}, ConfigError, "needs a camera"),
        ({"detail": "off", "segmentation": True}, ConfigError, "needs a camera"),
        ({"observe": "state", "depth": True}, ConfigError, "with observe='state' and detail='fast' there are none"),
        ({"render_mode": "ansi"}, UnknownNameError, "'rgb_array'"),
        ({"image_size": 4}, ConfigError, "16"),
        ({"action_chunk": 0}, ConfigError, "1"),
        ({"horizon": 0}, ConfigError, "1"),
    ],
)
def test_bad_settings_are_refused_with_a_hint(kwargs: dict[str, Any], error: type[Exception], hint: str) -> None:
    with pytest.raises(error, match=hint):
        gym.make(ENV_ID, **{**SMALL, **kwargs})


def test_a_window_is_gymnasiums_and_a_vector_environment_has_none() -> None:
    with pytest.warns(UserWarning, match="HumanRendering"):
        env = gym.make(ENV_ID, render_mode="human", **SMALL)
    assert env.unwrapped.render_mode == "rgb_array"
    with pytest.raises(ConfigError, match="pygame"):
        gym.make_vec(ENV_ID, num_envs=2, render_mode="human", **SMALL)


def test_unknown_reset_options_and_states_are_refused(env: gym.Env[Any, Any]) -> None:
    with pytest.raises(UnknownNameError, match="init_states"):
        env.reset(options={"init_state": "heldout"})
    with pytest.raises(StateError, match="49"):
        env.reset(options={"init_states": "official", "init_state_ids": [50]})
    with pytest.raises(ConfigError, match="drawn"):
        env.reset(options={"init_states": "train", "init_state_ids": [0]})


@pytest.mark.parametrize("options", [{"lerobot_new_rollout": True}, {"low": -0.1, "100 %": None}])
def test_reset_options_of_other_libraries_are_ignored_with_a_warning(
    env: gym.Env[Any, Any], options: dict[str, Any]
) -> None:
    expected, _ = env.reset(seed=4)
    with pytest.warns(UserWarning, match="is ignored") as caught:
        observation, _ = env.reset(seed=4, options=options)
    assert len(caught) == len(options) and next(iter(options)) in str(caught[0].message)
    assert np.array_equal(observation["proprio"], expected["proprio"])


def test_infos_of_reset_and_step_have_the_same_keys_and_kinds(env: gym.Env[Any, Any]) -> None:
    _, first = env.reset(seed=0)
    *_, later = env.step(env.action_space.sample())
    assert list(first) == list(later)
    for key in first.keys() - {"instruction"}:  # TorchRL's reader asks for a dtype
        assert (first[key].dtype, first[key].shape) == (later[key].dtype, later[key].shape), key
    assert (first["control_steps"], later["control_steps"]) == (0, 1)
    assert first["progress"] == 0.0 and not first["success"] and not first["stages"].any()
    batched = SyncVectorEnv([lambda: env])
    assert batched.reset()[1]["success"].dtype == bool


def test_it_says_what_its_task_is(env: gym.Env[Any, Any]) -> None:
    _, info = env.reset(seed=0)
    assert info["instruction"] == "pick up the alphabet soup and place it in the basket"
    assert libero_env(env).task_description == info["instruction"]
    assert libero_env(env).task.suite == "libero_object" and libero_env(env).task.index == 0
    *_, info = env.step(env.action_space.sample())
    assert not any("time" in key for key in info)


def test_render_returns_the_upright_agentview() -> None:
    env = gym.make(ENV_ID, render_mode="rgb_array", **SMALL)
    observation, _ = env.reset(seed=0)
    picture = env.render()
    assert isinstance(picture, np.ndarray) and np.array_equal(picture, observation["agentview"])
    env.close()


@pytest.mark.parametrize("detail", ["fast", "exact"])
def test_render_has_its_own_size_and_changes_no_observation(detail: str) -> None:
    common: dict[str, Any] = {"render_mode": "rgb_array", "detail": detail, "assets": "primitive"}
    env = gym.make(ENV_ID, image_size=24, render_size=40, **common)
    small, large = (gym.make(ENV_ID, image_size=size, **common) for size in (24, 40))
    observation, expected, shown = (one.reset(seed=0)[0] for one in (env, small, large))
    picture = env.render()
    assert isinstance(picture, np.ndarray) and np.array_equal(picture, shown["agentview"])
    assert np.array_equal(observation["wrist"], expected["wrist"])
    action = np.ones(7, np.float32)
    assert np.array_equal(
        env.step(action)[0]["wrist"], small.step(action)[0]["wrist"]
    )  # after a picture of another size
    for one in (env, small, large):
        one.close()


def test_members_of_a_vector_environment_are_called_for_their_pictures() -> None:
    envs = libero_envs(gym.make_vec(ENV_ID, num_envs=2, render_mode="rgb_array", **SMALL))
    envs.reset(seed=0)
    pictures = envs.render()
    assert pictures is not None and np.array_equal(np.stack(envs.call("render")), np.stack(pictures))
    envs.close()


def test_every_suite_is_registered() -> None:
    assert set(tgrpo_envs.ENV_IDS.values()) <= set(gym.registry)
