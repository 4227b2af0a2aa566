"""The order of stages, compiled: who is open, done and credited, from what holds now and what was held before.

Some dozens of array operations a control step otherwise, each dearer than the few numbers it computes. Imported when
a tracker is made, since numba is not cheap to import.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tgrpo_envs.rewards.observing import Seen
from tgrpo_envs.rewards.spec import StageSpec, goal_indices, predecessors, topological_order
from tgrpo_envs.rewards.tracker import RAMP_SHARE
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray

ALWAYS_HELD_STEPS = 1_000_000  # what holds at reset has held for ever: it must not be paid for when debouncing ends

_Long = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the spec says of its K stages.

    Attributes:
        order_K: Rows in an order in which predecessors come first.
        before_KK: Whether the column's stage precedes the row's.
        hold_K: Control steps that `done` must hold.
        once_K: Whether a completed stage stays done.
        leads_P2: Pairs (stage, goal conjunct): the stage lies on the way to the conjunct's stage.
    """

    order_K: _Long
    before_KK: BoolArray
    hold_K: _Long
    once_K: BoolArray
    leads_P2: _Long


@dataclass(frozen=True, slots=True)
class Memory:
    """What a tracker remembers of its stages, overwritten by `judge`.

    Attributes:
        held_KN: Control steps in a row that `done` has held.
        flags_2KN: Which stages were completed at some time; which count as done.
    """

    held_KN: _Long
    flags_2KN: BoolArray


@dataclass(frozen=True, slots=True)
class Judged:
    """One evaluation of all stages, in every environment; what each array means is said in `tracker.Verdict`.

    Attributes:
        stage_N: Row of the first stage that the memory has not as done; K when all are.
    """

    held_KN: _Long
    completed_KN: BoolArray
    done_KN: BoolArray
    open_KN: BoolArray
    implied_KN: BoolArray
    credit_KN: FloatArray
    ramp_KN: FloatArray
    stage_N: _Long


def make_plan(spec: StageSpec) -> Plan:
    """The spec's stages as arrays."""
    before_KK = np.zeros((len(spec.stages), len(spec.stages)), dtype=bool)
    for k, rows in enumerate(predecessors(spec)):
        before_KK[k, list(rows)] = True
    return Plan(
        order_K=np.array(topological_order(spec), dtype=np.int64),
        before_KK=before_KK,
        hold_K=np.array([stage.hold_steps for stage in spec.stages], dtype=np.int64),
        once_K=np.array([stage.latch == "once" for stage in spec.stages]),
        leads_P2=np.array(_leads_to(spec), dtype=np.int64).reshape(-1, 2),
    )


def new_memory(num_stages: int, num_envs: int) -> Memory:
    """The memory of a tracker that was never reset."""
    shape = (num_stages, num_envs)
    return Memory(np.zeros(shape, dtype=np.int64), np.zeros((2, *shape), dtype=bool))


def judge(
    plan: Plan, memory: Memory, seen: Seen, span_KN: FloatArray, goal_NC: BoolArray, mask_N: BoolArray, *, first: bool
) -> Judged:
    """Evaluate all stages.

    Args:
        plan: The stages.
        memory: Of the step before; the masked environments' is overwritten.
        seen: What holds now.
        span_KN: What is left of each ramp when it is empty.
        goal_NC: Truth of each goal conjunct.
        mask_N: Which environments are to be remembered.
        first: Whether this is an episode's first moment, before which there was none.
    """
    shape = seen.done_KN.shape
    # Few arrays: each that compiled code returns costs a microsecond.
    flags_4KN, shares_2KN = np.empty((4, *shape), dtype=np.bool_), np.empty((2, *shape))
    counts_RN = np.empty((shape[0] + 1, shape[1]), dtype=np.int64)
    completed_KN, done_KN, open_KN, implied_KN = flags_4KN
    held_KN, stage_N = counts_RN[:-1], counts_RN[-1]
    goal_NC = np.ascontiguousarray(goal_NC)  # numba would compile anew for another layout
    _imply(plan.leads_P2, goal_NC, implied_KN)
    _follow(
        plan.order_K,
        plan.before_KK,
        plan.hold_K,
        plan.once_K,
        memory.held_KN,
        memory.flags_2KN,
        seen.done_KN,
        mask_N,
        first,
        held_KN,
        flags_4KN,
        stage_N,
    )
    _credit(flags_4KN, seen.allowed_KN, seen.remaining_KN, span_KN, RAMP_SHARE, shares_2KN)
    return Judged(held_KN, completed_KN, done_KN, open_KN, implied_KN, shares_2KN[0], shares_2KN[1], stage_N)


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _imply(leads_P2: _Long, goal_NC: BoolArray, implied_KN: BoolArray) -> None:
    """Stages that count as done because a goal conjunct they lead to holds."""
    implied_KN[:] = False
    for p in range(len(leads_P2)):
        k, conjunct = leads_P2[p]
        for n in range(len(goal_NC)):
            implied_KN[k, n] |= goal_NC[n, conjunct]


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _follow(
    order_K: _Long,
    before_KK: BoolArray,
    hold_K: _Long,
    once_K: BoolArray,
    held_before_KN: _Long,
    flags_before_2KN: BoolArray,
    holds_KN: BoolArray,
    mask_N: BoolArray,
    first: bool,  # noqa: FBT001 - numba cannot have it by keyword alone
    held_KN: _Long,
    flags_4KN: BoolArray,
    stage_N: _Long,
) -> None:
    """Debouncing, order and latches."""
    num_stages, num_envs = holds_KN.shape
    completed_KN, done_KN, open_KN, implied_KN = flags_4KN
    passed_K = np.empty(num_stages, dtype=np.bool_)
    for n in range(num_envs):
        passed_K[:] = implied_KN[:, n]
        for k in order_K:  # in topological order: a chain may complete in one control step
            is_open = True
            for b in range(num_stages):
                is_open = is_open and (passed_K[b] or not before_KK[k, b])
            held = (ALWAYS_HELD_STEPS if first else held_before_KN[k, n]) + 1 if holds_KN[k, n] else 0
            met = is_open and held >= hold_K[k]
            completed = met or (not first and flags_before_2KN[0, k, n])
            passed_K[k] |= completed
            held_KN[k, n], open_KN[k, n], completed_KN[k, n] = held, is_open, completed
            done_KN[k, n] = met or implied_KN[k, n] or (completed and once_K[k])
        if mask_N[n]:
            held_before_KN[:, n] = held_KN[:, n]
            flags_before_2KN[0, :, n] = completed_KN[:, n]
            flags_before_2KN[1, :, n] = done_KN[:, n]
        stage_N[n] = 0
        while stage_N[n] < num_stages and flags_before_2KN[1, stage_N[n], n]:
            stage_N[n] += 1


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _credit(
    flags_4KN: BoolArray,
    allowed_KN: BoolArray,
    remaining_KN: FloatArray,
    span_KN: FloatArray,
    ramp_share: float,
    shares_2KN: FloatArray,
) -> None:
    """What each stage has earned, and its ramp."""
    _, done_KN, open_KN, _ = flags_4KN
    for k in range(len(done_KN)):
        for n in range(done_KN.shape[1]):
            filled = 1.0 - remaining_KN[k, n] / span_KN[k, n]
            ramp = min(filled, 1.0) if filled > 0.0 else 0.0  # the NaN of a diverged environment earns 0
            credit = ramp_share * ramp if open_KN[k, n] and allowed_KN[k, n] else 0.0
            shares_2KN[0, k, n] = 1.0 if done_KN[k, n] else credit
            shares_2KN[1, k, n] = ramp


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
