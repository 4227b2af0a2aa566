"""Stage rewards: specs of typed predicates, tracked per episode and paid by an operator's credit profile."""

from __future__ import annotations

import warnings
from typing import Any

from tgrpo_envs.rewards.credit import CreditProfile, largest_beta
from tgrpo_envs.rewards.from_goal import goals_spec, spec_from_goal
from tgrpo_envs.rewards.rescore import Score, rescore
from tgrpo_envs.rewards.resolve import choose_profile, choose_spec
from tgrpo_envs.rewards.spec import StageSpec, load_spec, parse_spec, save_spec, spec_id
from tgrpo_envs.rewards.tracker import StageReport, StageTracker

__all__ = [
    "CreditProfile",
    "Score",
    "StageReport",
    "StageSpec",
    "StageTracker",
    "choose_profile",
    "choose_spec",
    "goals_spec",
    "largest_beta",
    "load_spec",
    "parse_spec",
    "rescore",
    "save_spec",
    "spec_from_goal",
    "spec_id",
]


def __getattr__(name: str) -> Any:
    """Names of earlier versions, for one version more."""
    if name == "compile_spec":
        warnings.warn("compile_spec is called spec_from_goal since version 0.3.", DeprecationWarning, stacklevel=2)
        return spec_from_goal
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
