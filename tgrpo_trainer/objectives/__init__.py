"""Objectives: what a run optimises. A new one is a file in this folder and its class in OBJECTIVES."""

from __future__ import annotations

from typing import Any

from tgrpo_envs.errors import UnknownNameError
from tgrpo_trainer.objectives.base import ClippedObjective, NormalisedObjective, Objective
from tgrpo_trainer.objectives.grpo import Grpo
from tgrpo_trainer.objectives.reinforce_leave_one_out import ReinforceLeaveOneOut
from tgrpo_trainer.objectives.stage_return import StageReturn
from tgrpo_trainer.objectives.tgrpo import Tgrpo

OBJECTIVES: dict[str, type[Objective]] = {
    "tgrpo": Tgrpo,
    "grpo": Grpo,
    "stage_return": StageReturn,
    "reinforce_leave_one_out": ReinforceLeaveOneOut,
}

__all__ = [
    "OBJECTIVES",
    "ClippedObjective",
    "Grpo",
    "NormalisedObjective",
    "Objective",
    "ReinforceLeaveOneOut",
    "StageReturn",
    "Tgrpo",
    "get_objective",
    "make_objective",
    "with_kind",
]


def get_objective(kind: str) -> type[Objective]:
    """The class of an objective.

    Raises:
        UnknownNameError: No objective has this name; the message offers near matches.
    """
    if kind not in OBJECTIVES:
        raise UnknownNameError("objective", kind, OBJECTIVES)
    return OBJECTIVES[kind]


def make_objective(settings: dict[str, Any]) -> Objective:
    """The objective that `model_dump` gave these settings.

    Raises:
        ValueError: They hold no kind.
        UnknownNameError: No objective has this name, or none of its settings.
        ConfigError: A setting is out of range.
    """
    if not isinstance(kind := settings.get("kind"), str):
        raise ValueError(f"objective needs a kind, one of {', '.join(OBJECTIVES)}; got {kind!r}")
    return get_objective(kind)(**settings)


def with_kind(objective: Objective, kind: str) -> Objective:
    """An objective of another kind, with the values of all settings that both kinds have.

    Raises:
        UnknownNameError: No objective has this name.
    """
    wanted = get_objective(kind)
    kept = {name: value for name, value in objective.model_dump().items() if name in wanted.model_fields}
    return wanted(**{**kept, "kind": kind})
