"""The comparison page of several runs: differing settings, curves, final counts and times."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tgrpo_envs.files import write_atomically
from tgrpo_envs.html import render
from tgrpo_envs.intervals import rate_text
from tgrpo_trainer.report import overlay, plots
from tgrpo_trainer.report.runs import (
    RunGroup,
    RunRecord,
    differ_in_seed,
    differing_settings,
    group_by_settings,
    read_runs,
    shown_value,
)

COMPARISON_NAME = "compare.html"
PRIMITIVE = "primitive"


def write_comparison(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page and return its path.

    Args:
        folders: The runs' folders.
        out: The page; None writes compare.html into the folder that the first run's folder lies in.

    Raises:
        ConfigError: A folder is no run's, or given twice.
        CheckpointError: One of their files is damaged.
    """
    groups = group_by_settings(read_runs(folders))
    path = out or folders[0].resolve().parent / COMPARISON_NAME
    write_atomically(path, comparison_page(groups))
    return path


def comparison_page(groups: Sequence[RunGroup]) -> str:
    """The whole document."""
    runs = [run for group in groups for run in group.runs]
    evaluated, logged = any(run.evaluations for run in runs), any(run.rows for run in runs)
    return render(
        __package__,
        "compare.html",
        title="TGRPO: comparison of runs",
        subtitle=f"{len(runs)} runs, {len(groups)} {'settings' if len(groups) > 1 else 'setting'}",
        notes=_notes(runs),
        settings={name: [shown_value(each) for each in values] for name, values in differing_settings(groups).items()},
        no_settings=(
            "None: the runs differ in their seed only."
            if differ_in_seed(runs)
            else "None: the runs have the same settings, and some of them the same seed."
        ),
        headings=[f"{plots.SET_NAMES[key.split('_')[0]]}, {key.split('_')[1]}" for key in plots.COLOURS],
        groups=[_group(group, index) for index, group in enumerate(groups)],
        success_note=(
            "k/n successes of the last evaluation, with the 95 % Wilson interval. Intervals that overlap are not a "
            "difference; the mean of seeds has no interval, because few seeds say little about how they spread."
        ),
        success_curves=overlay.success_overlay(groups) if evaluated else None,
        curves_note=(
            "Bands: 95 % Wilson interval of a single run. Several runs of the same settings: each thin, their mean "
            "thick and without band."
        ),
        metric_curves=overlay.metric_overlay(groups) if logged else None,
        time_split=overlay.time_split(groups) if logged else None,
    )


def _notes(runs: Sequence[RunRecord]) -> list[str]:
    """What keeps the runs from being compared, or the numbers from meaning what they seem to."""
    notes = []
    tasks = sorted({f"{run.config.env.suite} task {run.config.env.tasks_label}" for run in runs})
    if len(tasks) > 1:
        notes.append(f"The runs are of different tasks ({', '.join(tasks)}): their success says little about settings.")
    changed = [run.name for run in runs if run.changes]
    if changed:
        notes.append(
            f"Settings changed on the way in {', '.join(changed)}, as the table below shows; such a run is grouped "
            "with no other."
        )
    packs = sorted({one.asset_pack for run in runs for one in run.evaluations})
    if len(packs) > 1:
        notes.append(f"The runs are on different asset packs ({', '.join(packs)}).")
    if PRIMITIVE in packs:
        notes.append("Results on the primitive asset pack are not comparable with the benchmark's.")
    unevaluated = [run.name for run in runs if not run.evaluations]
    if unevaluated:
        notes.append(f"Nothing was evaluated yet in {', '.join(unevaluated)}.")
    unlogged = [run.name for run in runs if not any("rollout/return" in row for row in run.rows)]
    if unlogged:
        notes.append(f"No iteration has finished yet in {', '.join(unlogged)}.")
    iterations = {max(one.iteration for one in run.evaluations) for run in runs if run.evaluations}
    if len(iterations) > 1:
        notes.append("The runs have not done the same number of iterations: their last evaluations are not level.")
    return notes


def _group(group: RunGroup, index: int) -> dict[str, Any]:
    """Runs of the same settings in the tables; the means of those that were evaluated, where these are several."""
    evaluated = [run for run in group.runs if run.evaluations]
    return {
        "label": group.label,
        "line": overlay.line_sample(index),
        "runs": [
            {
                "name": run.name,
                "iterations": max((one.iteration for one in run.evaluations), default=""),
                "counts": [plots.count(run.last_evaluations.get(key)) for key in plots.COLOURS],
            }
            for run in group.runs
        ],
        "means": [_mean(evaluated, key) for key in plots.COLOURS] if len(evaluated) > 1 else [],
        "mean_of": f"mean of {len(evaluated)} {'seeds' if differ_in_seed(evaluated) else 'runs'}",
    }


def _mean(runs: Sequence[RunRecord], key: str) -> str:
    found = [one for run in runs if (one := run.last_evaluations.get(key)) is not None]
    if not found:
        return ""
    return rate_text(statistics.mean(one.success_rate for one in found), min(one.num_episodes for one in found))
