"""Pays for a control step, compiled: the formulas of `credit`, applied to what a tracker remembers of each episode.

Imported when a tracker is made, since numba is not cheap to import.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tgrpo_envs.rewards import credit
from tgrpo_envs.rewards.credit import CreditProfile
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray

_level = njit(cache=True, error_model="numpy")(credit.level)
_paid = njit(cache=True, error_model="numpy")(credit.paid)
_step_pay = njit(cache=True, error_model="numpy")(credit.step_pay)
_success_pay = njit(cache=True, error_model="numpy")(credit.success_pay)


@dataclass(frozen=True, slots=True)
class Account:
    """What is remembered of each episode, overwritten by `pay`.

    Attributes:
        progress_N: Progress phi.
        best_N: The best so far, M.
        psi_N: Paid progress.
        returned_N: Sum of the rewards.
        ended_N: Whether the episode has ended.
    """

    progress_N: FloatArray
    best_N: FloatArray
    psi_N: FloatArray
    returned_N: FloatArray
    ended_N: BoolArray

    @classmethod
    def new(cls, num_envs: int) -> Account:
        """Of episodes that have not begun."""
        progress_N, best_N, psi_N, returned_N = np.zeros((4, num_envs))
        return cls(progress_N, best_N, psi_N, returned_N, np.ones(num_envs, dtype=bool))

    def restart(self, mask_N: BoolArray) -> None:
        """Begin an episode in the masked environments."""
        for array in (self.progress_N, self.best_N, self.psi_N, self.returned_N, self.ended_N):
            array[mask_N] = 0


def pay(
    account: Account,
    profile: CreditProfile,
    horizon: int,
    progress_N: FloatArray,
    goal_NC: BoolArray,
    live_N: BoolArray,
    steps_N: NDArray[np.int64],
) -> FloatArray:
    """Account for one control step of the live environments.

    Args:
        account: The episodes.
        profile: The scale.
        horizon: Most control steps of an episode.
        progress_N: Progress now.
        goal_NC: Truth of each goal conjunct; all true is success.
        live_N: Which environments stepped and had not ended.
        steps_N: Control steps each episode has taken, this one included.

    Returns:
        Rewards; 0 for the others.
    """
    reward_N = np.zeros(len(progress_N))
    _pay(
        account.progress_N,
        account.best_N,
        account.psi_N,
        account.returned_N,
        account.ended_N,
        (profile.pay, profile.shaping, profile.regress, float(profile.levels), profile.eta, float(horizon)),
        profile.mode == "pbrs",
        progress_N,
        np.ascontiguousarray(goal_NC),  # numba would compile anew for another layout
        live_N,
        np.ascontiguousarray(steps_N, dtype=np.int64),
        reward_N,
    )
    return reward_N


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _pay(
    account_progress_N: FloatArray,
    best_N: FloatArray,
    psi_N: FloatArray,
    returned_N: FloatArray,
    ended_N: BoolArray,
    terms: tuple[float, float, float, float, float, float],
    is_potential: bool,  # noqa: FBT001 - numba cannot have it by keyword alone
    progress_N: FloatArray,
    goal_NC: BoolArray,
    live_N: BoolArray,
    steps_N: NDArray[np.int64],
    reward_N: FloatArray,
) -> None:
    whole, shaping, regress, levels, eta, horizon = terms
    for n in range(len(live_N)):
        if not live_N[n]:
            continue
        best = max(best_N[n], progress_N[n])
        psi = _paid(best, progress_N[n], regress, levels)
        success = True
        for c in range(goal_NC.shape[1]):
            success = success and goal_NC[n, c]
        if success:
            returned = _level(psi_N[n], whole) if is_potential else returned_N[n]
            reward_N[n] = _success_pay(returned, steps_N[n], horizon, eta)
        else:
            reward_N[n] = _step_pay(_level(psi, whole), _level(psi_N[n], whole), shaping)
        account_progress_N[n], best_N[n], psi_N[n] = progress_N[n], best, psi
        returned_N[n] += reward_N[n]
        ended_N[n] = success or steps_N[n] >= horizon
