"""What a run of several tasks shows of each: success before and after training, and a small curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np

from tgrpo_envs.html import Markup
from tgrpo_envs.intervals import rate_text
from tgrpo_trainer.evaluation.result import Evaluation
from tgrpo_trainer.report.plots import COLOURS, MUTED, SET_NAMES, STYLE, Rows, count, new_figure, series, to_svg
from tgrpo_trainer.rollout.tasks import task_key

COLUMNS = 5
"""Small curves beside each other."""
MEAN_OF = 10
"""Iterations: a task has a group or so in each, too few for a curve."""


def task_section(evaluations: Sequence[Evaluation], rows: Rows) -> dict[str, Any]:
    """What the page's card of tasks shows: a table with a row for each task, and a curve for each.

    Args:
        evaluations: Of all iterations and tasks.
        rows: Of metrics.jsonl.
    """
    return {
        "task_note": (
            "k/n successes with the 95 % Wilson interval; before is behaviour cloning. Curves: success of each task "
            "over iterations, evaluated (held-out greedy in dark blue) and in training rollouts "
            f"(grey, mean of the latest {MEAN_OF})."
        ),
        "task_headings": [f"{SET_NAMES[key.split('_')[0]]}, {key.split('_')[1]}" for key in COLOURS],
        "task_rows": [_row(own) for own in _by_task(evaluations).values()],
        "task_curves": task_curves(evaluations, rows),
    }


@mpl.rc_context(STYLE)
def task_curves(evaluations: Sequence[Evaluation], rows: Rows) -> Markup:
    """A small panel for each task: evaluated success, and that of its training rollouts behind it."""
    tasks = _by_task(evaluations)
    columns = min(COLUMNS, len(tasks))
    lines = -(-len(tasks) // columns)
    figure, axes = new_figure(columns, rows=lines, height=1.5 * lines + 0.3)
    for axis, (key, own) in zip(axes, tasks.items(), strict=False):
        axis.plot(*latest_means(*series(rows, f"rollout/success_rate/{key}")), color=MUTED, alpha=0.5, linewidth=2)
        for kind, colour in COLOURS.items():
            chosen = sorted((one for one in own if one.key == kind), key=lambda one: one.iteration)
            rates = [one.success_rate for one in chosen]
            axis.plot([one.iteration for one in chosen], rates, "o-", color=colour, markersize=3, linewidth=1.2)
        axis.set(ylim=(-0.05, 1.05))
        axis.set_title(key.replace("_", " "), fontsize=9)
    for axis in axes[len(tasks) :]:
        axis.set_visible(False)
    return to_svg(figure)


def latest_means(iterations: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each value and those before it, `MEAN_OF` in all; the first ones have none."""
    width = max(1, min(MEAN_OF, len(values)))
    ends = range(width, len(values) + 1)
    return iterations[width - 1 :], np.array([values[end - width : end].mean() for end in ends])


def _by_task(evaluations: Sequence[Evaluation]) -> dict[str, list[Evaluation]]:
    tasks: dict[str, list[Evaluation]] = {}
    for one in evaluations:
        tasks.setdefault(task_key(one.env), []).append(one)
    return dict(sorted(tasks.items()))


def _row(own: Sequence[Evaluation]) -> dict[str, Any]:
    """Of one task: its number and words, then for each set and mode the rate before and the count after."""
    first, last = min(one.iteration for one in own), max(one.iteration for one in own)
    cells: list[dict[str, Any] | None] = []
    for key in COLOURS:
        before = next((one for one in own if (one.key, one.iteration) == (key, first)), None)
        after = next((one for one in own if (one.key, one.iteration) == (key, last)), None)
        if before is None or after is None:
            cells.append(None)
        else:
            cells.append({"before": rate_text(before.success_rate, before.num_episodes), "after": count(after)})
    name = f"{task_key(own[0].env).removeprefix('task_')}: {own[0].instruction}"
    return {"name": name, "cells": cells}
