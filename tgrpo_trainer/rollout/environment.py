"""The trainer's only door to the environments: Gymnasium's `make_vec`, and what it expects of what comes out."""

from __future__ import annotations

from typing import Any, Protocol, cast

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from tgrpo_trainer.config import EnvConfig

CONTROL_STEP_S = 0.05
"""Simulated seconds of one control step (LIBERO controls at 20 Hz)."""

Observation = dict[str, NDArray[np.generic]]
Info = dict[str, NDArray[Any]]


class Envs(Protocol):
    """N members in lock-step that stay frozen after their end (`AutoresetMode.DISABLED`)."""

    num_envs: int

    @property
    def task_description(self) -> str:
        """The instruction."""

    @property
    def horizon(self) -> int:
        """Episode limit in control steps."""

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the stages in `info["stages"]`."""

    @property
    def asset_pack(self) -> str:
        """Name of the shapes the scene is made of: libero, primitive or a folder's."""

    def num_init_states(self, name: str) -> int:
        """Size of a fixed set of initial states: heldout or official."""

    def reset(
        self, *, seed: list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Start N episodes; options as in `tgrpo_envs.vector.LiberoVectorEnv`."""

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """One decision of every member: observations, rewards, terminated, truncated, info."""

    def close(self) -> None:
        """Release the simulator."""


def make_envs(config: EnvConfig, num_envs: int, **overrides: Any) -> Envs:
    """The configured environment with `num_envs` members; `overrides` replace single keyword arguments."""
    settings = {
        "task": config.task,
        "assets": config.assets,
        "reward": config.reward,
        "unchecked_reward": config.unchecked_reward,
        "image_size": config.image_size,
        "action_chunk": config.action_chunk,
        "horizon": config.max_control_steps,
        "num_threads": config.num_threads,
        "autoreset_mode": gym.vector.AutoresetMode.DISABLED,
    }
    return cast(Envs, gym.make_vec(config.env_id, num_envs=num_envs, **{**settings, **overrides}))
