"""Scores a recorded episode: the reward any spec would have paid, from snapshots alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tgrpo_envs.rewards.credit import CreditProfile
from tgrpo_envs.rewards.spec import StageSpec
from tgrpo_envs.rewards.tracker import StageReport, StageTracker
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout


@dataclass(frozen=True)
class Score:
    """What a spec says of T control steps.

    Attributes:
        rewards_T: Reward of each step.
        progress_T: Progress phi after each step.
        stages_TK: Which stages were done after each step.
    """

    rewards_T: FloatArray
    progress_T: FloatArray
    stages_TK: BoolArray

    @property
    def episode_return(self) -> float:
        """Sum of the rewards, without discount."""
        return float(self.rewards_T.sum())

    def first_done(self) -> list[int | None]:
        """Control step, from 1, at which each stage was first done; None where it never was."""
        return [int(done_T.argmax()) + 1 if done_T.any() else None for done_T in self.stages_TK.T]


def rescore(
    spec: StageSpec,
    layout: SnapshotLayout,
    snapshots: Snapshot,
    goal_MC: BoolArray,
    *,
    horizon: int,
    profile: CreditProfile | None = None,
) -> Score:
    """Follow a spec through the M = T + 1 moments of one episode, the first being its reset.

    Args:
        spec: The stages.
        layout: Names of the snapshots' rows.
        snapshots: One row for each moment.
        goal_MC: Truth of the goal's conjuncts at each moment.
        horizon: Most control steps of the episode.
        profile: How progress is paid; None takes the default one.

    Raises:
        UnknownNameError: The spec names an entity that the scene lacks.
        SpecError: The spec does not fit the scene or the goal.
    """
    tracker = StageTracker(spec, profile or CreditProfile(), layout, 1, horizon)
    reports = [report for report in follow(tracker, snapshots, goal_MC) if report is not None]
    return Score(
        rewards_T=np.array([report.reward_N[0] for report in reports]),
        progress_T=np.array([report.progress_N[0] for report in reports]),
        stages_TK=np.array([report.stages_NK[0] for report in reports], dtype=bool).reshape(-1, len(spec.stages)),
    )


def follow(tracker: StageTracker, snapshots: Snapshot, goal_MC: BoolArray) -> Iterator[StageReport | None]:
    """Take a tracker of one environment through an episode's moments: None after the reset, then each step's report.

    Args:
        tracker: The tracker; it is reset first.
        snapshots: One row for each moment.
        goal_MC: Truth of the goal's conjuncts at each moment.
    """
    one = np.ones(1, dtype=bool)
    tracker.reset(snapshots.take(slice(1)), goal_MC[:1], one)
    yield None
    for m in range(1, len(goal_MC)):
        now = slice(m, m + 1)
        yield tracker.step(snapshots.take(now), goal_MC[now], one, np.array([m]))
