"""The tasks of a run: whose turn it is, and environments for any choice of them, few of which are open at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.rollout.environment import Envs, Info, Members, Observation
from tgrpo_trainer.run.rng import Stream, derive_seed

MakeEnvs = Callable[[EnvConfig, int], Envs]
_Scalar = TypeVar("_Scalar", bound=np.generic)


def draw_tasks(num_tasks: int, num_groups: int, *, seed: int, iteration: int) -> list[int]:
    """The task of each group of an iteration, as places in the run's list of tasks, in ascending order.

    Tasks are drawn uniformly and without replacement: each comes once before any comes again. Such a round goes on from
    one iteration to the next; its order follows from the run's seed and its number, so a resumed run draws the same.

    Args:
        num_tasks: Of the run.
        num_groups: Of an iteration, all ranks' together.
        seed: The run's.
        iteration: Iterations before this one.
    """
    drawn = []
    for position in range(iteration * num_groups, (iteration + 1) * num_groups):
        number, place = divmod(position, num_tasks)
        order = np.random.default_rng(derive_seed(seed, Stream.TASKS, number)).permutation(num_tasks)
        drawn.append(int(order[place]))
    return sorted(drawn)


def task_key(config: EnvConfig) -> str:
    """A task's name in metrics and file names, for example `task_03`.

    Args:
        config: Settings of one task.
    """
    return f"task_{config.resolved_task.index:02d}"


class _Key(NamedTuple):
    """An open environment: which half plays it, its task, and its members."""

    half: int
    task: int
    num_envs: int


class TaskEnvs:
    """The environments of a run's tasks.

    They are opened when they are first needed and kept for the next time. Once `config.max_open_tasks` are open, the
    one unused for longest is closed for the next. A task that comes back draws the same states from the same seeds,
    however often its scene was closed in between.

    Args:
        config: Settings of all tasks.
        num_envs: Members of one iteration here.
        group_size: Consecutive members that pose one task.
        make_envs: Makes the environment of one task.

    Attributes:
        tasks: The settings of each task alone, in the order of the run's list.

    Raises:
        UnknownNameError: A name that does not exist.
        ConfigError: A setting out of range.
    """

    def __init__(self, config: EnvConfig, num_envs: int, group_size: int, make_envs: MakeEnvs) -> None:
        self.tasks = config.of_each_task()
        self.num_envs = num_envs
        self._group_size = group_size
        self._make_envs = make_envs
        self._most_open = config.max_open_tasks
        self._open: dict[_Key, Envs] = {}  # the one unused for longest first
        self._parts: dict[int, list[_Key]] = {}  # what each half plays
        for task in self.tasks:  # settings that cannot work are refused now, not when their task has its turn
            make_envs(task, 1).close()

    def for_groups(self, tasks_B: Sequence[int], half: int = 0) -> Members:
        """Members for groups of these tasks, in this order; usable until the next call for this half.

        Args:
            tasks_B: The place of each group's task in `tasks`; groups of one task are neighbours.
            half: 0 or 1, where two halves of an iteration's groups play at the same time.
        """
        parts = [_Key(half, task, len(list(groups)) * self._group_size) for task, groups in groupby(tasks_B)]
        self._parts[half] = parts
        for key in parts:
            found = self._open.pop(key, None)
            self._open[key] = self._make_envs(self.tasks[key.task], key.num_envs) if found is None else found
        while len(self._open) > max(self._most_open, sum(map(len, self._parts.values()))):
            self._open.pop(next(iter(self._open))).close()
        joined = [self._open[key] for key in parts]
        return joined[0] if len(joined) == 1 else JoinedEnvs(joined)

    @contextmanager
    def lend(self, task: EnvConfig, num_envs: int) -> Iterator[Envs]:
        """An environment of one of the tasks, for a while: a run's only one at its full width, else one of its own."""
        if self.tasks == (task,):
            key = _Key(0, 0, self.num_envs)
            if key not in self._open:
                self._open[key] = self._make_envs(task, self.num_envs)
            yield self._open[key]
        else:
            with closing(self._make_envs(task, num_envs)) as envs:
                yield envs

    def close(self) -> None:
        """Release all simulators."""
        while self._open:
            self._open.popitem()[1].close()


class JoinedEnvs:
    """The members of several environments as one row of members; whoever made the environments closes them.

    Args:
        parts: At least one, in the members' order.
    """

    def __init__(self, parts: Sequence[Envs]) -> None:
        self._parts = parts
        ends = np.cumsum([part.num_envs for part in parts]).tolist()
        self._rows = [slice(end - part.num_envs, end) for part, end in zip(parts, ends, strict=True)]
        self.num_envs: int = ends[-1]

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """See `Members.get_attr`."""
        return tuple(value for part in self._parts for value in part.get_attr(name))

    def reset(
        self, *, seed: list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """See `Members.reset`; the options are those of every part, so none may speak of single members."""
        started = [
            part.reset(seed=None if seed is None else seed[rows], options=options)
            for part, rows in zip(self._parts, self._rows, strict=True)
        ]
        return _joined([observation for observation, _ in started]), _joined([info for _, info in started])

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """See `Members.step`."""
        steps = [part.step(actions[rows]) for part, rows in zip(self._parts, self._rows, strict=True)]
        observations, rewards, terminated, truncated, infos = zip(*steps, strict=True)
        return (
            _joined(observations),
            np.concatenate(rewards),
            np.concatenate(terminated),
            np.concatenate(truncated),
            _joined(infos),
        )


def _joined(parts: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {key: _stacked([part[key] for part in parts]) for key in parts[0]}


def _stacked(parts: Sequence[NDArray[_Scalar]]) -> NDArray[_Scalar]:
    """Rows below each other; stages that a task does not have are False."""
    if parts[0].ndim != 2:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts])
