"""Write report.html from the files in a run's folder; works while the run goes on, and after it was interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tgrpo_envs.files import write_atomically
from tgrpo_envs.html import render
from tgrpo_envs.html.timeline import EMPTY, GREEN, Row, band, drawing, stretches, ticks
from tgrpo_envs.intervals import rate_text
from tgrpo_envs.recording.video import encode
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.evaluation.poor_start import poor_start
from tgrpo_trainer.evaluation.result import Evaluation, Pooled
from tgrpo_trainer.report import plots
from tgrpo_trainer.report.last_group_videos import find_video
from tgrpo_trainer.report.record import LastGroup, RolloutRecord
from tgrpo_trainer.report.runs import RunRecord, read_runs, shown_value
from tgrpo_trainer.report.tasks import task_section
from tgrpo_trainer.rollout.environment import CONTROL_STEP_S

REPORT_NAME = "report.html"
WORKING = "#f3d08b"
END_NAMES = {"success": "success", "horizon": "step limit", "group_cut": "cut", "diverged": "physics diverged"}


def write_report(folder: Path) -> Path:
    """Write `folder`/report.html and return its path.

    Raises:
        ConfigError: `folder` is not a run's folder.
        CheckpointError: One of its files is damaged.
    """
    (run,) = read_runs([folder])
    config, evaluations, rows = run.config, run.evaluations, run.rows
    num_tasks = len(config.env.of_each_task())
    stage_names = evaluations[0].stage_names if evaluations and num_tasks == 1 else ()
    last = max((one.iteration for one in evaluations), default=0)
    text = render(
        __package__,
        "report.html",
        title=f"TGRPO: {config.run.name}",
        subtitle=_subtitle(config, evaluations),
        warning=poor_start(evaluations, config.sft),
        **_success(run),
        changes=_changes(run),
        **(task_section(evaluations, rows) if evaluations and num_tasks > 1 else {"task_rows": []}),
        **_last_group(folder, run),
        success_curves=plots.success_curves(run.pooled, rows) if evaluations or rows else None,
        reward_heading="Reward and stages" if num_tasks == 1 else "Reward",
        reward_curves=plots.reward_and_stage_curves(rows, stage_names) if rows else None,
        health_curves=plots.health_curves(rows) if rows else None,
        cost_curves=plots.cost_curves(rows) if rows else None,
        stage_headings=["Last stage reached", "none", *map(plots.readable, stage_names)],
        histograms=[
            (f"{plots.SET_NAMES[one.states]}, {one.mode}", *one.stage_histogram())
            for one in evaluations
            if num_tasks == 1 and one.iteration == last
        ],
        settings=config.model_dump_json(indent=2),
    )
    path = folder / REPORT_NAME
    write_atomically(path, text)
    return path


def _success(run: RunRecord) -> dict[str, Any]:
    """The numbers at the top and the table of success before and after training."""
    evaluations, after = run.evaluations, run.last_evaluations
    if not evaluations:
        return {"numbers": [], "after": [], "success_note": ""}
    first = min(one.iteration for one in evaluations)
    before = {one.key: one for one in run.pooled if one.iteration == first}
    numbers = [
        (
            f"{key.replace('_', ', ')}: before and after",
            " → ".join(rate_text(one.success_rate, one.num_episodes) for one in (before[key], after[key])),
        )
        for key in plots.COLOURS
        if key in before and key in after
    ]
    numbers.append((f"iterations of {_objectives(run)}", str(max(one.iteration for one in evaluations))))
    note = (
        "k/n successes with the 95 % Wilson interval. Training never draws the held-out states; LIBERO's official "
        "states of a task can be nearly identical to each other, so both are shown. Greedy takes the most probable "
        f"action; sampled draws it at temperature {evaluations[-1].temperature:g}."
    )
    rows = [_compared(before.get(key), after[key]) for key in plots.COLOURS if key in after]
    return {"numbers": numbers, "after": rows, "success_note": note}


def _objectives(run: RunRecord) -> str:
    """The kind of objective, or all that the run had one after the other."""
    kinds = [change.values["objective.kind"][0] for change in run.changes if "objective.kind" in change.values]
    return ", then ".join([*kinds, run.config.objective.kind])


def _changes(run: RunRecord) -> list[tuple[int, str, str, str]]:
    """Rows of the table of settings that the run was resumed with: first iteration, setting, before, after."""
    return [
        (change.iteration, name, shown_value(before), shown_value(after))
        for change in run.changes
        for name, (before, after) in change.values.items()
    ]


def _compared(before: Pooled | None, after: Pooled) -> dict[str, Any]:
    """A row of the table: a set and a mode before and after training, and the difference in points."""
    change = None if before is None else after.success_rate - before.success_rate
    return {
        "name": plots.SET_NAMES[after.states],
        "mode": after.mode,
        "before": plots.count(before),
        "after": plots.count(after),
        "points": "" if change is None else f"{100 * change:+.1f}".removesuffix(".0"),
        "direction": "muted" if not change else "up" if change > 0 else "down",
    }


def _last_group(folder: Path, run: RunRecord) -> dict[str, Any]:
    """The best and the worst rollout of the last group, if one was played."""
    group = LastGroup.load(folder)
    if group is None:
        return {"rollouts": []}
    task = run.config.env.of_each_task()[group.task].task
    evaluated = next((one for one in run.evaluations if one.env.task == task), None)
    stage_names = evaluated.stage_names if evaluated else ()
    rollouts = []
    for which, record in (("best", group.best), ("worst", group.worst)):
        video = find_video(folder, group.iteration, which) or encode(record.frames_THWC, 1 / group.seconds_per_decision)
        rollouts.append(
            {
                "caption": _caption(which, record),
                "video": video,
                "rows": stage_rows(record, stage_names),
                "ticks": ticks(len(record.stages_TK) * group.seconds_per_decision),
            }
        )
    return {
        "rollouts": rollouts,
        "rollouts_heading": f"Best and worst rollout of the last group (iteration {group.iteration})",
        "rollouts_task": f"Task: {evaluated.instruction}. " if evaluated else "",
        "stage_legend": [("working on the stage", WORKING), ("stage done", GREEN)],
    }


def stage_rows(record: RolloutRecord, stage_names: Sequence[str]) -> list[Row]:
    """A timeline row for each stage: when it was being worked on, that is all before it were done, and when done."""
    done_TK = record.stages_TK
    rows = []
    for k, name in enumerate(stage_names):
        fills_T = np.where(done_TK[:, k], GREEN, np.where(done_TK[:, :k].all(axis=1), WORKING, EMPTY)).tolist()
        bands = (band(start, end, fill) for start, end, fill in stretches(fills_T))
        rows.append(Row(plots.readable(name), drawing(len(done_TK), bands)))
    return rows


def _caption(which: str, record: RolloutRecord) -> str:
    seconds = record.control_steps * CONTROL_STEP_S
    return (
        f"{which.capitalize()} rollout: return {record.total_reward:.2f}, {END_NAMES[record.end]} after {seconds:.1f} s"
    )


def _subtitle(config: TrainConfig, evaluations: Sequence[Evaluation]) -> str:
    env, num_tasks = config.env, len(config.env.of_each_task())
    instruction = f"“{evaluations[0].instruction}”, " if evaluations and num_tasks == 1 else ""
    tasks = f"task {env.tasks_label}" if num_tasks == 1 else f"{num_tasks} tasks ({env.tasks_label})"
    return f"{instruction}{env.suite} {tasks}, assets {env.assets}, seed {config.run.seed}"
