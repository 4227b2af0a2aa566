"""An evaluation as a table of plain text."""

from __future__ import annotations

from tgrpo_envs.intervals import counted
from tgrpo_envs.text_table import aligned
from tgrpo_trainer.evaluation.record import EvaluationFile, described
from tgrpo_trainer.evaluation.result import Evaluation

HEADER = ("task", "states", "actions", "k/n = rate [95 % Wilson]", "assets", "steps", "instruction")


def table(file: EvaluationFile) -> str:
    """One row per task, set and mode, then the pooled rows, then what the numbers may be compared with."""
    policy = file.policy
    rows = [HEADER, *(_row(one) for one in file.evaluations)]
    lines = [f"{policy.kind} policy {policy.path}, {policy.digest[:12]}, {policy.iteration} iterations", ""]
    lines.append(aligned(rows))
    if any(one.num_tasks > 1 for one in file.pooled):
        lines += ["", f"Pooled over {file.pooled[0].num_tasks} tasks (every episode weighs the same):"]
        lines.append(aligned([(one.states, one.mode, str(one)) for one in file.pooled]))
    lines += ["", file.note]
    return "\n".join(lines)


def _row(one: Evaluation) -> tuple[str, ...]:
    task, change = one.env.resolved_task, one.env.perturbation
    result = counted(one.num_successes, one.num_episodes)
    return (
        f"{task.suite} {task.index}" + (f" ({described(change)})" if change else ""),
        one.states,
        one.mode,
        result,
        one.asset_pack,
        str(one.horizon),
        one.instruction,
    )
