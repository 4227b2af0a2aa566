"""Copies of environments, deep, pickled or by cloudpickle, play on exactly as the one they were made of."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest

from tests.helpers.unwrapped import libero_env
from tgrpo_envs.errors import ConfigError, StateError

ENV_ID = "tgrpo_envs:TGRPO-LiberoObject-v0"
COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
    "cloudpickle": lambda env: cloudpickle.loads(cloudpickle.dumps(env)),
}
VECTORS: tuple[dict[str, Any], ...] = (
    {"num_envs": 2, "image_size": 32, "horizon": 4},
    {"num_envs": 2, "image_size": 32, "tasks": [0, 1], "autoreset_mode": "SameStep", "horizon": 4, "copy": False},
)


def single(**settings: Any) -> gym.Env[Any, Any]:
    return gym.make(ENV_ID, assets="primitive", image_size=32, render_mode="rgb_array", **settings)


def flat(value: Any) -> list[Any]:
    """Arrays and numbers of nested dictionaries and tuples, in order."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = tuple(value)
    if isinstance(value, dict):
        return [part for key in sorted(value) for part in [key, *flat(value[key])]]
    return [part for one in value for part in flat(one)] if isinstance(value, tuple) else [copy.deepcopy(value)]


def played(env: Any, steps: int = 4) -> list[Any]:
    """All that is said in the present picture, some steps, and a reset without a seed."""
    rng = np.random.default_rng(1)
    said = flat((env.render(),)) if env.render_mode else []
    for _ in range(steps):
        said += flat(env.step(rng.uniform(-1, 1, env.action_space.shape)))
    return said + flat(env.reset())


def assert_same(first: list[Any], second: list[Any]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_an_environment_goes_on_with_its_episode(how: str) -> None:
    env = single(task=3)
    env.reset(seed=5)
    for _ in range(3):
        env.step(np.full(7, 0.4))
    twin = COPIES[how](env)
    expected = played(env)
    assert np.asarray(expected[0]).std() > 10
    assert_same(played(twin), expected)
    assert libero_env(twin).settings == libero_env(env).settings
    env.close()
    third = COPIES[how](twin)
    assert_same(played(twin), played(third))
    for copied in (twin, third):
        copied.close()


def test_a_copy_remembers_doors_and_warm_starts() -> None:
    """LIBERO-Goal has fixtures that stand elsewhere in each episode, and joints."""
    env = gym.make("tgrpo_envs:TGRPO-LiberoGoal-v0", assets="primitive", image_size=32, render_mode="rgb_array")
    env.reset(seed=1)
    for _ in range(5):
        env.step(np.array([0.5, 0.5, -1.0, 0, 0.2, 0, 1.0]))
    twin = copy.deepcopy(env)
    assert_same(played(twin), played(env))
    env.close()
    twin.close()


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("settings", VECTORS, ids=["one task", "two tasks"])
def test_a_copy_of_a_vector_environment_goes_on_with_its_episodes(how: str, settings: dict[str, Any]) -> None:
    envs = gym.make_vec(ENV_ID, assets="primitive", **settings)
    envs.reset(seed=5)
    envs.step(np.full((2, 7), 0.4))
    twin = COPIES[how](envs)
    assert_same(played(twin, steps=6), played(envs, steps=6))
    envs.close()
    twin.close()


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_made_before_the_first_reset_plays_the_same_episodes(how: str) -> None:
    envs = gym.make_vec(ENV_ID, assets="primitive", **VECTORS[0])
    twin = COPIES[how](COPIES[how](envs))
    assert_same(flat(twin.reset(seed=2)), flat(envs.reset(seed=2)))
    assert_same(played(twin), played(envs))
    envs.close()
    twin.close()


def test_a_pickle_goes_on_in_another_process(tmp_path: Path) -> None:
    env = gym.make(ENV_ID, assets="primitive", cameras=())
    env.reset(seed=3)
    env.step(np.full(7, 0.4))
    (tmp_path / "env").write_bytes(pickle.dumps(env))
    code = "import pickle, sys; env = pickle.load(open(sys.argv[1], 'rb')); "
    code += "print(env.step([0.4] * 7)[0]['proprio'].tolist())"
    command = [sys.executable, "-c", code, str(tmp_path / "env")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(env.step(np.full(7, 0.4))[0]["proprio"].tolist())
    env.close()


def test_what_cannot_be_copied_says_so() -> None:
    env = gym.make(ENV_ID, assets="primitive", cameras=())
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="copy its environment"):
        copy.deepcopy(libero_env(env).episodes.simulator)
    other = gym.make(ENV_ID, assets="primitive", cameras=(), task=1)
    other.reset(seed=0)
    state = libero_env(env).episodes.__getstate__()
    vars(libero_env(other).episodes).update(_saved=state["_saved"], _simulator=None)
    with pytest.raises(StateError, match="cannot go on in this scene"):
        other.reset()
    env.close()
