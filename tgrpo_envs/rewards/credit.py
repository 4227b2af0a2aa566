"""The operator's side of the reward: how progress becomes pay, and why failures stay below successes.

With best-so-far progress M, progress phi, quantum q (`docs/rewards.md`, section "Credit"):

    psi_t = floor(((1 - kappa) M_t + kappa phi_t) / q) q
    r_t   = beta (psi_t - psi_{t-1})                           before success
    r_T   = 1 - sum_{s<T} r_s + eta (1 - T / H)                at success

Mode ``pbrs`` is potential-based shaping instead (Ng, Harada, Russell 1999), with Phi = beta phi rounded to quanta, for
learners with a critic; success is terminal, the horizon is not:

    r_t   = gamma Phi_t - Phi_{t-1}                            before success
    r_T   = 1 + eta (1 - T / H) - Phi_{T-1}                    at success
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.sim.snapshot import FloatArray

Mode = Literal["stages", "goals-only", "sparse", "pbrs"]
ROUNDING_QUANTA = 1e-9  # keeps 0.4999999999999999 from losing a whole quantum to floating point
LEVEL_GRID = 2.0**-52  # float64 adds and subtracts multiples of this up to 1 without rounding


class CreditProfile(BaseModel):
    """Scale of the reward; chosen by the operator, never by a spec.

    Attributes:
        beta: Most that a failed episode can return; below 1, so that every success beats every failure.
        kappa: Price of regress: 0 pays the best progress so far, 1 the progress at the end.
        eta: Bonus for an instant success, falling to 0 at the horizon.
        quantum: Resolution of paid progress, 1/n; above sensor noise, so that idling pays an exact 0.
        mode: ``stages`` pays the progress of the spec, ``goals-only`` the share of the goal's conjuncts that hold,
            those of the reset left out, ``sparse`` nothing before success, ``pbrs`` potential-based shaping.
        discount: Of the learner, gamma. A learner that discounts needs a smaller `beta`; see `largest_beta`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    beta: float = Field(default=0.5, ge=0.0, lt=1.0)
    kappa: float = Field(default=0.3, ge=0.0, le=1.0)
    eta: float = Field(default=0.0, ge=0.0, le=1.0)
    quantum: float = Field(default=1 / 64, ge=1 / 4096, le=1.0)
    mode: Mode = "stages"
    discount: float = Field(default=1.0, gt=0.0, le=1.0)

    @field_validator("quantum")
    @classmethod
    def _divides_one(cls, quantum: float) -> float:
        if abs(1 / quantum - round(1 / quantum)) > ROUNDING_QUANTA:
            raise PydanticCustomError("quantum", "quantum must be 1 divided by a whole number, such as 1/64")
        return quantum

    @property
    def pay(self) -> float:
        """What the whole progress is worth before success: `beta`, or 0 in sparse mode."""
        return 0.0 if self.mode == "sparse" else self.beta

    @property
    def shaping(self) -> float:
        """Factor of the new potential in a step's reward: `discount` in mode ``pbrs``, else 1."""
        return self.discount if self.mode == "pbrs" else 1.0

    @property
    def regress(self) -> float:
        """Price of regress: `kappa`, or 1 in mode ``pbrs``, whose potential depends on the present alone."""
        return 1.0 if self.mode == "pbrs" else self.kappa

    @property
    def levels(self) -> int:
        """Number of quanta in the whole progress."""
        return round(1 / self.quantum)

    def check_horizon(self, horizon: int) -> None:
        """Make sure that a learner which discounts ranks every success above every failure.

        Args:
            horizon: Most control steps of an episode.

        Raises:
            ConfigError: `beta` is too large for `discount` and this horizon.
        """
        bound = largest_beta(self.discount, horizon)
        if self.discount < 1.0 and self.mode in ("stages", "goals-only") and self.beta >= bound:
            raise ConfigError(
                f"beta={self.beta} must be below discount^(horizon-1) = {bound:.3g} for discount={self.discount} and "
                f"{horizon} control steps, or a late success is worth less than a failure; lower beta."
            )


def paid_progress(best_N: FloatArray, progress_N: FloatArray, profile: CreditProfile) -> FloatArray:
    """Progress that counts, psi: best and current mixed by `kappa`, rounded down to whole quanta.

    Args:
        best_N: Best progress so far, M, in [0, 1].
        progress_N: Progress now, phi, at most `best_N`.
        profile: Supplies `kappa` and `quantum`.
    """
    return paid(best_N, progress_N, profile.regress, float(profile.levels))


def step_reward(psi_N: FloatArray, previous_psi_N: FloatArray, profile: CreditProfile) -> FloatArray:
    """Reward of a control step without success: increments of paid progress, never levels.

    Increments lose no bit: a caller who adds them up gets the level back exactly, and 0 where it all was undone.
    """
    return step_pay(level(psi_N, profile.pay), level(previous_psi_N, profile.pay), profile.shaping)


def success_reward(
    returned_N: FloatArray, psi_N: FloatArray, steps_N: NDArray[np.int64], horizon: int, profile: CreditProfile
) -> FloatArray:
    """Reward of the successful step: fills the return up to 1, or takes the potential back; plus the time bonus.

    Args:
        returned_N: Sum of the episode's rewards so far.
        psi_N: Paid progress before this step.
        steps_N: Control steps taken, T, this one included.
        horizon: Most control steps of an episode, H.
        profile: Supplies `eta` and the mode.
    """
    paid_N = level(psi_N, profile.pay) if profile.mode == "pbrs" else returned_N
    return success_pay(paid_N, steps_N, float(horizon), profile.eta)


# The formulas themselves, of arrays or of single numbers: `paying` compiles them.


def paid(best: FloatArray, progress: FloatArray, regress: float, levels: float) -> FloatArray:
    """Paid progress; see `paid_progress`."""
    psi: FloatArray = np.floor((best - regress * (best - progress)) * levels + ROUNDING_QUANTA) / levels
    return psi


def level(psi: FloatArray, whole: float) -> FloatArray:
    """What paid progress is worth, rounded down to `LEVEL_GRID`."""
    worth: FloatArray = np.floor(whole * psi / LEVEL_GRID) * LEVEL_GRID
    return worth


def step_pay(level_now: FloatArray, level_before: FloatArray, shaping: float) -> FloatArray:
    """Reward of a control step without success; see `step_reward`."""
    return shaping * level_now - level_before


def success_pay(returned: FloatArray, steps: NDArray[np.int64], horizon: float, eta: float) -> FloatArray:
    """Reward of the successful step; see `success_reward`."""
    reward: FloatArray = 1.0 - returned + eta * (1.0 - steps / horizon)
    return reward


def largest_beta(discount: float, horizon: int) -> float:
    """Bound under which a learner that discounts still ranks every success above every failure: gamma^(H-1).

    A success is worth at least gamma^(H-1) at its first step, a failure at most beta, so any `beta` strictly below
    this bound keeps the order.
    """
    return float(discount ** (horizon - 1))
