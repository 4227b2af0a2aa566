"""What a study has shown so far: outcomes read from the folders of its runs, their tables, and the files of both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tgrpo_envs import text_table
from tgrpo_envs.files import write_atomically
from tgrpo_envs.tasks import get_task
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.report.runs import RunRecord, read_runs
from tgrpo_trainer.studies.difference import Difference, differences
from tgrpo_trainer.studies.grid import ALL, Study, StudyRun
from tgrpo_trainer.studies.page import study_page
from tgrpo_trainer.studies.run import Job
from tgrpo_trainer.studies.table import ROLLOUTS, MethodSuccess, Outcome, percent, rollout_curve, success_table

RAW_NAME, TEXT_NAME, MARKDOWN_NAME, PAGE_NAME = "results.json", "results.txt", "results.md", "study.html"
KINDS = {"heldout_greedy": "held-out states, greedy", "heldout_sampled": "held-out states, sampled"}
"""Evaluations that are reported; the first was chosen to decide."""
SUCCESS_HEADINGS = (
    "task",
    "method",
    "seeds",
    "start %",
    "end %",
    "of each seed",
    "over seeds",
    "episodes",
    "over episodes",
)
DIFFERENCE_HEADINGS = ("task", "difference", "pairs", "positive", "points", "over seeds", "bootstrap")


def read_outcomes(study: Study, folder: Path, jobs: Sequence[Job]) -> tuple[Outcome, ...]:
    """Of all finished runs, a joint run's once a task, in the order of tasks and methods.

    Args:
        study: The grid.
        folder: The study's.
        jobs: All of the study.

    Raises:
        CheckpointError: A file of a run is damaged.
    """
    names = [one.name for one in study.tasks]
    finished = {job.folder: job.is_finished for job in jobs}
    found: list[Outcome] = []
    for run in study.runs():
        if not finished[folder / run.path]:
            continue
        record = read_runs([folder / run.path])[0]
        tasks = names if run.task == ALL else [run.task]
        found += [_outcome(task, study.task_env(task), run, record) for task in tasks]
    methods = [one.name for one in study.methods]
    return tuple(sorted(found, key=lambda one: (names.index(one.task), methods.index(one.method), one.seed)))


def write_results(study: Study, folder: Path, jobs: Sequence[Job]) -> str:
    """Write tables as text and Markdown, the numbers behind them as JSON, and the page; the text is returned."""
    outcomes = read_outcomes(study, folder, jobs)
    unfinished = [job.name for job in jobs if not job.is_finished]
    tables = {kind: success_table(outcomes, kind) for kind in KINDS}
    compared = {kind: differences(outcomes, study.comparisons, kind) for kind in KINDS}
    raw = {
        "study": study.name,
        "unfinished": unfinished,
        "outcomes": [asdict(one) for one in outcomes],
        "success": {kind: [_raw_row(row) for row in rows] for kind, rows in tables.items()},
        "differences": {kind: [asdict(one) for one in rows] for kind, rows in compared.items()},
    }
    write_atomically(folder / RAW_NAME, json.dumps(raw, indent=1) + "\n")
    text = _document(study, jobs, tables, compared, plain=True)
    write_atomically(folder / TEXT_NAME, text)
    write_atomically(folder / MARKDOWN_NAME, _document(study, jobs, tables, compared, plain=False))
    sections = [
        {
            "title": f"Success: {KINDS[kind]}",
            "success": [success_cells(row) for row in tables[kind]],
            "differences": [difference_cells(row) for row in compared[kind]],
        }
        for kind in KINDS
    ]
    page = study_page(
        study, outcomes, tuple(KINDS), sections, (SUCCESS_HEADINGS, DIFFERENCE_HEADINGS), unfinished, len(jobs)
    )
    write_atomically(folder / PAGE_NAME, page)
    return text


def success_cells(row: MethodSuccess) -> tuple[str, ...]:
    """A row of the table of success as text, in percent."""
    return (
        row.task,
        row.method,
        str(len(row.rates)),
        f"{100 * row.start:.0f}",
        f"{100 * row.mean:.1f}",
        " ".join(f"{100 * rate:.0f}" for rate in row.rates),
        percent(row.over_seeds),
        f"{row.num_successes}/{row.num_episodes}",
        percent(row.over_episodes),
    )


def difference_cells(row: Difference) -> tuple[str, ...]:
    """A row of the table of differences as text, in percentage points."""
    return (
        row.task,
        f"{row.better} - {row.worse}",
        str(len(row.by_seed)),
        f"{row.num_positive}/{len(row.by_seed)}",
        f"{100 * row.mean:+.1f}",
        percent(row.over_seeds, "+.1f"),
        percent(row.bootstrap, "+.1f"),
    )


def _outcome(task: str, env: EnvConfig, run: StudyRun, record: RunRecord) -> Outcome:
    """What a run achieved on one of its tasks, whose environment is `env`."""
    mine = [one for one in record.evaluations if _place(one.env) == _place(env)]
    last = max(one.iteration for one in mine)
    curves = {
        kind: {one.iteration: one.success_rate for one in mine if one.key == kind}
        for kind in dict.fromkeys(one.key for one in mine)
    }
    if run.task != ALL:  # a joint run's rollouts are of all tasks
        curves[ROLLOUTS] = rollout_curve(record.rows)
    return Outcome(
        task=task,
        method=run.method,
        seed=run.seed,
        successes={one.key: tuple(e.success for e in one.episodes) for one in mine if one.iteration == last},
        curves=curves,
    )


def _place(env: EnvConfig) -> tuple[str, int]:
    """The suite and the index of a task."""
    return env.suite, get_task(env.suite, env.task).index


def _raw_row(row: MethodSuccess) -> dict[str, Any]:
    return {**asdict(row), "mean": row.mean, "over_episodes": row.over_episodes, "over_seeds": row.over_seeds}


def _document(
    study: Study,
    jobs: Sequence[Job],
    tables: dict[str, tuple[MethodSuccess, ...]],
    compared: dict[str, tuple[Difference, ...]],
    *,
    plain: bool,
) -> str:
    """The tables of all kinds, for a terminal or in Markdown."""
    table, mark = (text_table.aligned, "") if plain else (text_table.markdown, "## ")
    num_finished = sum(job.is_finished for job in jobs)
    parts = [
        f"{mark}Study {study.name}",
        f"{study.question} {num_finished} of {len(jobs)} clones and runs are finished; only finished ones count.",
    ]
    for kind, words in KINDS.items():
        if tables[kind]:
            parts += [
                f"{mark}Success: {words}",
                table([SUCCESS_HEADINGS, *(success_cells(row) for row in tables[kind])]),
            ]
        if compared[kind]:
            rows = [DIFFERENCE_HEADINGS, *(difference_cells(row) for row in compared[kind])]
            parts += [f"{mark}Paired differences: {words}", table(rows)]
    return "\n\n".join(parts) + "\n"
