"""The commands `lint` and `diff`: what is wrong with spec files, and how two of them differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tgrpo_envs.errors import SpecError

if TYPE_CHECKING:
    from tgrpo_envs.tasks import Task


def lint(
    files: Sequence[Path], *, warnings: bool = True, strict: bool = False, bddl: Path | None = None
) -> tuple[str, bool]:
    """Check spec files against the tasks they name, without a simulator.

    Args:
        files: The files; each names its task.
        warnings: Show warnings, too.
        strict: Ask for the full score, so that warnings which cost points count as errors do.
        bddl: The task file of your own that specs of such a task are for.

    Returns:
        A line per finding and one per file, and whether no file has an error (strict: nor a warning).

    Raises:
        SpecError: There is no file, or one cannot be read.
    """
    if not files:
        raise SpecError("There is nothing to check; name spec files: python -m tgrpo_envs rewards lint FILE...")
    reports = [_lint_file(path, bddl, warnings=warnings, strict=strict) for path in files]
    good = sum(is_good for _, is_good in reports)
    words = "have the full score" if strict else "have no errors"
    text = "\n".join([*(text for text, _ in reports), f"{good} of {len(reports)} specs {words}"])
    return text, good == len(reports)


def diff(a: Path, b: Path) -> str:
    """How two spec files differ: stages added and removed, and fields changed.

    Args:
        a: The one file.
        b: The other.
    """
    from tgrpo_envs.reward_tools.lint.differences import differences
    from tgrpo_envs.rewards.spec import load_spec

    lines = differences(load_spec(a), load_spec(b))
    return "\n".join(lines) if lines else "no difference but in rationales"


def _lint_file(path: Path, bddl: Path | None, *, warnings: bool, strict: bool) -> tuple[str, bool]:
    from tgrpo_envs.bddl import read_problem
    from tgrpo_envs.reward_tools.lint.rules import FULL_SCORE, lint_score, lint_text
    from tgrpo_envs.rewards.spec import read_spec_text
    from tgrpo_envs.tasks import bddl_path

    text = read_spec_text(path)
    task = _task_named_in(text, path, bddl)
    _, findings = lint_text(text, read_problem(bddl_path(task)), task, source=str(path))
    shown = [f"  {finding}" for finding in findings if warnings or finding.is_error]
    score = lint_score(findings)
    passed = score == FULL_SCORE if strict else not any(finding.is_error for finding in findings)
    return "\n".join([f"{path}: score {score}", *shown]), passed


def _task_named_in(text: str, path: Path, bddl: Path | None) -> Task:
    """The task that a spec names, even where the rest of it cannot be read."""
    import json

    from tgrpo_envs.tasks import recorded_task

    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(
            f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}; correct it there."
        ) from error
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path} is not JSON that a spec can be read from ({error}); write less of it.") from error
    try:
        named = document["task"]
        suite, name = str(named["suite"]), str(named["name"])
    except (TypeError, KeyError) as error:
        raise SpecError(
            f'{path} does not say which task it is for; write JSON with "task": {{"suite": ..., "name": ...}}.'
        ) from error
    return recorded_task(suite, name, bddl)
