"""What Gymnasium's spec says of our environments: how long an episode is, in JSON, and how to make one again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode

from tests.helpers.unwrapped import libero_env
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.rewards import CreditProfile

ENV_ID = "tgrpo_envs:TGRPO-LiberoObject-v0"
STATE_ONLY: dict[str, Any] = {"cameras": (), "assets": "primitive"}
PROFILE = CreditProfile(beta=0.3)


@pytest.mark.parametrize(
    ("make", "settings", "steps"),
    [
        (gym.make, {}, 280),
        (gym.make, {"action_chunk": 8}, 35),
        (gym.make, {"action_chunk": 9, "horizon": 500, "credit": PROFILE}, 56),  # 55.6
        (gym.make, {"max_episode_steps": 50}, 50),
        (gym.make, {"task": np.int64(1), "credit": PROFILE}, 280),
        (gym.make, {"task": np.array(1), "credit": {"quantum": np.float32(1 / 64)}, "cameras": {"wrist"}}, 280),
        (gym.make, {"perturb": {"kind": "camera", "level": np.int64(2), "seed": 0}}, 280),
        (gym.make_vec, {"num_envs": 2, "tasks": np.array([0, 1])}, 280),
        (gym.make_vec, {"num_envs": 2, "tasks": range(2)}, 280),
        (gym.make_vec, {"num_envs": 2, "action_chunk": 9, "credit": PROFILE}, 32),  # 31.1
        (gym.make_vec, {"num_envs": 2, "tasks": [0, 1], "autoreset_mode": AutoresetMode.SAME_STEP}, 280),
        (gym.make_vec, {"num_envs": 2, "max_episode_steps": 1000}, 280),
        (gym.make_vec, {"num_envs": 2, "max_episode_steps": 10}, 10),
    ],
)
def test_the_spec_has_the_limit_and_makes_the_same_environment(
    make: Callable[..., Any], settings: dict[str, Any], steps: int
) -> None:
    env = make(ENV_ID, **{**STATE_ONLY, **settings})
    assert env.spec.max_episode_steps == steps
    again = make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec.max_episode_steps == steps
    facts = [one.get_attr("settings") if hasattr(one, "get_attr") else one.unwrapped.settings for one in (env, again)]
    assert facts[0] == facts[1]


def test_no_time_limit_ends_an_episode_before_the_horizon() -> None:
    """The suite's horizon is 280; a user's own holds, in the environment and in one made from its spec."""
    env = gym.make(ENV_ID, **STATE_ONLY, horizon=290)
    assert env.spec is not None
    for one in (env, gym.make(env.spec)):
        one.reset(seed=0)
        ends = [one.step(np.zeros(7))[3] for _ in range(290)]
        assert ends == [False] * 289 + [True]
        one.close()


def test_a_profile_may_be_given_by_its_fields() -> None:
    env = gym.make(ENV_ID, **STATE_ONLY, credit={"beta": 0.3})
    assert libero_env(env).settings.credit == PROFILE
    for wrong, sentence in (
        ({"beta": 3.0}, r"^beta=3.0 must be less than 1\.$"),
        ({"bta": 0.3}, "Unknown setting of CreditProfile 'bta'. Did you mean 'beta'"),
        (0.3, "^credit=0.3 must be a CreditProfile or its fields"),
    ):
        with pytest.raises((ConfigError, UnknownNameError), match=sentence):
            gym.make(ENV_ID, **STATE_ONLY, credit=wrong)


@pytest.mark.parametrize("task", [1.0, True, None, (0,), np.float32(1)])
def test_a_task_is_a_whole_number_or_a_name(task: object) -> None:
    with pytest.raises(ConfigError, match=r"whole number, or its name|truth value"):
        gym.make(ENV_ID, **STATE_ONLY, task=task)
    with pytest.raises(ConfigError, match=r"whole number, or its name|truth value"):
        gym.make_vec(ENV_ID, num_envs=1, **STATE_ONLY, tasks=[task])


@pytest.mark.parametrize("limit", [0, -1, True, 2.5])
def test_a_limit_is_a_whole_number_of_steps(limit: object) -> None:
    with pytest.raises(ConfigError, match="max_episode_steps"):
        gym.make_vec(ENV_ID, num_envs=1, **STATE_ONLY, max_episode_steps=limit)


@pytest.mark.parametrize("chunk", [1, 8])
def test_films_of_one_picture_a_step_play_in_real_time(chunk: int) -> None:
    for make in (gym.make, gym.make_vec):
        env = make(ENV_ID, **STATE_ONLY, action_chunk=chunk)
        assert env.metadata["render_fps"] == 20 / chunk
