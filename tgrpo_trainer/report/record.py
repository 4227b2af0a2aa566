"""The best and the worst rollout of the last group, kept on disk for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tgrpo_envs.errors import CheckpointError
from tgrpo_envs.files import ARRAY_ERRORS, atomic_file
from tgrpo_trainer.rollout.environment import CONTROL_STEP_S
from tgrpo_trainer.rollout.rollout import Group, Rollout
from tgrpo_trainer.types import EpisodeEnd

RECORD_NAME = "last_group.npz"
_FIELDS = ("frames_THWC", "actions_TCA", "rewards_T", "stages_TK", "control_steps", "end")
_NUMBERS = ("iteration", "state_seed", "seconds_per_decision", "task")


@dataclass(frozen=True)
class RolloutRecord:
    """One rollout as the report shows it."""

    frames_THWC: NDArray[np.uint8]
    """What the policy saw before each decision: agent view and wrist view side by side."""
    actions_TCA: NDArray[np.float32]
    """The action chunk of each decision."""
    rewards_T: NDArray[np.float64]
    """Reward of each decision."""
    stages_TK: NDArray[np.bool_]
    """Stages that were done after each decision."""
    control_steps: int
    """Length (50 ms each)."""
    end: str
    """Why it ended (EpisodeEnd's value)."""

    @classmethod
    def of(cls, member: Rollout) -> RolloutRecord:
        """What the report shows of a member of a group."""
        seen = member.trajectory.observations
        return cls(
            frames_THWC=torch.cat([seen.agentview_NHWC, seen.wrist_NHWC], dim=2).numpy(),
            actions_TCA=member.actions_TCA.numpy(),
            rewards_T=member.trajectory.rewards_T.numpy(),
            stages_TK=member.stages_TK.numpy(),
            control_steps=member.trajectory.control_steps,
            end=str(member.trajectory.end),
        )

    def check(self) -> None:
        """Make sure that the report can show it.

        Raises:
            ValueError: Arrays of another kind or length, NaN or infinity, or an end that does not exist.
        """
        EpisodeEnd(self.end)
        steps = len(self.rewards_T)
        kinds = {"frames_THWC": ("u1", 4), "actions_TCA": ("f4", 3), "rewards_T": ("f8", 1), "stages_TK": ("b1", 2)}
        for name, (kind, axes) in kinds.items():
            array = getattr(self, name)
            if array.dtype != np.dtype(kind) or array.ndim != axes or len(array) != steps:
                raise ValueError(f"{name} is {array.dtype} of shape {array.shape}")
        if self.frames_THWC.shape[-1] != 3 or not (
            np.isfinite(self.rewards_T).all() and np.isfinite(self.actions_TCA).all()
        ):
            raise ValueError("pictures without three channels, or numbers that are not finite")

    @property
    def total_reward(self) -> float:
        """The return."""
        return float(self.rewards_T.sum())


@dataclass(frozen=True)
class LastGroup:
    """Best and worst rollout of one group."""

    iteration: int
    """Iteration the group was collected in (1 = the first)."""
    state_seed: int
    """Seed that the group's start state was drawn with."""
    seconds_per_decision: float
    """Simulated time of a decision."""
    best: RolloutRecord
    worst: RolloutRecord
    task: int = 0
    """Place of its task in the run's list of tasks."""

    @property
    def spread(self) -> float:
        """How much more the best returned than the worst."""
        return self.best.total_reward - self.worst.total_reward

    def save(self, folder: Path) -> None:
        """Write to the run's folder, replacing the earlier file in one step."""
        arrays: dict[str, Any] = {
            f"{which}_{field}": np.asarray(getattr(record, field))
            for which, record in (("best", self.best), ("worst", self.worst))
            for field in _FIELDS
        }
        for name in _NUMBERS:
            arrays[name] = getattr(self, name)
        with atomic_file(folder / RECORD_NAME) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, folder: Path) -> LastGroup | None:
        """Read what `save` wrote; None if no iteration has finished yet.

        Raises:
            CheckpointError: The file is damaged or of another version.
        """
        path = folder / RECORD_NAME
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                read = {name: array if array.ndim else array.item() for name, array in arrays.items()}
            best, worst = (
                RolloutRecord(**{name: read[f"{which}_{name}"] for name in _FIELDS}) for which in ("best", "worst")
            )
            best.check()
            worst.check()
            return cls(**{name: read[name] for name in _NUMBERS}, best=best, worst=worst)
        except ARRAY_ERRORS as error:
            raise CheckpointError(
                f"{path} cannot be read ({error}); delete it to write the report without videos."
            ) from error


def find_last_group(
    groups: Sequence[Group],
    state_seeds: Sequence[int],
    iteration: int,
    action_chunk: int,
    tasks: Sequence[int] | None = None,
) -> LastGroup | None:
    """The best and the worst member of the iteration's group in which they differ most; None if no one decided.

    Groups of one iteration are collected at the same time, so each of them is the last; the one with the widest spread
    shows most.

    Args:
        groups: Of one iteration.
        state_seeds: Each group's.
        iteration: Its number, from 1.
        action_chunk: Control steps of a decision.
        tasks: Place of each group's task in the run's list; None in a run of one task.
    """
    played = [[member for member in group if len(member.trajectory)] for group in groups]
    facts = zip(played, state_seeds, tasks or [0] * len(groups), strict=True)
    ranked = [(sorted(group, key=_return), seed, task) for group, seed, task in facts if group]
    if not ranked:  # the simulator diverged at every member's first decision: there is nothing to show
        return None
    widest, state_seed, task = max(ranked, key=lambda one: _return(one[0][-1]) - _return(one[0][0]))
    return LastGroup(
        iteration=iteration,
        state_seed=state_seed,
        seconds_per_decision=action_chunk * CONTROL_STEP_S,
        best=RolloutRecord.of(widest[-1]),
        worst=RolloutRecord.of(widest[0]),
        task=task,
    )


def _return(member: Rollout) -> float:
    return member.trajectory.total_reward
