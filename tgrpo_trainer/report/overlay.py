"""Plots of several runs in one frame: a line of its own per setting, thin ones for seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from tgrpo_envs.html import Markup
from tgrpo_trainer.report.plots import COLOURS, STYLE, TIME_COLOURS, new_figure, seconds_of, series, to_svg
from tgrpo_trainer.report.runs import RunGroup, RunRecord, mean_curve

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's colours, which the colour-blind tell apart too; not their yellow, which white paper swallows."""
DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.5), (1, 1.5), (6, 1.5, 1, 1.5))
"""Lengths of dashes and gaps, in line widths: solid, and one more for each time that all colours are used up."""
PANELS = {
    "rollout/return": "Return of training rollouts",
    "update/kl": "KL to the SFT policy",
    "update/entropy": "Entropy per token (nats)",
    "time/iteration_s": "Seconds per iteration",
}

Curve = Mapping[float, float]


def group_colour(index: int) -> str:
    """Colour of the group at a place in the order of groups."""
    return PALETTE[index % len(PALETTE)]


def group_line(index: int) -> dict[str, Any]:
    """Colour and dashes of the group's curve, as Matplotlib takes them."""
    dashes = _dashes(index)
    return {"color": group_colour(index), "linestyle": (0, dashes) if dashes else "-"}


def line_sample(index: int) -> Markup:
    """A piece of the group's curve, for tables."""
    dashes = " ".join(f"{2.5 * length:g}" for length in _dashes(index))
    return Markup(
        '<svg width="30" height="10" style="margin-right:6px"><line x2="30" y1="5" y2="5" stroke-width="2.5" '
        f'stroke="{group_colour(index)}" stroke-dasharray="{dashes or "none"}"/></svg>'
    )


@mpl.rc_context(STYLE)
def success_overlay(groups: Sequence[RunGroup]) -> Markup:
    """Evaluated success of all groups, a panel for each set and mode; Wilson bands where a group is one run."""
    figure, axes = new_figure(2, rows=2, height=5.6)
    for axis, key in zip(axes, COLOURS, strict=True):
        for index, group in enumerate(groups):
            _draw_group(axis, group, index, partial(_success, key=key), marker="o")
            if len(group.runs) == 1:
                chosen = [one for one in group.runs[0].pooled if one.key == key]
                low, high = np.array([one.interval for one in chosen]).reshape(-1, 2).T
                iterations = [one.iteration for one in chosen]
                axis.fill_between(iterations, low, high, color=group_colour(index), alpha=0.12, linewidth=0)
        axis.set(ylim=(-0.03, 1.03), xlabel="iteration", title=f"Success: {key.replace('_', ', ')}")
    _legend(figure, axes[0])
    return to_svg(figure)


@mpl.rc_context(STYLE)
def metric_overlay(groups: Sequence[RunGroup]) -> Markup:
    """Return, KL, entropy and seconds per iteration of all groups."""
    figure, axes = new_figure(2, rows=2, height=5.2)
    for axis, (key, title) in zip(axes, PANELS.items(), strict=True):
        for index, group in enumerate(groups):
            _draw_group(axis, group, index, partial(_metric, key=key), marker=".")
        axis.set(xlabel="iteration", title=title)
    _legend(figure, axes[0])
    return to_svg(figure)


@mpl.rc_context(STYLE)
def time_split(groups: Sequence[RunGroup]) -> Markup:
    """A bar for each run: mean seconds of an iteration in environment, policy, update, idle and the rest."""
    runs = [run for group in groups for run in group.runs if _timed(run)]
    figure, (axis,) = new_figure(1, height=0.9 + 0.42 * len(runs))
    left = np.zeros(len(runs))
    for name, colour in TIME_COLOURS.items():
        widths = np.array([float(np.mean(seconds_of(run.rows)[1][name])) for run in runs])
        axis.barh(range(len(runs)), widths, left=left, height=0.62, color=colour, label=name)
        left = left + widths
    axis.set_yticks(range(len(runs)), [run.name for run in runs])
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.set(xlabel="seconds per iteration, mean")
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return to_svg(figure)


def _draw_group(
    axis: Axes, group: RunGroup, index: int, curve_of: Callable[[RunRecord], Curve], marker: str = ""
) -> None:
    """One thick line: the run's, or the mean of the seeds with each of them thin behind it."""
    curves = [curve for run in group.runs if (curve := curve_of(run))]
    if len(curves) > 1:
        for curve in curves:
            axis.plot(list(curve), list(curve.values()), **group_line(index), linewidth=0.8, alpha=0.5)
    mean = mean_curve(curves)
    label = f"{group.label}, mean" if len(curves) > 1 else group.label
    axis.plot(
        list(mean), list(mean.values()), **group_line(index), marker=marker, markersize=4, linewidth=2, label=label
    )


def _dashes(index: int) -> tuple[float, ...]:
    return DASHES[index // len(PALETTE) % len(DASHES)]


def _success(run: RunRecord, key: str) -> Curve:
    return {float(one.iteration): one.success_rate for one in run.pooled if one.key == key}


def _metric(run: RunRecord, key: str) -> Curve:
    iterations, values = series(run.rows, key)
    return dict(zip(iterations.tolist(), values.tolist(), strict=True))


def _timed(run: RunRecord) -> bool:
    return len(seconds_of(run.rows)[0]) > 0


def _legend(figure: mpl.figure.Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3, max(1, len(labels))))
