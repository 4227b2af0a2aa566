"""The order of stages: which are open, done and credited, from what holds now and what was held before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.rewards.bind import Observation
from tgrpo_envs.rewards.credit import RAMP_SHARE
from tgrpo_envs.rewards.spec import StageSpec, goal_indices, predecessors, topological_order
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray

ALWAYS_HELD_STEPS = 1_000_000  # what holds at reset has held for ever: it must not be paid for when debouncing ends


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of K stages in N environments.

    Attributes:
        held_KN: Control steps in a row that `done` has held.
        completed_KN: Which stages were completed at some time.
        done_KN: Which stages count as done.
    """

    held_KN: NDArray[np.int64]
    completed_KN: BoolArray
    done_KN: BoolArray

    @classmethod
    def before_reset(cls, num_stages: int, num_envs: int) -> Memory:
        """What the first moment of an episode finds."""
        completed_KN, done_KN = np.zeros((2, num_stages, num_envs), dtype=bool)
        return cls(np.full((num_stages, num_envs), ALWAYS_HELD_STEPS), completed_KN, done_KN)

    def remember(self, verdict: Verdict, mask_N: BoolArray) -> None:
        """Take over the masked environments of a verdict."""
        np.copyto(self.held_KN, verdict.held_KN, where=mask_N)
        np.copyto(self.completed_KN, verdict.completed_KN, where=mask_N)
        np.copyto(self.done_KN, verdict.done_KN, where=mask_N)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One evaluation of all stages, and how it came about.

    Attributes:
        seen: What the spec's conditions and ramps say of the moment.
        held_KN: Control steps in a row that `done` has held.
        open_KN: Whether the predecessors have completed.
        completed_KN: Which stages were completed at some time.
        implied_KN: Which stages count as done because a goal conjunct they lead to holds.
        done_KN: Which stages count as done now.
        ramp_KN: Filled share of each ramp.
        credit_KN: Share p of each stage's effort that is earned now.
    """

    seen: Observation
    held_KN: NDArray[np.int64]
    open_KN: BoolArray
    completed_KN: BoolArray
    implied_KN: BoolArray
    done_KN: BoolArray
    ramp_KN: FloatArray
    credit_KN: FloatArray


class StageOrder:
    """What a spec says of the order of its K stages."""

    def __init__(self, spec: StageSpec) -> None:
        num_stages = len(spec.stages)
        self._order_K = np.array(topological_order(spec), dtype=np.int64)
        self._before_KK = np.zeros((num_stages, num_stages), dtype=bool)
        for k, rows in enumerate(predecessors(spec)):
            self._before_KK[k, list(rows)] = True
        self._hold_K = np.array([stage.hold_steps for stage in spec.stages], dtype=np.int64)
        self._once_K = np.array([stage.latch == "once" for stage in spec.stages])
        self._leads_X2 = np.array(_leads_to(spec), dtype=np.int64).reshape(-1, 2)

    def judge(self, memory: Memory, seen: Observation, span_KN: FloatArray, goal_NC: BoolArray) -> Verdict:
        """Evaluate all stages.

        Args:
            memory: Of the moment before; stays as it is.
            seen: What holds now.
            span_KN: What is left of each ramp when it is empty.
            goal_NC: Truth of each goal conjunct.
        """
        from tgrpo_envs.rewards.kernels import earn, follow  # brings numba, which importing must not

        shape = span_KN.shape
        held_KN = np.empty(shape, dtype=np.int64)
        flags_4KN, shares_2KN = np.empty((4, *shape), dtype=bool), np.empty((2, *shape))
        follow(
            self._order_K,
            self._before_KK,
            self._hold_K,
            self._once_K,
            self._leads_X2,
            memory.held_KN,
            memory.completed_KN,
            seen.holds_KN,
            np.ascontiguousarray(goal_NC),  # numba would compile anew for another layout
            held_KN,
            flags_4KN,
        )
        earn(flags_4KN, seen.allowed_KN, seen.remaining_KN, span_KN, RAMP_SHARE, shares_2KN)
        open_KN, completed_KN, implied_KN, done_KN = flags_4KN
        ramp_KN, credit_KN = shares_2KN
        return Verdict(seen, held_KN, open_KN, completed_KN, implied_KN, done_KN, ramp_KN, credit_KN)


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
