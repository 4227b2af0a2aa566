"""The environments of ours inside what Gymnasium makes, whose types say nothing of them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from tgrpo_envs.env import LiberoEnv
from tgrpo_envs.vector import LiberoVectorEnv


def libero_env(env: gym.Env[Any, Any]) -> LiberoEnv:
    """The single environment inside Gymnasium's wrappers."""
    inner = env.unwrapped
    assert isinstance(inner, LiberoEnv)
    return inner


def libero_envs(envs: VectorEnv[Any, Any, Any]) -> LiberoVectorEnv:
    """The vector environment, inside wrappers or not."""
    inner = envs.unwrapped
    assert isinstance(inner, LiberoVectorEnv)
    return inner
