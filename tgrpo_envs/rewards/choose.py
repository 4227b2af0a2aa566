"""From what a user calls a reward, a name or a file, to the stages that are tracked and how they pay."""

from __future__ import annotations

from pathlib import Path

from tgrpo_envs.bddl import Problem
from tgrpo_envs.errors import SpecError
from tgrpo_envs.rewards.compiler import compile_spec, goals_spec
from tgrpo_envs.rewards.credit import CreditProfile
from tgrpo_envs.rewards.spec import StageSpec, load_spec
from tgrpo_envs.tasks import Task


def choose_spec(reward: str | Path, problem: Problem, task: Task) -> StageSpec:
    """The stages of ``stages``, ``sparse`` or a spec file.

    A sparse reward only watches the stages, so goals that no template covers will do too.

    Raises:
        SpecError: ``stages`` for a goal that no template covers, or a file that is not a valid spec.
    """
    if reward == "stages":
        return compile_spec(problem, task)
    if reward != "sparse":
        return load_spec(reward)
    try:
        return compile_spec(problem, task)
    except SpecError:
        return goals_spec(task)


def choose_profile(reward: str | Path) -> CreditProfile:
    """How the stages of `choose_spec` are paid: ``sparse`` pays success alone."""
    return CreditProfile(mode="sparse" if reward == "sparse" else "stages")
