"""Write report.html from the files in a run's folder; works while the run goes on, and after it was interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from tgrpo_envs.files import write_atomically
from tgrpo_envs.recording.video import encode
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.evaluation.poor_start import poor_start
from tgrpo_trainer.evaluation.result import Evaluation, load_evaluations, pool
from tgrpo_trainer.metrics.metrics import read_metrics
from tgrpo_trainer.report import page, plots
from tgrpo_trainer.report.last_group_videos import find_video
from tgrpo_trainer.report.record import LastGroup, RolloutRecord
from tgrpo_trainer.report.tasks import task_section
from tgrpo_trainer.rollout.environment import CONTROL_STEP_S
from tgrpo_trainer.run.layout import CONFIG_NAME, EVALUATIONS_NAME

REPORT_NAME = "report.html"


def write_report(folder: Path) -> Path:
    """Write `folder`/report.html and return its path.

    Raises:
        ConfigError: `folder` is not a run's folder.
        CheckpointError: One of its files is damaged.
    """
    config = TrainConfig.load(folder / CONFIG_NAME)
    evaluations = [one for path in sorted((folder / EVALUATIONS_NAME).glob("*.json")) for one in load_evaluations(path)]
    rows = read_metrics(folder)
    num_tasks = len(config.env.of_each_task())
    stage_names = evaluations[0].stage_names if evaluations and num_tasks == 1 else ()
    warning = poor_start(evaluations, config.sft)
    sections = [page.card("Warning", f"<p>{escape(warning)}</p>")] if warning else []
    sections += _success_sections(evaluations)
    if num_tasks > 1 and evaluations:
        sections.append(task_section(evaluations, rows))
    if evaluations or rows:
        sections.append(page.card("Success over training", page.plot(plots.success_curves(pool(evaluations), rows))))
    if rows:
        curves = page.plot(plots.reward_and_stage_curves(rows, stage_names))
        table = page.stage_table(_latest(evaluations)) if num_tasks == 1 else ""
        sections.append(page.card("Reward and stages" if num_tasks == 1 else "Reward", curves + table))
    last_group = LastGroup.load(folder)
    if last_group is not None:
        task = config.env.of_each_task()[last_group.task]
        named = next((one for one in evaluations if one.env.task == task.task), None)
        sections.append(_last_group_section(folder, last_group, named))
    if rows:
        health = page.plot(plots.health_curves(rows)) + page.plot(plots.cost_curves(rows))
        sections.append(page.card("Health of the run", health))
    sections.append(page.card("Settings", page.details("config.json", config.model_dump_json(indent=2))))
    path = folder / REPORT_NAME
    write_atomically(path, page.page(f"TGRPO: {config.run.name}", _subtitle(config, evaluations), sections))
    return path


def _success_sections(evaluations: Sequence[Evaluation]) -> list[str]:
    if not evaluations:
        return [page.card("Success", '<p class="muted">No evaluation has finished yet.</p>')]
    first, last = (choose(one.iteration for one in evaluations) for choose in (min, max))
    before, after = ({one.key: one for one in pool(evaluations) if one.iteration == which} for which in (first, last))
    numbers = {
        f"{key.replace('_', ', ')}: before and after": f"{before[key].success_rate:.0%} → {after[key].success_rate:.0%}"
        for key in plots.COLOURS
        if key in before and key in after
    }
    numbers["iterations of TGRPO"] = str(last)
    note = (
        "k/n successes with the 95 % Wilson interval. Training never draws the held-out states; LIBERO's official "
        "states of a task can be nearly identical to each other, so both are shown. Greedy takes the most probable "
        f"action; sampled draws it at temperature {evaluations[-1].temperature:g}."
    )
    return [page.tiles(numbers), page.card("Success before and after", page.success_table(before, after), note)]


def _last_group_section(folder: Path, group: LastGroup, of_its_task: Evaluation | None) -> str:
    stage_names = of_its_task.stage_names if of_its_task else ()
    halves = []
    for which, record in (("best", group.best), ("worst", group.worst)):
        video = find_video(folder, group.iteration, which) or encode(record.frames_THWC, 1 / group.seconds_per_decision)
        timeline = plots.stage_timeline(record, stage_names, group.seconds_per_decision)
        heading = f"<h3>{_caption(which, record)}</h3>"
        halves.append(f"<div>{heading}{video.element()}{page.plot(timeline)}</div>")
    legend = (
        '<p class="muted">Timeline: <span class="swatch" style="background:#f3d08b"></span>working on the stage'
        f'<span class="swatch" style="background:{plots.DONE_COLOUR}"></span>stage done. '
        "Left picture: scene camera, right picture: wrist camera.</p>"
    )
    heading = f"Best and worst rollout of the last group (iteration {group.iteration})"
    task = f"Task: {of_its_task.instruction}." if of_its_task else ""
    return page.card(heading, f'<div class="pair">{"".join(halves)}</div>{legend}', task)


def _caption(which: str, record: RolloutRecord) -> str:
    end = {"success": "success", "horizon": "step limit", "group_cut": "cut", "diverged": "physics diverged"}[
        record.end
    ]
    seconds = record.control_steps * CONTROL_STEP_S
    return f"{which.capitalize()} rollout: return {record.total_reward:.2f}, {end} after {seconds:.1f} s"


def _latest(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    last = max((one.iteration for one in evaluations), default=0)
    return [one for one in evaluations if one.iteration == last]


def _subtitle(config: TrainConfig, evaluations: Sequence[Evaluation]) -> str:
    env, num_tasks = config.env, len(config.env.of_each_task())
    instruction = f"“{evaluations[0].instruction}”, " if evaluations and num_tasks == 1 else ""
    tasks = f"task {env.tasks_label}" if num_tasks == 1 else f"{num_tasks} tasks ({env.tasks_label})"
    return f"{instruction}{env.suite} {tasks}, assets {env.assets}, seed {config.run.seed}"
