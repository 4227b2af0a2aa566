"""What an environment says about its task, and one member of a vector environment as Gymnasium's `call` sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.utils import seeding

from tgrpo_envs.episodes import Episodes
from tgrpo_envs.settings import EnvSettings
from tgrpo_envs.tasks import Task


class TaskFacts:
    """Read-only facts about the task that `episodes` pose."""

    @property
    def episodes(self) -> Episodes:
        """The episodes in question."""
        raise NotImplementedError

    @property
    def settings(self) -> EnvSettings:
        """What the user chose."""
        return self.episodes.settings

    @property
    def task(self) -> Task:
        """The task."""
        return self.settings.resolved_task

    @property
    def task_description(self) -> str:
        """The instruction, as LeRobot's evaluation reads it."""
        return self.task.instruction

    @property
    def horizon(self) -> int:
        """Episode limit in control steps."""
        return self.settings.episode_horizon

    @property
    def _max_episode_steps(self) -> int:
        """Episode limit in environment steps, as LeRobot's evaluation reads it."""
        return -(-self.horizon // self.settings.action_chunk)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the reward's stages, in the order of ``info["stages"]``."""
        return tuple(stage.id for stage in self.episodes.spec.stages)

    @property
    def asset_pack(self) -> str:
        """Shapes the scene is made of, resolved where `assets` is ``auto``: the label that results carry."""
        return self.episodes.scene.pack_name

    def num_init_states(self, name: str) -> int:
        """Size of the ``heldout`` or ``official`` set."""
        return len(self.episodes.fixed_states(name))


class Member(TaskFacts):
    """One member of a vector environment.

    Args:
        episodes: The episodes it is one of.

    Attributes:
        np_random: Draws this member's initial states.
    """

    def __init__(self, episodes: Episodes) -> None:
        self._episodes = episodes
        self.np_random: np.random.Generator = seeding.np_random()[0]

    @property
    def episodes(self) -> Episodes:
        """The episodes it is one of."""
        return self._episodes

    def seed(self, seed: int) -> None:
        """Start its random numbers anew, as `gymnasium.Env.reset(seed=...)` does."""
        self.np_random = seeding.np_random(seed)[0]

    def value(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """An attribute, or what it returns where it is a method."""
        attribute = getattr(self, name)
        return attribute(*args, **kwargs) if callable(attribute) else attribute
