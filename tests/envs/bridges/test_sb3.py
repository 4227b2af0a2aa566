"""Stable-Baselines3 on the native vector environment: its own check, the last step of an episode, PPO and SAC."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

from tgrpo_envs.bridges.sb3 import make_vec
from tgrpo_envs.errors import ConfigError

ID = "tgrpo_envs:TGRPO-LiberoObject-v0"
SETTINGS: dict[str, Any] = {"observe": "state", "assets": "primitive", "horizon": 4, "init_states": "official"}


def test_the_last_step_of_an_episode_is_reported_as_the_library_wants_it() -> None:
    env, single = make_vec(ID, 2, seed=5, **SETTINGS), gym.make(ID, **SETTINGS)
    env.reset()
    expected, _ = single.reset(seed=6)
    total = 0.0
    for action_NA in np.random.default_rng(0).uniform(-1, 1, (4, 2, 7)).astype(np.float32):
        observations, rewards_N, done_N, infos = env.step(action_NA)
        expected, reward, *_ = single.step(action_NA[1])
        total += float(reward)
        assert rewards_N[1] == pytest.approx(reward)
    assert done_N.all()
    info = infos[1]
    assert all(np.array_equal(info["terminal_observation"][key], expected[key]) for key in expected)
    assert not np.array_equal(observations["state"][1], expected["state"])
    assert info["TimeLimit.truncated"]
    assert not info["is_success"]
    assert (info["episode"]["l"], info["episode"]["r"]) == (4, pytest.approx(total))
    assert info["control_steps"] == 4
    env.close()
    single.close()


def test_the_next_reset_alone_follows_its_options() -> None:
    env, single = make_vec(ID, 2, seed=0, **SETTINGS), gym.make(ID, **SETTINGS)
    for ids in ([3, 3], [5, 7]):
        per_member = [{"init_states": "official", "init_state_ids": [row]} for row in ids]
        env.set_options(per_member[0] if ids == [3, 3] else per_member)
        observations = env.reset()
        for member in range(2):
            expected, _ = single.reset(options=per_member[member])
            assert np.array_equal(observations["state"][member], expected["state"])
    env.seed(1)
    assert np.array_equal(env.reset()["state"][0], single.reset(seed=1)[0]["state"])
    env.set_options([{"init_states": "official"}, {"init_states": "heldout"}])
    with pytest.raises(ConfigError, match="one set of states"):
        env.reset()
    env.close()
    single.close()


def test_ppo_learns_and_is_evaluated_on_it() -> None:
    env = make_vec(ID, 2, **SETTINGS)
    model = PPO("MultiInputPolicy", env, n_steps=8, batch_size=8, n_epochs=1, device="cpu")
    model.learn(32)
    assert len(model.ep_info_buffer) == 8  # 32 steps, 4 an episode
    returns, lengths = evaluate_policy(model, env, n_eval_episodes=2, return_episode_rewards=True)
    assert lengths == [4, 4]
    assert len(returns) == 2
    env.close()


def test_members_are_asked_for_what_they_know() -> None:
    env = make_vec(ID, 2, render_mode="rgb_array", image_size=16, assets="primitive")
    env.reset()
    assert env.get_attr("task_description", [1]) == ["pick up the alphabet soup and place it in the basket"]
    assert env.get_attr("render_mode") == ["rgb_array"] * 2
    assert env.env_method("num_init_states", "official", indices=0) == [50]
    assert [image.shape for image in env.get_images() if image is not None] == [(16, 16, 3)] * 2
    env.close()
    with pytest.raises(ConfigError, match="leave it out"):
        make_vec(ID, 2, autoreset_mode="NextStep")
