"""The order of stages and their pay, compiled: in numpy dozens of operations, each dearer than the few numbers in it.

This file imports nothing of ours, so numba's cache, which watches no other file, is never out of date.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

_Long = NDArray[np.int64]
_Bool = NDArray[np.bool_]
_Float = NDArray[np.float64]

ROUNDING_QUANTA = 1e-9  # keeps 0.4999999999999999 from losing a whole quantum to floating point
LEVEL_GRID = 2.0**-52  # float64 adds and subtracts multiples of this up to 1 without rounding


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def follow(
    order_K: _Long,
    before_KK: _Bool,
    hold_K: _Long,
    once_K: _Bool,
    leads_X2: _Long,
    held_before_KN: _Long,
    completed_before_KN: _Bool,
    holds_KN: _Bool,
    goal_NC: _Bool,
    held_KN: _Long,
    flags_4KN: _Bool,
) -> None:
    """Debounce `done` conditions, follow the order of K stages in N environments, and latch.

    Args:
        order_K: Rows in an order in which predecessors come first.
        before_KK: Whether the column's stage precedes the row's.
        hold_K: Control steps that `done` must hold.
        once_K: Whether a completed stage stays done.
        leads_X2: Pairs (stage, goal conjunct): the stage counts as done while the conjunct holds.
        held_before_KN: Control steps in a row that `done` had held before.
        completed_before_KN: Which stages were completed before.
        holds_KN: Whether `done` holds now.
        goal_NC: Truth of each goal conjunct.
        held_KN: Written: control steps in a row that `done` has held.
        flags_4KN: Written: which stages are open, completed, implied by the goal, done.
    """
    open_KN, completed_KN, implied_KN, done_KN = flags_4KN
    num_stages, num_envs = holds_KN.shape
    implied_KN[:] = False
    for x in range(len(leads_X2)):
        for n in range(num_envs):
            implied_KN[leads_X2[x, 0], n] |= goal_NC[n, leads_X2[x, 1]]
    passed_K = np.empty(num_stages, dtype=np.bool_)
    for n in range(num_envs):
        passed_K[:] = implied_KN[:, n]
        for k in order_K:  # a chain may complete in one control step
            is_open = True
            for b in range(num_stages):
                is_open = is_open and (passed_K[b] or not before_KK[k, b])
            held_KN[k, n] = held_before_KN[k, n] + 1 if holds_KN[k, n] else 0
            met = is_open and held_KN[k, n] >= hold_K[k]
            completed = met or completed_before_KN[k, n]
            passed_K[k] |= completed
            open_KN[k, n], completed_KN[k, n] = is_open, completed
            done_KN[k, n] = met or implied_KN[k, n] or (completed and once_K[k])


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def earn(
    flags_4KN: _Bool, allowed_KN: _Bool, remaining_KN: _Float, span_KN: _Float, ramp_share: float, shares_2KN: _Float
) -> None:
    """What each stage has earned.

    Args:
        flags_4KN: From `follow`.
        allowed_KN: Whether `while` holds.
        remaining_KN: What is left of each ramp.
        span_KN: What is left of it when it is empty.
        ramp_share: Worth of a full ramp, as a share of its stage.
        shares_2KN: Written: how far each ramp is filled, and the share of its effort that each stage has earned.
    """
    open_KN, _, _, done_KN = flags_4KN
    for k in range(len(done_KN)):
        for n in range(done_KN.shape[1]):
            filled = 1.0 - remaining_KN[k, n] / span_KN[k, n]
            ramp = min(filled, 1.0) if filled > 0.0 else 0.0  # the NaN of a diverged environment earns 0
            earned = ramp_share * ramp if open_KN[k, n] and allowed_KN[k, n] else 0.0
            shares_2KN[0, k, n], shares_2KN[1, k, n] = ramp, 1.0 if done_KN[k, n] else earned


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def pay(
    account_4N: _Float,
    ended_N: _Bool,
    terms: tuple[float, float, float, float, float, float],
    is_potential: bool,  # noqa: FBT001 - numba cannot have it by keyword alone
    progress_N: _Float,
    goal_NC: _Bool,
    live_N: _Bool,
    steps_N: _Long,
    reward_N: _Float,
) -> None:
    """Pay for a control step of the live environments; `credit` has the formulas.

    Args:
        account_4N: Overwritten: progress phi, the best M, paid progress psi, and the return so far.
        ended_N: Overwritten: whether the episode has ended.
        terms: The profile's `pay`, `shaping`, `regress`, `levels` and `eta`, and the horizon H.
        is_potential: Whether success takes the potential back, in place of filling the return up to 1.
        progress_N: Progress now.
        goal_NC: Truth of each goal conjunct.
        live_N: Which environments stepped and had not ended.
        steps_N: Control steps each episode has taken, T, this one included.
        reward_N: Written for the live environments.
    """
    whole, shaping, regress, levels, eta, horizon = terms
    phi_N, best_N, psi_N, returned_N = account_4N
    for n in range(len(live_N)):
        if not live_N[n]:
            continue
        phi, best = progress_N[n], max(best_N[n], progress_N[n])
        psi = np.floor((best - regress * (best - phi)) * levels + ROUNDING_QUANTA) / levels
        level_before = np.floor(whole * psi_N[n] / LEVEL_GRID) * LEVEL_GRID
        success = True
        for c in range(goal_NC.shape[1]):
            success = success and goal_NC[n, c]
        if success:
            paid = level_before if is_potential else returned_N[n]
            reward_N[n] = 1.0 - paid + eta * (1.0 - steps_N[n] / horizon)
        else:
            # Increments lose no bit: who adds them up gets the level back exactly, and 0 where it all was undone.
            reward_N[n] = shaping * (np.floor(whole * psi / LEVEL_GRID) * LEVEL_GRID) - level_before
        phi_N[n], best_N[n], psi_N[n] = phi, best, psi
        returned_N[n] += reward_N[n]
        ended_N[n] = success or steps_N[n] >= horizon
