"""A user's spec file before it pays: it must be this task's, and without lint errors."""

from __future__ import annotations

from tgrpo_envs.bddl import read_problem
from tgrpo_envs.errors import SpecError
from tgrpo_envs.rewards import StageSpec, load_spec
from tgrpo_envs.settings import EnvSettings
from tgrpo_envs.tasks import bddl_path


def load_reward_file(settings: EnvSettings) -> StageSpec:
    """The spec in the file that `settings.reward` names.

    Raises:
        SpecError: It cannot be read as a spec; or the linter finds errors, such as that it is for another task, and
            `settings.unchecked_reward` does not insist on it.
    """
    from tgrpo_envs.reward_tools.lint import lint_spec

    spec = load_spec(settings.reward)
    if settings.unchecked_reward:
        return spec
    task = settings.resolved_task
    errors = [finding for finding in lint_spec(spec, read_problem(bddl_path(task)), task) if finding.is_error]
    if errors:
        heading = (
            f"{settings.reward} cannot pay for {task.suite}/{task.name}; repair it (python -m tgrpo_envs rewards lint "
            "FILE), or insist on it with unchecked_reward=True:"
        )
        raise SpecError("\n  ".join([heading, *map(str, errors)]))
    return spec
