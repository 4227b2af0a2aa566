"""Scores all of a task's evidence under a spec, and finds the stages the expert completes without the goal's help."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.reward_tools.certify.evidence import Episodes, Evidence
from tgrpo_envs.reward_tools.certify.metrics import order_agreement
from tgrpo_envs.rewards.bind import BoundSpec
from tgrpo_envs.rewards.credit import CreditProfile
from tgrpo_envs.rewards.entities import Moment
from tgrpo_envs.rewards.spec import StageSpec, predecessors, topological_order
from tgrpo_envs.rewards.tracker import StageTracker
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray

NEVER = math.inf
LATE, ARRIVING = 0.75, 0.90  # shares of a demonstration: a handle is in motion, an object about to be let go
LIFTED_M = 0.02
MIN_TURN_STEPS = 3  # a stage that completes sooner leaves its ramp no time to say anything


@dataclass(frozen=True)
class BatchScore:
    """What a spec says of N episodes; axis T are control steps, padded with zeros after an episode's end.

    Attributes:
        steps_N: Control steps of each episode.
        progress_TN: Progress phi.
        best_TN: Best progress so far, M.
        rewards_TN: Reward of each step.
        returns_TN: Sum of the rewards so far.
        stage_TN: First stage that is not done.
        stages_TNK: Which stages are done.
    """

    steps_N: NDArray[np.int64]
    progress_TN: FloatArray
    best_TN: FloatArray
    rewards_TN: FloatArray
    returns_TN: FloatArray
    stage_TN: NDArray[np.int64]
    stages_TNK: BoolArray

    def best(self, row: int) -> float:
        """M at the end of an episode."""
        return self.best_after(row, int(self.steps_N[row]))

    def best_before_end(self, row: int) -> float:
        """M before the last control step: for a success, before it counts as one."""
        return self.best_after(row, int(self.steps_N[row]) - 1)

    def best_after(self, row: int, steps: int) -> float:
        """M after so many control steps."""
        return self._at(self.best_TN, row, steps)

    def return_at(self, row: int, steps: int) -> float:
        """Return after so many control steps."""
        return self._at(self.returns_TN, row, steps)

    def progress_T(self, row: int) -> FloatArray:
        """Progress of one episode, without padding."""
        return self.progress_TN[: self.steps_N[row], row]

    @staticmethod
    def _at(array_TN: FloatArray, row: int, steps: int) -> float:
        return float(array_TN[steps - 1, row]) if steps > 0 else 0.0


def score_batch(spec: StageSpec, episodes: Episodes, horizon: int, profile: CreditProfile | None = None) -> BatchScore:
    """Follow a spec through all episodes, side by side.

    Raises:
        UnknownNameError: The spec names an entity that the scene lacks.
        SpecError: The spec does not fit the scene or the goal.
    """
    steps_N = episodes.steps_N
    tracker = StageTracker(spec, profile or CreditProfile(), episodes.layout, len(steps_N), horizon)
    tracker.reset(episodes.moments[0], episodes.goal_MNC[0], np.ones(len(steps_N), dtype=bool))
    shape = (int(steps_N.max(initial=0)), len(steps_N))
    progress_TN, best_TN, rewards_TN = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    stage_TN = np.zeros(shape, dtype=np.int64)
    stages_TNK = np.zeros((*shape, len(spec.stages)), dtype=bool)
    for t in range(shape[0]):
        live_N = t < steps_N
        report = tracker.step(episodes.moments[t + 1], episodes.goal_MNC[t + 1], live_N, np.full(shape[1], t + 1))
        progress_TN[t], best_TN[t], rewards_TN[t] = report.progress_N, report.best_N, report.reward_N
        stage_TN[t], stages_TNK[t] = report.stage_N, report.stages_NK
    return BatchScore(steps_N, progress_TN, best_TN, rewards_TN, np.cumsum(rewards_TN, axis=0), stage_TN, stages_TNK)


@dataclass(frozen=True)
class Firing:
    """When the stages of one episode fire, in control steps from the reset (0).

    Attributes:
        completed_K: When each stage completes, after its predecessors, without the goal's help; `NEVER` if not.
        first_rise_K: When each `done` condition first turns true, whatever the order; NaN where it never turns.
        last_rise_K: When it last turns true.
        ramp_gain_K: What each ramp, where `while` lets it pay, gains from the stage's turn to just before it completes;
            NaN without such a ramp, or where the stage completes at once.
    """

    completed_K: tuple[float, ...]
    first_rise_K: tuple[float, ...]
    last_rise_K: tuple[float, ...]
    ramp_gain_K: tuple[float, ...]


def firings(spec: StageSpec, evidence: Evidence, rows: NDArray[np.int64]) -> list[Firing]:
    """`Firing` of each of these episodes.

    The tracker counts the stages on the way to a goal as done once it holds, so that a success without a lift is one;
    here that help is left out, else a stage which never fires would look done in every success.
    """
    bound = BoundSpec(spec, evidence.layout)
    found = []
    for row in rows:
        now, goal_MC = evidence.episode(int(row))
        start = now.map(lambda array: np.repeat(array[:1], len(array), axis=0))
        seen = bound.observe(Moment(now, start, goal_MC))
        span_K1 = bound.spans(seen.remaining_KN[:, :1])
        ramp_KM = np.clip(1.0 - seen.remaining_KN / span_K1, 0.0, 1.0) * seen.allowed_KN
        found.append(_firing(spec, seen.holds_KN, ramp_KM))
    return found


def _firing(spec: StageSpec, done_KM: BoolArray, ramp_KM: FloatArray) -> Firing:
    ready_KM = debounced(done_KM, np.array([stage.hold_steps for stage in spec.stages]))
    before = predecessors(spec)
    completed, gains = [NEVER] * len(before), [math.nan] * len(before)
    for k in topological_order(spec):
        turn = max((completed[p] for p in before[k]), default=0.0)
        if turn < NEVER:
            completed[k] = _first(ready_KM[k], int(turn))
        ramp = spec.stages[k].ramp
        if ramp is not None and ramp.op != "constant" and turn + MIN_TURN_STEPS <= completed[k] < NEVER:
            gains[k] = float(ramp_KM[k, int(completed[k]) - 1] - ramp_KM[k, int(turn)])
    rises = [_rises(ready_M) for ready_M in ready_KM]
    first, last = (tuple(rise[end] for rise in rises) for end in (0, 1))
    return Firing(tuple(completed), first, last, tuple(gains))


def debounced(done_KM: BoolArray, hold_K: NDArray[np.int64]) -> BoolArray:
    """Whether each condition has held for so many moments in a row; what holds at moment 0 has held for ever."""
    moments_M = np.arange(done_KM.shape[1])
    for_ever = -int(hold_K.max())
    last_false_KM = np.maximum.accumulate(np.where(done_KM, for_ever, moments_M), axis=1)
    ready_KM: BoolArray = moments_M - last_false_KM >= hold_K[:, None]
    return ready_KM


def stages_done_at_start(spec: StageSpec, evidence: Evidence) -> tuple[BoolArray, bool]:
    """Which stages are done in each of the settled initial states, (K, S), and whether all ramps are finite there."""
    starts = Moment(evidence.starts, evidence.starts, evidence.start_goal_SC)
    seen = BoundSpec(spec, evidence.layout).observe(starts)
    done_KS = seen.holds_KN
    before = predecessors(spec)
    for k in topological_order(spec):
        done_KS[k] &= done_KS[list(before[k])].all(axis=0)
    return done_KS, bool(np.isfinite(seen.remaining_KN).all())


class Judged:
    """A spec and the evidence it is judged on; each score is computed when a check first asks for it."""

    def __init__(self, spec: StageSpec, evidence: Evidence) -> None:
        self.spec, self.evidence, self.profile = spec, evidence, CreditProfile()
        self.edges = [(p, k) for k, rows in enumerate(predecessors(spec)) for p in rows]

    @cached_property
    def score(self) -> BatchScore:
        """All episodes."""
        return score_batch(self.spec, self.evidence, self.evidence.info.horizon, self.profile)

    @cached_property
    def backwards(self) -> BatchScore:
        """The expert's successes played backwards."""
        return score_batch(self.spec, self.evidence.backwards, self.evidence.info.horizon, self.profile)

    @cached_property
    def firings(self) -> list[Firing]:
        """Of the expert's successes."""
        return firings(self.spec, self.evidence, self.evidence.solved)

    @cached_property
    def orders(self) -> list[float]:
        """Agreement of each of the expert's successes with the stage graph's order."""
        return [order_agreement(self.edges, each.first_rise_K, each.last_rise_K) for each in self.firings]

    def best_before_success(self) -> FloatArray:
        """M of the expert's successes before the step that succeeds."""
        return np.array([self.score.best_before_end(row) for row in self.evidence.solved])

    def best_at(self, share: float) -> FloatArray:
        """M of the expert's successes when they are cut at this share of their control steps."""
        return np.array([self.score.best_after(row, self._cut(row, share)) for row in self.evidence.solved])

    def best_at_lift(self) -> FloatArray:
        """M of the expert's successes when they first hold something off its support, else late on the way."""
        return np.array([self.score.best_after(row, self._first_lift(row)) for row in self.evidence.solved])

    def _cut(self, row: int, share: float) -> int:
        return round(share * (int(self.score.steps_N[row]) - 1))

    def _first_lift(self, row: int) -> int:
        """Control steps after which a movable object is first held and has risen."""
        now, _ = self.evidence.episode(row)
        movables = slice(self.evidence.layout.num_movables)
        height_MO = now.object_pos_NO3[:, movables, 2]
        held_MO = now.finger_contact_NO2[:, movables].all(axis=2)
        lifted_M = (held_MO & (height_MO >= height_MO[0] + LIFTED_M)).any(axis=1)
        return int(lifted_M.argmax()) if lifted_M.any() else self._cut(row, LATE)

    def best_of(self, rows: NDArray[np.int64]) -> FloatArray:
        """M at the end of these episodes; for successes among them, before the step that succeeds."""
        success_N = self.evidence.success_N
        return np.array([(self.score.best_before_end if success_N[row] else self.score.best)(row) for row in rows])


def _first(ready_M: BoolArray, earliest: int) -> float:
    later_M = ready_M[earliest:]
    return float(earliest + later_M.argmax()) if later_M.any() else NEVER


def _rises(ready_M: BoolArray) -> tuple[float, float]:
    rises = np.flatnonzero(ready_M[1:] & ~ready_M[:-1]) + 1.0
    return (float(rises[0]), float(rises[-1])) if len(rises) else (math.nan, math.nan)
