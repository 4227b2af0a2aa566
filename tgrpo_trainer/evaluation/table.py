"""An evaluation as a table of plain text."""

from __future__ import annotations

from collections.abc import Sequence

from tgrpo_envs.intervals import counted
from tgrpo_envs.text_table import aligned
from tgrpo_trainer.evaluation.record import EvaluationFile
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
    lines += _horizon_notes(file.evaluations)
    return "\n".join(lines)


def _row(one: Evaluation) -> tuple[str, ...]:
    task = one.env.resolved_task
    result = counted(one.num_successes, one.num_episodes)
    return (
        f"{task.suite} {task.index}",
        one.states,
        one.mode,
        result,
        one.asset_pack,
        str(one.horizon),
        one.instruction,
    )


def _horizon_notes(evaluations: Sequence[Evaluation]) -> list[str]:
    """Episodes that are cut before or after the customary limit are another test."""
    notes = {}
    for one in evaluations:
        usual = one.env.resolved_task.horizon
        if one.horizon != usual:
            notes[
                f"Episodes were cut after {one.horizon} control steps; {one.env.suite} is evaluated with {usual}."
            ] = 0
    return list(notes)
