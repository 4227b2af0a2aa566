"""From what a user calls a reward, a name or a file, to the stages that are tracked and how they pay."""

from __future__ import annotations

from pathlib import Path

from tgrpo_envs.bddl import Problem
from tgrpo_envs.errors import SpecError, UnknownNameError
from tgrpo_envs.rewards.credit import CreditProfile
from tgrpo_envs.rewards.from_goal import goals_spec, spec_from_goal
from tgrpo_envs.rewards.shipped import default_producer, shipped_spec
from tgrpo_envs.rewards.spec import StageSpec, load_spec
from tgrpo_envs.tasks import Task

NAMES = ("stages", "llm", "compiled", "sparse")


def choose_spec(reward: str | Path, problem: Problem, task: Task) -> StageSpec:
    """The stages of ``stages``, ``llm``, ``compiled``, ``sparse`` or a spec file.

    ``stages`` are a language model's where its spec has passed its certificate, else those from the goal. A sparse
    reward only watches the latter, so goals that no template covers will do too.

    Raises:
        UnknownNameError: Neither one of these names nor a file, and not named like one.
        SpecError: ``compiled`` for a goal that no template covers, ``llm`` for a task without such a spec, or a file
            that is not a valid spec or is for another task.
    """
    if reward not in NAMES:
        return load_spec_for(task, reward)
    if reward == "llm" or (reward == "stages" and default_producer(task) == "llm"):
        return shipped_spec(task, "llm")
    if reward in ("stages", "compiled"):
        return spec_from_goal(problem, task)
    try:
        return spec_from_goal(problem, task)
    except SpecError:
        return goals_spec(task)


def load_spec_for(task: Task, path: str | Path) -> StageSpec:
    """The spec in a file, which has to be for this task.

    Raises:
        UnknownNameError: It is neither a file nor named like one.
        SpecError: It cannot be read, is not a valid spec, or is for another task.
    """
    if Path(path).suffix != ".json" and not Path(path).exists():
        raise UnknownNameError("reward (a name or the path of a .json specification)", path, NAMES)
    spec = load_spec(path)
    if (spec.task.suite, spec.task.name) != (task.suite, task.name):
        raise SpecError(
            f"The stage spec {path} is for {spec.task.suite}/{spec.task.name}, and what it should pay is of "
            f"{task.suite}/{task.name}; give a spec of that task."
        )
    return spec


def choose_profile(reward: str | Path, credit: CreditProfile | None = None) -> CreditProfile:
    """How the stages of `choose_spec` are paid: by `credit`, if given; ``sparse`` pays success alone."""
    credit = credit or CreditProfile()
    return credit.model_copy(update={"mode": "sparse"}) if reward == "sparse" else credit
