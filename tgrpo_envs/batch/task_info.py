"""The task's facts that an environment exposes, and the view of one member that Gymnasium's `call` uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import seeding

from tgrpo_envs.batch.task_batch import TaskBatch
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.settings import EnvSettings, as_json
from tgrpo_envs.tasks import Task


class TaskInfo:
    """Read-only facts about the task that `episodes` pose."""

    @property
    def episodes(self) -> TaskBatch:
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
        return self.settings.instruction

    @property
    def horizon(self) -> int:
        """Episode limit in control steps."""
        return self.episodes.limit

    @property
    def _max_episode_steps(self) -> int:
        """Episode limit in environment steps, as LeRobot's evaluation reads it."""
        return -(-self.horizon // self.settings.action_chunk)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the reward's stages, in the order of ``info["stages"]``."""
        return tuple(stage.id for stage in self.episodes.spec.stages)

    @property
    def state_layout(self) -> Mapping[str, slice]:
        """Where each named part lies in the observation ``state``.

        Raises:
            ConfigError: States are not observed.
        """
        observer = self.episodes.state_observer
        if observer is None:
            raise ConfigError('This environment does not observe states; make it with observe="state".')
        return observer.layout

    @property
    def asset_pack(self) -> str:
        """Shapes the scene is made of, resolved where `assets` is ``auto``: the label that results carry."""
        return self.episodes.scene.pack_name

    def num_init_states(self, name: str) -> int:
        """Size of the ``heldout`` or ``official`` set."""
        return len(self.episodes.fixed_states(name))


class Registered(TaskInfo):
    """An environment of Gymnasium's registry, whose spec says how long an episode is and can be written as JSON.

    Registering a limit would not do: it would hold whatever `horizon` and `action_chunk` a user chooses, and `gym.make`
    would end episodes there. Making an environment from its completed spec ends them where they end anyway.
    """

    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """How to make this environment again; None without `gym.make`."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None:
            limit = self._max_episode_steps
            steps = limit if spec.max_episode_steps is None else min(spec.max_episode_steps, limit)
            spec = replace(spec, max_episode_steps=steps, kwargs=as_json(spec.kwargs))
        self._spec = spec


class MemberView(TaskInfo):
    """One member of a vector environment.

    Args:
        episodes: The episodes it is one of.

    Attributes:
        np_random: Draws this member's initial states.
        np_random_seed: What it was seeded with.
    """

    def __init__(self, episodes: TaskBatch) -> None:
        self._episodes = episodes
        self.np_random, self.np_random_seed = seeding.np_random()

    @property
    def episodes(self) -> TaskBatch:
        """The episodes it is one of."""
        return self._episodes

    def seed(self, seed: int) -> None:
        """Start its random numbers anew, as `gymnasium.Env.reset(seed=...)` does."""
        self.np_random, self.np_random_seed = seeding.np_random(seed)

    def value(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """An attribute, or what it returns where it is a method."""
        attribute = getattr(self, name)
        return attribute(*args, **kwargs) if callable(attribute) else attribute
