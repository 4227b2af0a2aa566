"""The commands of `python -m tgrpo_envs rewards`; what they run is imported when they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from tgrpo_envs.errors import SpecError
from tgrpo_envs.files import output
from tgrpo_envs.reward_tools.author.commands import generate, ingest, prompt
from tgrpo_envs.reward_tools.certify.commands import certify, report
from tgrpo_envs.reward_tools.compare.commands import compare
from tgrpo_envs.reward_tools.explain.commands import show
from tgrpo_envs.reward_tools.lint import commands as linting
from tgrpo_envs.tasks import CUSTOM, choose_task, list_tasks

DESCRIPTION = "Stage rewards: compile them from goals, have a language model write them, check them, look at them."


def compile_specs(
    suite: str | None = None, task: int | str | None = None, out: Path | None = None, bddl: Path | None = None
) -> str:
    """Write the spec that follows from a task's goal alone, without a language model.

    Args:
        suite: LIBERO suite; libero_object where it is left out.
        task: Index or name of the task; all of the suite where it is left out.
        out: Folder to write `<suite>/<task>.compiled.json` into; without it one task's spec is printed.
        bddl: A task file of your own, in place of suite and task.
    """
    from tgrpo_envs.bddl import read_problem
    from tgrpo_envs.rewards import save_spec, spec_from_goal
    from tgrpo_envs.rewards.shipped import spec_path
    from tgrpo_envs.tasks import bddl_path

    suite = suite or ("libero_object" if bddl is None else CUSTOM)
    is_whole = task is None and out is not None and bddl is None
    chosen = list_tasks(suite) if is_whole else [choose_task(suite, task or 0, bddl)]
    specs = {each: spec_from_goal(read_problem(bddl_path(each)), each) for each in chosen}
    if out is None:
        return specs[chosen[0]].model_dump_json(indent=2, by_alias=True, exclude_defaults=True)
    with output(out, "--out", is_folder=True):
        for each, spec in specs.items():
            save_spec(spec, spec_path(each, "compiled", out))
    return f"{len(specs)} specs written to {out / suite}"


def diff(a: tyro.conf.Positional[Path], b: tyro.conf.Positional[Path]) -> str:
    """How two spec files differ: stages added and removed, and fields changed.

    Args:
        a: The one file.
        b: The other.
    """
    return linting.diff(a, b)


def lint(
    files: tyro.conf.Positional[tuple[Path, ...]],
    *,
    warnings: bool = True,
    strict: bool = False,
    bddl: Path | None = None,
) -> str:
    """Check spec files without a simulator; the exit code is not zero if one has errors.

    Args:
        files: Spec files, one or more; each names its task.
        warnings: Whether to print warnings too.
        strict: Whether warnings that cost points forbid a spec as errors do.
        bddl: The task file of your own that specs of such a task are for.
    """
    text, passed = linting.lint(files, warnings=warnings, strict=strict, bddl=bddl)
    if not passed:
        raise SpecError(text)
    return text


COMMANDS: dict[str, Callable[..., Any]] = {
    "compile": compile_specs,
    "prompt": prompt,
    "generate": generate,
    "ingest": ingest,
    "lint": lint,
    "certify": certify,
    "report": report,
    "compare": compare,
    "show": show,
    "diff": diff,
}
