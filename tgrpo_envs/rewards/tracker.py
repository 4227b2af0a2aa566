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
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.rewards.binding import BoundSpec
from tgrpo_envs.rewards.credit import CreditProfile
from tgrpo_envs.rewards.spec import StageSpec
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout

if TYPE_CHECKING:
    from tgrpo_envs.rewards.judging import Judged
    from tgrpo_envs.rewards.observing import Seen

MIN_AHEAD = 0.1  # an episode that starts with every stage done has nothing left to divide by
RAMP_SHARE = 0.9  # a full ramp is worth less than a finished stage


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """One evaluation of all stages, and how it came about.

    Attributes:
        held_KN: Control steps in a row that `done` has held.
        completed_KN: Which stages were completed at some time.
        done_KN: Which stages count as done now.
        credit_KN: Share p of each stage's effort that is earned now.
        kept_N: Share of the progress that `maintain` leaves.
        open_KN: Whether the predecessors have completed.
        allowed_KN: Whether `while` holds.
        implied_KN: Which stages count as done because a goal conjunct they lead to holds.
        remaining_KN: What is left of each ramp, in its own unit (1 where a stage has no ramp).
        ramp_KN: Filled share of each ramp.
    """

    held_KN: NDArray[np.int64]
    completed_KN: BoolArray
    done_KN: BoolArray
    credit_KN: FloatArray
    kept_N: FloatArray
    open_KN: BoolArray
    allowed_KN: BoolArray
    implied_KN: BoolArray
    remaining_KN: FloatArray
    ramp_KN: FloatArray


class StageTracker:
    """Progress and reward of N environments of one scene under one spec.

    Environments may be reset at different times. An episode ends at success or at the horizon; after that a member
    earns nothing until it is reset.

    Attributes:
        bound: The spec's conditions and ramps over the scene.
    """

    _last: tuple[Seen, Judged]  # the last evaluation

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
        from tgrpo_envs.rewards import judging, paying  # bring numba, which importing this package must not

        profile.check_horizon(horizon)
        self.spec, self.profile, self.horizon, self._layout = spec, profile, horizon, layout
        self.bound = BoundSpec(spec, layout)
        self._effort_K1 = np.array([[float(stage.effort)] for stage in spec.stages])
        self._plan, self._judge_stages, self._pay = judging.make_plan(spec), judging.judge, paying.pay

        shape = (len(spec.stages), num_envs)
        self._start_NF = self.bound.start(Snapshot.empty(layout, num_envs))
        self._memory = judging.new_memory(*shape)
        self._span_KN = np.ones(shape)
        self._effort_KN = np.zeros(shape)
        self._baseline_N = np.zeros(num_envs)  # effort already earned at reset
        self._ahead_N = np.ones(num_envs)  # effort left to earn at reset
        self._account = paying.Account.new(num_envs)
        self._unmet_NC = np.zeros((num_envs, 0), dtype=bool)  # conjuncts that do not hold at reset

    def __getstate__(self) -> dict[str, object]:
        """For copies: all but the bound spec, which holds functions and follows from the rest."""
        return {name: value for name, value in vars(self).items() if name != "bound"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self.bound = BoundSpec(self.spec, self._layout)

    def reset(self, snapshot: Snapshot, goal_NC: BoolArray, mask_N: BoolArray) -> None:
        """Start an episode in the masked environments.

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
        self._start_NF[mask_N] = self.bound.start(snapshot)[mask_N]
        _, judged = self._judge(snapshot, goal_NC, mask_N, first=True)
        effort_KN = np.where(judged.done_KN, 0.0, self._effort_K1)
        np.copyto(self._effort_KN, effort_KN, where=mask_N)
        baseline_N = (effort_KN * judged.credit_KN).sum(axis=0)
        np.copyto(self._baseline_N, baseline_N, where=mask_N)
        np.copyto(self._ahead_N, np.maximum(effort_KN.sum(axis=0) - baseline_N, MIN_AHEAD), where=mask_N)
        self._account.restart(mask_N)

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
        account = self._account
        live_N = mask_N & ~account.ended_N
        seen, judged = self._judge(snapshot, goal_NC, live_N, first=False)
        progress_N = self._progress(judged.credit_KN, seen.kept_N, goal_NC)
        reward_N = self._pay(account, self.profile, self.horizon, progress_N, goal_NC, live_N, steps_N)
        # A copy of each: the tracker's own arrays change with the next step.
        stages_NK = self._memory.flags_2KN[1].T.copy()
        return StageReport(reward_N, account.progress_N.copy(), account.best_N.copy(), judged.stage_N, stages_NK)

    @property
    def done_NK(self) -> BoolArray:
        """Which stages count as done now, as of the last reset or step."""
        done_NK: BoolArray = self._memory.flags_2KN[1].T
        return done_NK

    @property
    def verdict(self) -> Verdict:
        """The last evaluation; there is none before the first reset. For traces, never for rewards."""
        seen, judged = self._last
        return Verdict(
            judged.held_KN,
            judged.completed_KN,
            judged.done_KN,
            judged.credit_KN,
            seen.kept_N,
            open_KN=judged.open_KN,
            allowed_KN=seen.allowed_KN,
            implied_KN=judged.implied_KN,
            remaining_KN=seen.remaining_KN,
            ramp_KN=judged.ramp_KN,
        )

    @property
    def share_KN(self) -> FloatArray:
        """Progress that each stage is worth since reset; 0 for those done at reset."""
        share_KN: FloatArray = self._effort_KN / self._ahead_N
        return share_KN

    @property
    def span_KN(self) -> FloatArray:
        """Each ramp's full length since reset, in its own unit (1 where a stage has no ramp)."""
        return self._span_KN.copy()

    def _judge(self, snapshot: Snapshot, goal_NC: BoolArray, mask_N: BoolArray, *, first: bool) -> tuple[Seen, Judged]:
        """Evaluate all stages and remember those of the masked environments."""
        seen = self.bound.observe_since(self._start_NF, snapshot, goal_NC)
        if first:
            np.copyto(self._span_KN, self.bound.spans(seen.remaining_KN), where=mask_N)
        judged: Judged = self._judge_stages(self._plan, self._memory, seen, self._span_KN, goal_NC, mask_N, first=first)
        self._last = seen, judged
        return seen, judged

    def _progress(self, credit_KN: FloatArray, kept_N: FloatArray, goal_NC: BoolArray) -> FloatArray:
        if self.profile.mode == "goals-only":
            share_N: FloatArray = (goal_NC & self._unmet_NC).sum(axis=1) / np.maximum(self._unmet_NC.sum(axis=1), 1)
            return share_N
        # In whole efforts, not weights: exactly 1 when every stage is done.
        earned_N = (self._effort_KN * credit_KN).sum(axis=0)
        gained_N = np.maximum((earned_N - self._baseline_N) / self._ahead_N, 0.0)
        progress_N: FloatArray = np.minimum(gained_N, 1.0) * kept_N
        return progress_N
