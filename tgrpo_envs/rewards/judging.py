"""The order of stages, compiled: who is open, done and credited, from what holds now and what was held before.

Some dozens of array operations a control step otherwise, each dearer than the few numbers it computes. Imported when
a tracker is made, since numba is not cheap to import.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tgrpo_envs.rewards.spec import StageSpec, goal_indices, predecessors, topological_order
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray

RAMP_SHARE = 0.9  # a full ramp is worth less than a finished stage
ALWAYS_HELD_STEPS = 1_000_000  # what holds at reset has held for ever: it must not be paid for when debouncing ends

_Long = NDArray[np.int64]


class Plan(NamedTuple):
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


class Memory(NamedTuple):
    """What a tracker remembers of its stages, overwritten by `judge`.

    Attributes:
        held_KN: Control steps in a row that `done` has held.
        completed_KN: Which stages were completed at some time.
        done_KN: Which stages count as done.
    """

    held_KN: _Long
    completed_KN: BoolArray
    done_KN: BoolArray


class Judged(NamedTuple):
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
    completed_KN, done_KN = np.zeros((2, num_stages, num_envs), dtype=bool)
    return Memory(np.zeros((num_stages, num_envs), dtype=np.int64), completed_KN, done_KN)


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def judge(
    plan: Plan,
    memory: Memory,
    holds_KN: BoolArray,
    allowed_KN: BoolArray,
    remaining_KN: FloatArray,
    span_KN: FloatArray,
    goal_NC: BoolArray,
    mask_N: BoolArray,
    first: bool,  # noqa: FBT001 - numba cannot have it by keyword alone
) -> Judged:
    """Evaluate all stages.

    Args:
        plan: The stages.
        memory: Of the step before; the masked environments' is overwritten.
        holds_KN: Each stage's `done` condition, before order and debouncing.
        allowed_KN: Whether each stage's `while` holds.
        remaining_KN: What is left of each ramp.
        span_KN: What is left of it when it is empty.
        goal_NC: Truth of each goal conjunct.
        mask_N: Which environments are to be remembered.
        first: Whether this is an episode's first moment, before which there was none.
    """
    shape = holds_KN.shape
    num_stages, num_envs = shape
    held_KN, credit_KN, ramp_KN = np.empty(shape, dtype=np.int64), np.empty(shape), np.empty(shape)
    completed_KN, done_KN = np.empty(shape, dtype=np.bool_), np.empty(shape, dtype=np.bool_)
    open_KN, implied_KN = np.ones(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    for p in range(len(plan.leads_P2)):
        k, conjunct = plan.leads_P2[p]
        for n in range(num_envs):
            implied_KN[k, n] |= goal_NC[n, conjunct]
    passed_KN = implied_KN.copy()
    for k in plan.order_K:  # in topological order: a chain may complete in one control step
        for b in range(num_stages):
            if plan.before_KK[k, b]:
                open_KN[k] &= passed_KN[b]
        for n in range(num_envs):
            held = (ALWAYS_HELD_STEPS if first else memory.held_KN[k, n]) + 1 if holds_KN[k, n] else 0
            met = open_KN[k, n] and held >= plan.hold_K[k]
            completed = met or (not first and memory.completed_KN[k, n])
            passed_KN[k, n] |= completed
            done = met or implied_KN[k, n] or (completed and plan.once_K[k])
            filled = 1.0 - remaining_KN[k, n] / span_KN[k, n]
            ramp = min(filled, 1.0) if filled > 0.0 else 0.0  # the NaN of a diverged environment earns 0
            credit = RAMP_SHARE * ramp if open_KN[k, n] and allowed_KN[k, n] else 0.0
            held_KN[k, n], completed_KN[k, n], done_KN[k, n] = held, completed, done
            ramp_KN[k, n], credit_KN[k, n] = ramp, 1.0 if done else credit
            if mask_N[n]:
                memory.held_KN[k, n], memory.completed_KN[k, n], memory.done_KN[k, n] = held, completed, done
    stage_N = np.zeros(num_envs, dtype=np.int64)
    for n in range(num_envs):
        while stage_N[n] < num_stages and memory.done_KN[stage_N[n], n]:
            stage_N[n] += 1
    return Judged(held_KN, completed_KN, done_KN, open_KN, implied_KN, credit_KN, ramp_KN, stage_N)


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
