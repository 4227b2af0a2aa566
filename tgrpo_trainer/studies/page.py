"""The page of a study: learning curves with intervals over seeds, tables, and what is unfinished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl

from tgrpo_envs.html import Markup, render
from tgrpo_trainer.report.overlay import group_colour, group_line
from tgrpo_trainer.report.plots import STYLE, new_figure, to_svg
from tgrpo_trainer.report.runs import mean_curve
from tgrpo_trainer.studies.difference import NUM_RESAMPLES
from tgrpo_trainer.studies.grid import Study
from tgrpo_trainer.studies.table import ROLLOUTS, ROLLOUTS_BLOCK, Outcome, mean_interval

SUCCESS_NOTE = (
    "Start: the clones. Over seeds: Student's 95 % interval of the mean of the seeds' success rates. Over episodes: "
    "Wilson's 95 % interval of all their episodes together, which says nothing about other seeds."
)
DIFFERENCE_NOTE = (
    "Percentage points, each pair from the same clone on the same states; positive: pairs in which the first method "
    "succeeded more. Over seeds: Student's 95 % interval. Bootstrap: 95 % of resampled seeds "
    f"({NUM_RESAMPLES} draws), too narrow for few seeds (docs/studies.md). On every task: each task weighs the same."
)

CURVES_NOTE = "Mean of the finished seeds; bands: Student's 95 % interval over seeds."


def study_page(
    study: Study,
    outcomes: Sequence[Outcome],
    kinds: Sequence[str],
    sections: Sequence[Mapping[str, Any]],
    headings: tuple[Sequence[str], Sequence[str]],
    unfinished: Sequence[str],
    num_jobs: int,
) -> str:
    """The whole document.

    Args:
        study: The grid.
        outcomes: Of finished runs.
        kinds: Evaluations that are shown, as in `Outcome.curves`.
        sections: For each kind: title, rows of the table of success, rows of differences.
        headings: Of both tables.
        unfinished: Clones and runs that are not finished, in words.
        num_jobs: Clones and runs of the study.
    """
    return render(
        __package__,
        "study.html",
        title=f"Study: {study.name}",
        subtitle=f"{study.question} {num_jobs - len(unfinished)} of {num_jobs} clones and runs are finished.",
        sections=[
            {**section, "curves": learning_curves(outcomes, kind) if outcomes else None}
            for kind, section in zip(kinds, sections, strict=True)
        ],
        success_headings=headings[0],
        difference_headings=headings[1],
        success_note=SUCCESS_NOTE,
        difference_note=DIFFERENCE_NOTE,
        rollout_curves=learning_curves(outcomes, ROLLOUTS) if outcomes else None,
        rollouts_note=f"Success of the training rollouts, {ROLLOUTS_BLOCK} iterations a point. {CURVES_NOTE}",
        curves_note=CURVES_NOTE,
        unfinished=unfinished,
    )


@mpl.rc_context(STYLE)
def learning_curves(outcomes: Sequence[Outcome], kind: str) -> Markup:
    """A panel for each task, a colour for each method: the mean of its seeds, with the interval over seeds."""
    tasks = list(dict.fromkeys(one.task for one in outcomes))
    methods = list(dict.fromkeys(one.method for one in outcomes))
    columns = min(2, len(tasks))
    lines = -(-len(tasks) // columns)
    figure, axes = new_figure(columns, rows=lines, height=2.8 * lines + 0.6)
    for axis, task in zip(axes, tasks, strict=False):
        for index, method in enumerate(methods):
            found = [one.curves.get(kind) for one in outcomes if (one.task, one.method) == (task, method)]
            curves = [curve for curve in found if curve]
            if not curves:
                continue
            mean = mean_curve([{float(x): rate for x, rate in curve.items()} for curve in curves])
            axis.plot(list(mean), list(mean.values()), marker="o", markersize=3, label=method, **group_line(index))
            if len(curves) > 1:
                bands = [mean_interval([curve[int(x)] for curve in curves]) or (y, y) for x, y in mean.items()]
                low, high = zip(*bands, strict=True)
                axis.fill_between(list(mean), low, high, color=group_colour(index), alpha=0.10, linewidth=0)
        axis.set(ylim=(-0.03, 1.03), xlabel="iteration", title=task)
    for axis in axes[len(tasks) :]:
        axis.set_visible(False)
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4)
    return to_svg(figure)
