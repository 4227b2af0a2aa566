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

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import SpecError
from tgrpo_envs.rewards.binding import BoundSpec
from tgrpo_envs.rewards.credit import CreditProfile, paid_progress, step_reward, success_reward
from tgrpo_envs.rewards.predicates import Moment
from tgrpo_envs.rewards.spec import StageSpec, goal_indices, predecessors, topological_order
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout

MIN_AHEAD = 0.1  # an episode that starts with every stage done has nothing left to divide by
RAMP_SHARE = 0.9  # a full ramp is worth less than a finished stage
ALWAYS_HELD_STEPS = 1_000_000  # what holds at reset has held for ever: it must not be paid for when debouncing ends


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
    kept_N: FloatArray | float
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
        before = predecessors(spec)
        self._root_K1 = np.array([[not rows] for rows in before])
        self._ordered = [(k, list(before[k])) for k in topological_order(spec) if before[k]]
        self._leads_to = _leads_to(spec)
        self._effort_K1 = np.array([[float(stage.effort)] for stage in spec.stages])
        self._hold_K1 = np.array([[stage.hold_steps] for stage in spec.stages])
        self._once_K1 = np.array([[stage.latch == "once"] for stage in spec.stages])

        shape = (len(spec.stages), num_envs)
        self._start = Snapshot.empty(layout, num_envs)
        self._held_KN = np.zeros(shape, dtype=np.int64)
        self._completed_KN = np.zeros(shape, dtype=bool)
        self._done_KN = np.zeros(shape, dtype=bool)
        self._span_KN = np.ones(shape)
        self._effort_KN = np.zeros(shape)
        self._baseline_N = np.zeros(num_envs)  # effort already earned at reset
        self._ahead_N = np.ones(num_envs)  # effort left to earn at reset
        self._progress_N = np.zeros(num_envs)
        self._best_N = np.zeros(num_envs)
        self._psi_N = np.zeros(num_envs)
        self._returned_N = np.zeros(num_envs)
        self._ended_N = np.ones(num_envs, dtype=bool)
        self._unmet_NC = np.zeros((num_envs, 0), dtype=bool)  # conjuncts that do not hold at reset

    def reset(self, snapshot: Snapshot, goal_NC: BoolArray, mask_N: BoolArray) -> None:
        """Start an episode in the masked environments.

        Args:
            snapshot: The scene now, after the simulator's reset.
            goal_NC: Truth of each goal conjunct.
            mask_N: Which environments were reset.

        Raises:
            SpecError: The spec refers to a goal conjunct that the task does not have.
        """
        self._check_goal(goal_NC.shape[1])
        if self._unmet_NC.shape != goal_NC.shape:
            self._unmet_NC = np.zeros(goal_NC.shape, dtype=bool)
        self._unmet_NC[mask_N] = ~goal_NC[mask_N]
        for field in fields(Snapshot):
            getattr(self._start, field.name)[mask_N] = getattr(snapshot, field.name)[mask_N]
        moment = Moment(snapshot, self._start, goal_NC)
        remaining_KN = self.bound.observe(moment)[2]
        np.copyto(self._span_KN, self.bound.spans(remaining_KN), where=mask_N)

        fresh_KN = np.zeros_like(self._completed_KN)
        verdict = self._judge(moment, np.full_like(self._held_KN, ALWAYS_HELD_STEPS), fresh_KN)
        effort_KN = np.where(verdict.done_KN, 0.0, self._effort_K1)
        np.copyto(self._effort_KN, effort_KN, where=mask_N)
        baseline_N = (effort_KN * verdict.credit_KN).sum(axis=0)
        np.copyto(self._baseline_N, baseline_N, where=mask_N)
        np.copyto(self._ahead_N, np.maximum(effort_KN.sum(axis=0) - baseline_N, MIN_AHEAD), where=mask_N)
        self._remember(verdict, mask_N)
        for array in (self._progress_N, self._best_N, self._psi_N, self._returned_N):
            array[mask_N] = 0.0
        self._ended_N[mask_N] = False

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
        live_N = mask_N & ~self._ended_N
        verdict = self._judge(Moment(snapshot, self._start, goal_NC), self._held_KN, self._completed_KN)
        progress_N = self._progress(verdict, goal_NC)
        best_N = np.maximum(self._best_N, progress_N)
        psi_N = paid_progress(best_N, progress_N, self.profile)
        success_N = goal_NC.all(axis=1)
        reward_N = step_reward(psi_N, self._psi_N, self.profile)
        if success_N.any():
            jump_N = success_reward(self._returned_N, self._psi_N, steps_N, self.horizon, self.profile)
            reward_N = np.where(success_N, jump_N, reward_N)
        reward_N = np.where(live_N, reward_N, 0.0)

        self._remember(verdict, live_N)
        np.copyto(self._progress_N, progress_N, where=live_N)
        np.copyto(self._best_N, best_N, where=live_N)
        np.copyto(self._psi_N, psi_N, where=live_N)
        self._returned_N += reward_N
        self._ended_N |= live_N & (success_N | (steps_N >= self.horizon))
        return self._report(reward_N)

    @property
    def share_KN(self) -> FloatArray:
        """Progress that each stage is worth since reset; 0 for those done at reset."""
        share_KN: FloatArray = self._effort_KN / self._ahead_N
        return share_KN

    @property
    def span_KN(self) -> FloatArray:
        """Each ramp's full length since reset, in its own unit (1 where a stage has no ramp)."""
        return self._span_KN.copy()

    def _judge(self, moment: Moment, held_KN: NDArray[np.int64], completed_KN: BoolArray) -> Verdict:
        """Evaluate all stages from the given memory, without touching the tracker's own."""
        holds_KN, allowed_KN, remaining_KN, kept_N = self.bound.observe(moment)
        held_KN = (held_KN + 1) * holds_KN
        ready_KN = held_KN >= self._hold_K1
        implied_KN = self._implied(moment.goal_NC)
        passed_KN = completed_KN | implied_KN
        open_KN = np.ones_like(passed_KN)
        passed_KN |= ready_KN & self._root_K1
        for k, before in self._ordered:  # in topological order: a chain may complete in one control step
            open_KN[k] = passed_KN[before].all(axis=0) if len(before) > 1 else passed_KN[before[0]]
            passed_KN[k] |= ready_KN[k] & open_KN[k]
        met_KN = ready_KN & open_KN
        completed_KN = completed_KN | met_KN
        done_KN = met_KN | implied_KN | (completed_KN & self._once_K1)
        # fmax before fmin: the NaN of a diverged environment earns 0
        ramp_KN = np.fmin(np.fmax(1.0 - remaining_KN / self._span_KN, 0.0), 1.0)
        credit_KN = np.maximum(RAMP_SHARE * ramp_KN * (open_KN & allowed_KN), done_KN)
        return Verdict(
            held_KN,
            completed_KN,
            done_KN,
            credit_KN,
            kept_N,
            open_KN=open_KN,
            allowed_KN=allowed_KN,
            implied_KN=implied_KN,
            remaining_KN=remaining_KN,
            ramp_KN=ramp_KN,
        )

    def _implied(self, goal_NC: BoolArray) -> BoolArray:
        """Stages that count as done because a goal conjunct they lead to holds, (K, N)."""
        implied_KN = np.zeros_like(self._completed_KN)
        if goal_NC.any():
            for k, index in self._leads_to:
                implied_KN[k] |= goal_NC[:, index]
        return implied_KN

    def _progress(self, verdict: Verdict, goal_NC: BoolArray) -> FloatArray:
        if self.profile.mode == "goals-only":
            share_N: FloatArray = (goal_NC & self._unmet_NC).sum(axis=1) / np.maximum(self._unmet_NC.sum(axis=1), 1)
            return share_N
        # In whole efforts, not weights: exactly 1 when every stage is done.
        earned_N = (self._effort_KN * verdict.credit_KN).sum(axis=0)
        gained_N = np.maximum((earned_N - self._baseline_N) / self._ahead_N, 0.0)
        progress_N: FloatArray = np.minimum(gained_N, 1.0) * verdict.kept_N
        return progress_N

    def _remember(self, verdict: Verdict, mask_N: BoolArray) -> None:
        np.copyto(self._held_KN, verdict.held_KN, where=mask_N)
        np.copyto(self._completed_KN, verdict.completed_KN, where=mask_N)
        np.copyto(self._done_KN, verdict.done_KN, where=mask_N)
        self.verdict = verdict

    def _report(self, reward_N: FloatArray) -> StageReport:
        stage_N = np.logical_and.accumulate(self._done_KN).sum(axis=0)
        return StageReport(reward_N, self._progress_N.copy(), self._best_N.copy(), stage_N, self._done_KN.T.copy())

    def _check_goal(self, num_conjuncts: int) -> None:
        missing = [index for index in self.bound.goals if index >= num_conjuncts]
        if missing:
            raise SpecError(
                f"The spec asks for goal conjunct {missing[0]}, but the task {self.spec.task.name!r} has "
                f"{num_conjuncts}, counted from 0; use an index below {num_conjuncts}."
            )


def _leads_to(spec: StageSpec) -> tuple[tuple[int, int], ...]:
    """Pairs (stage, goal conjunct): the stage lies on the way to the conjunct's stage.

    The walk back from a conjunct's stage stops at stages of other conjuncts: shutting the empty drawer must not
    count as having filled it.
    """
    before = predecessors(spec)
    asked = [goal_indices(stage.done) for stage in spec.stages]
    pairs: set[tuple[int, int]] = set()
    for k, indices in enumerate(asked):
        for index in indices:
            pending = list(before[k])
            while pending:
                p = pending.pop()
                if asked[p] <= {index} and (p, index) not in pairs:
                    pairs.add((p, index))
                    pending.extend(before[p])
    return tuple(sorted(pairs))
