"""Makes the trainer's vector environment with Gymnasium's `make_vec`, and checks its spaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.shared_settings import SharedSettings
from tgrpo_envs.tasks import CONTROL_HZ
from tgrpo_trainer.config import EnvConfig

CONTROL_STEP_S = 1 / CONTROL_HZ
"""Simulated seconds of one control step."""

Observation = dict[str, NDArray[np.generic]]
Info = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TaskFacts:
    """What a member knows of the task that it poses."""

    instruction: str
    stage_names: tuple[str, ...]
    """Stages of its reward: the first so many columns of `info["stages"]`; the others are of tasks with more."""
    horizon: int
    """Episode limit in control steps."""


class Members(Protocol):
    """N members in lock-step, of one task or several, that stay frozen after their end (`AutoresetMode.DISABLED`)."""

    num_envs: int

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """For each member: `task_description` (the instruction), `stage_names` or `horizon`, after a reset."""

    def reset(
        self, *, seed: list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Start N episodes; options as in `tgrpo_envs.vector.LiberoVectorEnv`."""

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """One decision of every member: observations, rewards, terminated, truncated, info."""


class Envs(Members, Protocol):
    """N members of one task."""

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

    def close(self) -> None:
        """Release the simulator."""


def facts_of_members(envs: Members) -> tuple[TaskFacts, ...]:
    """What each member poses."""
    names = ("task_description", "stage_names", "horizon")
    return tuple(TaskFacts(*each) for each in zip(*map(envs.get_attr, names), strict=True))


def make_envs(config: EnvConfig, num_envs: int, **overrides: Any) -> Envs:
    """The environment of one task with `num_envs` members; `overrides` replace single keyword arguments.

    Raises:
        ConfigError: The settings name several tasks, or one of them is out of range.
        UnknownNameError: A name that does not exist.
    """
    settings = {**env_keywords(config), "autoreset_mode": gym.vector.AutoresetMode.DISABLED, **overrides}
    return cast(Envs, gym.make_vec(config.env_id, num_envs=num_envs, **settings))


def env_keywords(config: EnvConfig) -> dict[str, Any]:
    """What `gym.make_vec` is told for one task, beside its id.

    Raises:
        ConfigError: The settings name several tasks.
    """
    shared = {name: getattr(config, name) for name in SharedSettings.model_fields if name != "suite"}
    return {"task": config.task, **shared}
