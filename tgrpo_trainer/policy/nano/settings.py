"""What can be chosen of a new nano policy."""

from __future__ import annotations

from pydantic import Field

from tgrpo_envs.base_settings import Settings


class NanoSettings(Settings):
    """A new policy of kind nano, whose actions are tokens."""

    num_bins: int = Field(default=21, ge=2)
    """Values each action number can take."""
    bin_power: float = Field(default=1.0, gt=0)
    """1 = evenly spaced values; above 1 they lie denser around 0."""
    steps_per_token: int = Field(default=1, ge=1)
    """Control steps for which it holds each action; divides env.action_chunk."""


class NanoGaussianSettings(Settings):
    """A new policy of kind nano_gaussian, whose actions are real numbers."""

    initial_std: float = Field(default=0.5, gt=0)
    """Standard deviation of each action number before anything is learnt."""
    min_std: float = Field(default=0.05, gt=0)
    """Smallest standard deviation: what keeps exploring, and what bounds the log-probability."""
    steps_per_draw: int = Field(default=1, ge=1)
    """Control steps for which it holds each drawn action; divides env.action_chunk."""
