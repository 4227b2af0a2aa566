"""From what a user calls a reward, a name or a file, to the stages that are tracked and how they pay."""

from __future__ import annotations

from pathlib import Path

from tgrpo_envs.bddl import Problem
from tgrpo_envs.errors import SpecError
from tgrpo_envs.rewards.compiler import compile_spec, goals_spec
from tgrpo_envs.rewards.credit import CreditProfile
from tgrpo_envs.rewards.library import default_producer, shipped_spec
from tgrpo_envs.rewards.spec import StageSpec, load_spec
from tgrpo_envs.tasks import Task


def choose_spec(reward: str | Path, problem: Problem, task: Task) -> StageSpec:
    """The stages of ``stages``, ``llm``, ``compiled``, ``sparse`` or a spec file.

    ``stages`` are a language model's where its spec has passed its certificate, else the compiler's. A sparse reward
    only watches the compiled stages, so goals that no template covers will do too.

    Raises:
        SpecError: ``compiled`` for a goal that no template covers, ``llm`` for a task without such a spec, or a file
            that is not a valid spec.
    """
    if reward == "llm" or (reward == "stages" and default_producer(task) == "llm"):
        return shipped_spec(task, "llm")
    if reward in ("stages", "compiled"):
        return compile_spec(problem, task)
    if reward != "sparse":
        return load_spec(reward)
    try:
        return compile_spec(problem, task)
    except SpecError:
        return goals_spec(task)


def choose_profile(reward: str | Path, credit: CreditProfile | None = None) -> CreditProfile:
    """How the stages of `choose_spec` are paid: by `credit`, if given; ``sparse`` pays success alone."""
    credit = credit or CreditProfile()
    return credit.model_copy(update={"mode": "sparse"}) if reward == "sparse" else credit
