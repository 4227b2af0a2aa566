"""Several runs on one self-contained page: what differs between them, their curves, final counts and times."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape
from pathlib import Path

from tgrpo_envs.files import write_atomically
from tgrpo_trainer.evaluation.intervals import counted
from tgrpo_trainer.report import overlay, page
from tgrpo_trainer.report.plots import COLOURS, interval_bar
from tgrpo_trainer.report.runs import RunGroup, RunRecord, differing_settings, group_by_settings, read_runs

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
    evaluated = [run for run in runs if run.evaluations]
    sections = [page.card("What to know", _notes(runs))] if _notes(runs) else []
    sections.append(_settings_section(groups))
    if evaluated:
        note = (
            "k/n successes of the last evaluation, with the 95 % Wilson interval. Intervals that overlap are not a "
            "difference; the mean of seeds has no interval, because few seeds say little about how they spread."
        )
        sections.append(page.card("Final success", _success_table(groups), note))
        note = (
            "Bands: 95 % Wilson interval of a single run. Several seeds: each thin, their mean thick and without band."
        )
        sections.append(page.card("Success over training", page.plot(overlay.success_overlay(groups)), note))
    if any(run.rows for run in runs):
        sections.append(page.card("Training", page.plot(overlay.metric_overlay(groups))))
        sections.append(page.card("Where the time of an iteration went", page.plot(overlay.time_split(groups))))
    count = f"{len(runs)} runs, {len(groups)} {'settings' if len(groups) > 1 else 'setting'}"
    return page.page("TGRPO: comparison of runs", count, sections)


def _notes(runs: Sequence[RunRecord]) -> str:
    """What keeps the runs from being compared, or the numbers from meaning what they seem to."""
    notes = []
    tasks = sorted({f"{run.config.env.suite} task {run.config.env.tasks_label}" for run in runs})
    if len(tasks) > 1:
        notes.append(f"The runs are of different tasks ({', '.join(tasks)}): their success says little about settings.")
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
    return "".join(f"<p>{escape(note)}</p>" for note in notes)


def _settings_section(groups: Sequence[RunGroup]) -> str:
    differing = differing_settings(groups)
    if not differing:
        body = '<p class="muted">None: the runs differ in their seed only.</p>'
    else:
        head = "".join(f"<th>{_swatch(index)}{escape(group.label)}</th>" for index, group in enumerate(groups))
        rows = "".join(
            f"<tr><td>{escape(name)}</td>" + "".join(f"<td>{escape(_shown(value))}</td>" for value in values) + "</tr>"
            for name, values in differing.items()
        )
        body = f"<table><tr><th>Setting</th>{head}</tr>{rows}</table>"
    return page.card("Settings that differ", body)


def _success_table(groups: Sequence[RunGroup]) -> str:
    head = "".join(f"<th>{page.SET_NAMES[key.split('_')[0]]}, {key.split('_')[1]}</th>" for key in COLOURS)
    rows = []
    for index, group in enumerate(groups):
        for run in group.runs:
            iteration = max((one.iteration for one in run.evaluations), default=None)
            cells = "".join(f'<td style="white-space: normal">{_count(run, key)}</td>' for key in COLOURS)
            done = "" if iteration is None else str(iteration)
            rows.append(f"<tr><td>{_swatch(index)}{escape(run.name)}</td><td>{done}</td>{cells}</tr>")
        if len(group.runs) > 1:
            cells = "".join(f"<td>{_mean(group, key)}</td>" for key in COLOURS)
            rows.append(f"<tr><td>{_swatch(index)}<b>mean of {len(group.runs)} seeds</b></td><td></td>{cells}</tr>")
    return f'<table class="stages"><tr><th>Run</th><th>Iterations</th>{head}</tr>{"".join(rows)}</table>'


def _count(run: RunRecord, key: str) -> str:
    one = run.last_evaluations.get(key)
    if one is None:
        return "not evaluated"
    return f"{counted(one.num_successes, one.num_episodes)}<br>{interval_bar(one, COLOURS[key])}"


def _mean(group: RunGroup, key: str) -> str:
    rates = [one.success_rate for run in group.runs if (one := run.last_evaluations.get(key)) is not None]
    return f"<b>{statistics.mean(rates):.0%}</b>" if rates else ""


def _swatch(index: int) -> str:
    return f'<span class="swatch" style="background:{overlay.group_colour(index)}"></span>'


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
