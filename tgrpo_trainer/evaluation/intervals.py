"""Intervals of success rates: those of the environments' own evaluation."""

from __future__ import annotations

from tgrpo_envs.intervals import Z_95, counted, wilson_interval

__all__ = ["Z_95", "counted", "wilson_interval"]
