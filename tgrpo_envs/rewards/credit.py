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
from pydantic import Field, field_validator

from tgrpo_envs.base_settings import Settings
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray

ROUNDING = 1e-9
RAMP_SHARE = 0.9  # a full ramp is worth less than a finished stage
Mode = Literal["stages", "goals-only", "sparse", "pbrs"]


class CreditProfile(Settings):
    """Scale of the reward; chosen by the operator, never by a spec."""

    beta: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Most that a failed episode can return; below 1, so that every success beats every failure."""
    kappa: float = Field(default=0.3, ge=0.0, le=1.0)
    """Price of regress: 0 pays the best progress so far, 1 the progress at the end."""
    eta: float = Field(default=0.0, ge=0.0, le=1.0)
    """Bonus for an instant success, falling to 0 at the horizon."""
    quantum: float = Field(default=1 / 64, ge=1 / 4096, le=1.0)
    """Resolution of paid progress, 1/n; above sensor noise, so that idling pays an exact 0."""
    mode: Mode = "stages"
    """stages pays the progress of the spec, goals-only the share of the goal's conjuncts that hold, those of the reset
    left out, sparse nothing before success, pbrs potential-based shaping."""
    discount: float = Field(default=1.0, gt=0.0, le=1.0)
    """Of the learner, gamma. A learner that discounts needs a smaller beta; see `largest_beta`."""

    @field_validator("quantum")
    @classmethod
    def _divides_one(cls, quantum: float) -> float:
        if abs(1 / quantum - round(1 / quantum)) > ROUNDING:
            raise ConfigError(f"quantum={quantum} must be 1 divided by a whole number, such as 1/64.")
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


class Account:
    """What is remembered of the episodes of N environments, to pay them by.

    Attributes:
        ended_N: Whether each episode has ended.
    """

    def __init__(self, profile: CreditProfile, horizon: int, num_envs: int) -> None:
        """Open an account of episodes that have not begun.

        Args:
            profile: The scale.
            horizon: Most control steps of an episode, H.
            num_envs: N.
        """
        self._terms = (
            profile.pay,
            profile.shaping,
            profile.regress,
            float(profile.levels),
            profile.eta,
            float(horizon),
        )
        self._is_potential = profile.mode == "pbrs"
        self._numbers_4N = np.zeros((4, num_envs))
        self.ended_N: BoolArray = np.ones(num_envs, dtype=bool)

    @property
    def progress_N(self) -> FloatArray:
        """Progress phi of each episode."""
        progress_N: FloatArray = self._numbers_4N[0]
        return progress_N

    @property
    def best_N(self) -> FloatArray:
        """The best progress so far, M."""
        best_N: FloatArray = self._numbers_4N[1]
        return best_N

    @property
    def psi_N(self) -> FloatArray:
        """Paid progress."""
        psi_N: FloatArray = self._numbers_4N[2]
        return psi_N

    def restart(self, mask_N: BoolArray) -> None:
        """Begin an episode in the masked environments."""
        self._numbers_4N[:, mask_N] = 0.0
        self.ended_N[mask_N] = False

    def pay(
        self,
        progress_N: FloatArray,
        goal_NC: BoolArray,
        live_N: BoolArray,
        steps_N: NDArray[np.int64],
    ) -> FloatArray:
        """Account for one control step of the live environments.

        Args:
            progress_N: Progress now.
            goal_NC: Truth of each goal conjunct; all true is success.
            live_N: Which environments stepped and had not ended.
            steps_N: Control steps each episode has taken, this one included.

        Returns:
            Rewards; 0 for the others.
        """
        from tgrpo_envs.rewards import kernels  # brings numba, which importing this package must not

        reward_N = np.zeros(len(progress_N))
        kernels.pay(
            self._numbers_4N,
            self.ended_N,
            self._terms,
            self._is_potential,
            progress_N,
            np.ascontiguousarray(goal_NC),  # numba would compile anew for another layout
            live_N,
            np.ascontiguousarray(steps_N, dtype=np.int64),
            reward_N,
        )
        return reward_N


def largest_beta(discount: float, horizon: int) -> float:
    """Bound under which a learner that discounts still ranks every success above every failure: gamma^(H-1).

    A success is worth at least gamma^(H-1) at its first step, a failure at most beta, so any `beta` strictly below
    this bound keeps the order.
    """
    return float(discount ** (horizon - 1))
