"""Follows a spec through episodes: stage truth, progress and reward of N environments, vectorised.

The semantics, stage k of weight w_k = effort_k / sum of efforts (stages already done at reset weigh nothing):

    p_k = 1            if stage k is done: latched ("once") or holding now ("live")
        = 0            if a predecessor never completed, or `while` is false
        = 0.9 ramp_k   otherwise
    phi = clip((sum_k w_k p_k - phi_0) / (1 - phi_0), 0, 1) * product of what `maintain` leaves
    M   = the largest phi so far

A stage completes when its predecessors have completed and `done` has held for `hold_steps`. While a goal conjunct
holds, the stages that lead to it count as done: a success without a lift is a success.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.rewards.bind import BoundSpec
from tgrpo_envs.rewards.credit import Account, CreditProfile
from tgrpo_envs.rewards.entities import Moment
from tgrpo_envs.rewards.spec import StageSpec
from tgrpo_envs.rewards.stages import Memory, StageOrder, Verdict
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout

MIN_AHEAD = 0.1  # an episode that starts with every stage done has nothing left to divide by


@dataclass(frozen=True, slots=True)
class StageReport:
    """What one control step did; arrays are the caller's to keep.

    Attributes:
        reward_N: Reward, float64; 0 for members that were masked or had ended.
        progress_N: Progress phi in [0, 1].
        best_N: Best progress of the episode, M.
        stage_N: Row of the first stage (in the spec's order) that is not done; K when all are.
        stages_NK: Which stages count as done now.
    """

    reward_N: FloatArray
    progress_N: FloatArray
    best_N: FloatArray
    stage_N: NDArray[np.int64]
    stages_NK: BoolArray

    @classmethod
    def before_reset(cls, num_envs: int) -> StageReport:
        """Of N members whose stages nobody has looked up yet: K is 0."""
        reward_N, progress_N, best_N = np.zeros((3, num_envs))
        stage_N: NDArray[np.int64] = np.zeros(num_envs, dtype=np.int64)
        return cls(reward_N, progress_N, best_N, stage_N, np.zeros((num_envs, 0), dtype=bool))


class StageTracker:
    """Progress and reward of N environments of one scene under one spec.

    Environments may be reset at different times. An episode ends at success or at the horizon; after that a member
    earns nothing until it is reset.

    Attributes:
        bound: The spec's conditions and ramps over the scene.
        verdict: The last evaluation; there is none before the first reset. For traces, never for rewards.
    """

    verdict: Verdict

    def __init__(
        self, spec: StageSpec, profile: CreditProfile, layout: SnapshotLayout, num_envs: int, horizon: int
    ) -> None:
        """Bind the spec to the scene.

        Args:
            spec: The stages.
            profile: The scale.
            layout: Names and rows of the scene's snapshots.
            num_envs: N.
            horizon: Most control steps of an episode, H.

        Raises:
            UnknownNameError: The spec names an entity that the scene lacks.
            SpecError: An entity is of the wrong kind for its op.
            ConfigError: The profile's `beta` is too large for its discount.
        """
        profile.check_horizon(horizon)
        self.spec, self.profile, self.horizon = spec, profile, horizon
        self.bound = BoundSpec(spec, layout)
        self._effort_K1 = np.array([[float(stage.effort)] for stage in spec.stages])
        self._order = StageOrder(spec)

        shape = (len(spec.stages), num_envs)
        self._start = Snapshot.empty(layout, num_envs)
        self._memory = Memory.before_reset(*shape)
        self._span_KN = np.ones(shape)
        self._effort_KN = np.zeros(shape)
        self._baseline_N = np.zeros(num_envs)  # effort already earned at reset
        self._ahead_N = np.ones(num_envs)  # effort left to earn at reset
        self._account = Account(profile, horizon, num_envs)
        self._unmet_NC = np.zeros((num_envs, 0), dtype=bool)  # conjuncts that do not hold at reset

    def reset(self, snapshot: Snapshot, goal_NC: BoolArray, mask_N: BoolArray) -> StageReport:
        """Start an episode in the masked environments; the report of the others is that of their last step.

        Args:
            snapshot: The scene now, after the simulator's reset.
            goal_NC: Truth of each goal conjunct.
            mask_N: Which environments were reset.

        Raises:
            SpecError: The spec refers to a goal conjunct that the task does not have.
        """
        self.bound.check_goal(goal_NC.shape[1])
        if self._unmet_NC.shape != goal_NC.shape:
            self._unmet_NC = np.zeros(goal_NC.shape, dtype=bool)
        self._unmet_NC[mask_N] = ~goal_NC[mask_N]
        self._start.overwrite(snapshot, mask_N)
        seen = self.bound.observe(Moment(snapshot, self._start, goal_NC))
        np.copyto(self._span_KN, self.bound.spans(seen.remaining_KN), where=mask_N)
        verdict = self._order.judge(Memory.before_reset(*self._span_KN.shape), seen, self._span_KN, goal_NC)
        self._memory.remember(verdict, mask_N)
        self.verdict = verdict
        effort_KN = np.where(verdict.done_KN, 0.0, self._effort_K1)
        np.copyto(self._effort_KN, effort_KN, where=mask_N)
        baseline_N = (effort_KN * verdict.credit_KN).sum(axis=0)
        np.copyto(self._baseline_N, baseline_N, where=mask_N)
        np.copyto(self._ahead_N, np.maximum(effort_KN.sum(axis=0) - baseline_N, MIN_AHEAD), where=mask_N)
        self._account.restart(mask_N)
        return self._report(np.zeros(len(mask_N)))

    def step(
        self, snapshot: Snapshot, goal_NC: BoolArray, mask_N: BoolArray, steps_N: NDArray[np.int64]
    ) -> StageReport:
        """Account for one control step of the masked environments.

        Args:
            snapshot: The scene after the step.
            goal_NC: Truth of each goal conjunct; all true is success.
            mask_N: Which environments stepped.
            steps_N: Control steps each episode has taken, this one included.
        """
        account, memory = self._account, self._memory
        live_N = mask_N & ~account.ended_N
        seen = self.bound.observe(Moment(snapshot, self._start, goal_NC))
        self.verdict = self._order.judge(memory, seen, self._span_KN, goal_NC)
        memory.remember(self.verdict, live_N)
        progress_N = self._progress(self.verdict, goal_NC)
        return self._report(account.pay(progress_N, goal_NC, live_N, steps_N))

    @property
    def psi_N(self) -> FloatArray:
        """Paid progress of each episode."""
        return self._account.psi_N.copy()

    @property
    def done_NK(self) -> BoolArray:
        """Which stages count as done now, as of the last reset or step."""
        return self._memory.done_KN.T

    @property
    def share_KN(self) -> FloatArray:
        """Progress that each stage is worth since reset; 0 for those done at reset."""
        share_KN: FloatArray = self._effort_KN / self._ahead_N
        return share_KN

    @property
    def span_KN(self) -> FloatArray:
        """Each ramp's full length since reset, in its own unit (1 where a stage has no ramp)."""
        return self._span_KN.copy()

    def _report(self, reward_N: FloatArray) -> StageReport:
        """The present state; a copy of each array, since the tracker's own change with the next step."""
        done_KN = self._memory.done_KN
        return StageReport(
            reward_N,
            self._account.progress_N.copy(),
            self._account.best_N.copy(),
            stage_N=np.add.reduce(np.logical_and.accumulate(done_KN), axis=0),
            stages_NK=done_KN.T.copy(),
        )

    def _progress(self, verdict: Verdict, goal_NC: BoolArray) -> FloatArray:
        if self.profile.mode == "goals-only":
            share_N: FloatArray = (goal_NC & self._unmet_NC).sum(axis=1) / np.maximum(self._unmet_NC.sum(axis=1), 1)
            return share_N
        # In whole efforts, not weights: exactly 1 when every stage is done.
        earned_N = (self._effort_KN * verdict.credit_KN).sum(axis=0)
        gained_N = np.maximum((earned_N - self._baseline_N) / self._ahead_N, 0.0)
        progress_N: FloatArray = np.minimum(gained_N, 1.0) * verdict.seen.kept_N
        return progress_N
