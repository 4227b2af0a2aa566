"""Episodes of one or more tasks as one batch: a block of consecutive members for each task, stepped side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.batch.reset_options import ResetOptions, initial_states
from tgrpo_envs.batch.task_batch import StepResult, TaskBatch, new_observations
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.settings import EnvSettings
from tgrpo_envs.sim.pool import WorkerPool
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Block:
    """Consecutive members that pose one task.

    Attributes:
        episodes: Their episodes, which write into the batch's observations.
        rows: Which members.
    """

    episodes: TaskBatch
    rows: slice


class MultiTaskBatch:
    """N members, each posing a task, with the observations of all in one set of arrays.

    Neighbours of the same task share a simulator. Blocks are stepped at the same time, each by a share of the threads.

    Args:
        settings_N: What each member poses; they may differ in the task only.
        max_control_steps: See `TaskBatch`.

    Attributes:
        blocks: The blocks, in the members' order.
        observations: (N, ...) arrays that `reset` and `step` overwrite in place.
    """

    def __init__(self, settings_N: Sequence[EnvSettings], max_control_steps: int | None = None) -> None:
        self.num_envs = len(settings_N)
        runs = [(settings, len(list(run))) for settings, run in groupby(settings_N)]
        threads = settings_N[0].num_threads or os.cpu_count() or 1
        self._num_workers = min(threads, len(runs))
        self._workers: WorkerPool | None = None
        self.blocks: list[Block] = []
        start = 0
        for settings, size in runs:
            rows = slice(start, start + size)
            if len(runs) > 1:
                share = min(size, threads // self._num_workers)
                settings = settings.model_copy(update={"num_threads": share})
            self.blocks.append(Block(TaskBatch(settings, size, max_control_steps), rows))
            start += size
        self._share_observations()

    def __getstate__(self) -> dict[str, Any]:
        """For copies: each block has its part of the observations."""
        return {name: value for name, value in vars(self).items() if name != "observations"} | {"_workers": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._share_observations()

    @property
    def state_size(self) -> int:
        """Numbers of a state observation, of the task with most of them; 0 without."""
        return max(block.episodes.state_size for block in self.blocks)

    def reset(self, options: ResetOptions, generators_N: Sequence[np.random.Generator]) -> None:
        """Start new episodes in the masked members.

        Args:
            options: Which members, and from which states.
            generators_N: Each member's randomness; a group draws from its first member's.

        Raises:
            ConfigError: A group would hold several tasks.
            StateError: A state that does not exist or does not fit; nobody is reset then.
        """
        chosen = [block for block in self.blocks if options.mask_N[block.rows].any()]
        for block in chosen:
            if block.episodes.num_envs % options.group_size:
                raise ConfigError(
                    f"group_size={options.group_size} must divide the members of every task; "
                    f"{block.episodes.settings.resolved_task.name} has {block.episodes.num_envs}."
                )

        def draw(block: Block) -> Callable[[], None]:
            own = options.rows(block.rows)
            states = initial_states(block.episodes, own, generators_N[block.rows])
            return lambda: block.episodes.reset(states, own.mask_N)

        self._each(lambda start: start(), self._each(draw, chosen))

    def check_started(self, live_N: BoolArray) -> None:
        """See `TaskBatch.check_started`."""
        for block in self.blocks:
            block.episodes.check_started(live_N[block.rows])

    def step(self, actions_NCA: FloatArray, live_N: BoolArray) -> StepResult:
        """One environment step of the live members; see `TaskBatch.step`."""
        results = self._each(
            lambda block: block.episodes.step(actions_NCA[block.rows], live_N[block.rows]), self.blocks
        )
        columns = (np.concatenate([getattr(one, field.name) for one in results]) for field in fields(StepResult))
        return StepResult(*columns)

    def info(self, result: StepResult) -> dict[str, NDArray[Any]]:
        """What `reset` and `step` report; rows of unequal length are padded at their end, see `join_rows`."""
        parts = [block.episodes.info(_rows(result, block.rows)) for block in self.blocks]
        return {key: join_rows([part[key] for part in parts]) for key in parts[0]}

    def frames(self) -> NDArray[np.uint8]:
        """The agentview of every member as it is now, (N, H, W, 3), upright."""
        return np.concatenate(self._each(lambda block: block.episodes.frames(), self.blocks))

    def close(self) -> None:
        """Release threads; closing twice is harmless."""
        for block in self.blocks:
            block.episodes.close()
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def _share_observations(self) -> None:
        """One set of arrays for all blocks, which keeps what they observe now."""
        self.observations = new_observations(self.blocks[0].episodes.settings, self.num_envs, self.state_size)
        for block in self.blocks:
            own = {key: array[block.rows] for key, array in self.observations.items()}
            if "state" in own:  # the widest task's fills the row, zeros follow those of others
                own["state"] = own["state"][:, : block.episodes.state_size]
            block.episodes.write_into(own)

    def _each(self, function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
        """What the function returns for every item, in order, computed side by side."""
        if len(items) == 1:
            return [function(items[0])]
        self._workers = self._workers or WorkerPool(self._num_workers)
        results: dict[int, _Result] = {}

        def work(_worker: int, i: int) -> None:
            results[i] = function(items[i])

        self._workers.map(work, range(len(items)))
        return [results[i] for i in range(len(items))]


def join_rows(parts: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    """Stack blocks of rows; columns that a block lacks are filled with zeros, which is False for stages.

    Args:
        parts: Arrays (n,) or (n, K), each with its own n and K.
    """
    width = max(part.shape[1:] for part in parts)
    if not width:
        return np.concatenate(parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, width[0] - part.shape[1]))) for part in parts])


def _rows(result: StepResult, rows: slice) -> StepResult:
    return StepResult(*(getattr(result, field.name)[rows] for field in fields(StepResult)))
