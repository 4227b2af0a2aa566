"""The report's drawings, as SVG text that sits inside the page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tgrpo_envs.html import Markup
from tgrpo_trainer.evaluation.result import Evaluation, Pooled

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
COLOURS = {
    "heldout_greedy": "#1b6ca8",
    "heldout_sampled": "#6cb2e0",
    "official_greedy": "#c05621",
    "official_sampled": "#f0a56b",
}
SET_NAMES = {"heldout": "Held-out region states", "official": "LIBERO's official states"}
STAGE_COLOURS = ("#94c5cc", "#5fa8b8", "#2f8aa3", "#1b6ca8", "#2a4d8f", "#4b3b85", "#6d2f78", "#7f2360")
TIME_COLOURS = {"env": "#94c5cc", "policy": "#2f8aa3", "update": "#2a4d8f", "idle": "#e8a87c", "other": "#cbd2d9"}
"""Parts of an iteration's time (docs/metrics.md); idle = waiting for other processes, other = the rest."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tgrpo",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titlecolor": INK,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 3.2,
}

Rows = Sequence[Mapping[str, float | None]]


@mpl.rc_context(STYLE)
def success_curves(evaluations: Sequence[Pooled], rows: Rows) -> Markup:
    """Evaluated success with Wilson bands over iterations, and success during rollouts behind it."""
    figure, (axis,) = new_figure(1, height=3.4)
    if rows:
        iterations, values = series(rows, "rollout/success_rate")
        axis.plot(iterations, values, color=GRID, linewidth=2.5, label="training rollouts", zorder=1)
    for key, colour in COLOURS.items():
        chosen = sorted((one for one in evaluations if one.key == key), key=lambda one: one.iteration)
        if not chosen:
            continue
        iterations = np.array([one.iteration for one in chosen], dtype=float)
        low, high = np.array([one.interval for one in chosen]).T
        axis.fill_between(iterations, low, high, color=colour, alpha=0.10, linewidth=0)
        rates = [one.success_rate for one in chosen]
        axis.plot(iterations, rates, "o-", color=colour, markersize=4, label=key.replace("_", ", "))
    axis.set(ylim=(-0.02, 1.02), xlabel="iteration", title="Success rate (bands: 95 % Wilson interval)")
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return to_svg(figure)


@mpl.rc_context(STYLE)
def reward_and_stage_curves(rows: Rows, stage_names: Sequence[str]) -> Markup:
    """Return of the training rollouts, and the share of them that had each stage done, where they are of one task."""
    figure, (left, *of_stages) = new_figure(2 if stage_names else 1, height=3.0)
    iterations, values = series(rows, "rollout/return")
    grouped = [row for row in rows if "rollout/return_std" in row]  # PPO has no groups
    within, spread = series(grouped, "rollout/return_std")
    _, mean = series(grouped, "rollout/return")
    left.fill_between(within, mean - spread, mean + spread, color="#1b6ca8", alpha=0.10, linewidth=0)
    left.plot(iterations, values, color="#1b6ca8")
    left.set(xlabel="iteration", title="Return of training rollouts (band: standard deviation)")
    for right in of_stages:
        for k, name in enumerate(stage_names):
            right.plot(*series(rows, f"stage/{name}"), color=_stage_colour(k), label=readable(name))
        right.set(ylim=(-0.02, 1.02), xlabel="iteration", title="Share of rollouts that reached each stage")
        right.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return to_svg(figure)


@mpl.rc_context(STYLE)
def health_curves(rows: Rows) -> Markup:
    """Small panels of what tells a healthy run from a collapsing one."""
    panels = {
        "update/entropy": "Entropy per token (nats)",
        "update/kl": "KL to the SFT policy",
        "update/clip_ratio/high": "Share clipped above",
        "update/grad_norm": "Gradient norm",
    }
    if any("update/grad_cosine" in row for row in rows):
        panels["update/grad_cosine"] = "Gradient agreement"
    figure, axes = new_figure(len(panels), height=2.1)
    for axis, (key, title) in zip(axes, panels.items(), strict=True):
        axis.plot(*series(rows, key), color="#1b6ca8", marker=".", markersize=3)
        axis.set_title(title, fontsize=9.5)
        axis.set(xlabel="iteration", xlim=(0, max(row["iteration"] or 0 for row in rows) + 1))
    return to_svg(figure)


@mpl.rc_context(STYLE)
def cost_curves(rows: Rows) -> Markup:
    """Seconds of each iteration by what they went into, and memory beside it."""
    figure, (left, right) = new_figure(2, height=2.4)
    iterations, seconds = seconds_of(rows)
    bottom = np.zeros(len(iterations))
    for name, colour in TIME_COLOURS.items():
        left.bar(iterations, seconds[name], bottom=bottom, color=colour, width=0.8, label=name)
        bottom = bottom + seconds[name]
    left.set(xlabel="iteration", title="Where the time of an iteration went (s)")
    left.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    for key, name, colour in (
        ("memory/resident_gib", "process, now", "#8fa8d6"),
        ("memory/peak_gib", "process, most so far", "#2a4d8f"),
        ("memory/gpu_peak_gib", "GPU, most of the iteration", "#c05621"),
    ):
        if any(key in row for row in rows):
            right.plot(*series(rows, key), color=colour, label=name)
    right.set(xlabel="iteration", title="Memory (GiB)", ylim=(0, None))
    if right.lines:
        right.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return to_svg(figure)


def seconds_of(rows: Rows) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Iterations, and the seconds of each of them by the names of `TIME_COLOURS`; what was not logged is 0."""
    logged = [row for row in rows if row.get("time/env_s") is not None]
    seconds = {
        name: np.array([row.get(f"time/{name}_s") or 0.0 for row in logged], dtype=float)
        for name in ("env", "policy", "update", "idle")
    }
    whole = np.array([row.get("time/iteration_s") or 0.0 for row in logged], dtype=float)
    seconds["other"] = np.maximum(0.0, whole - sum(seconds.values()))
    return np.array([row["iteration"] for row in logged], dtype=float), seconds


def interval_bar(evaluation: Evaluation | Pooled) -> Markup:
    """A thin bar from 0 to 1 with the interval shaded and the rate marked, for a table cell."""
    low, high = evaluation.interval
    colour = COLOURS[evaluation.key]
    return Markup(
        '<svg class="interval" viewBox="0 0 100 12" preserveAspectRatio="none" role="img" aria-hidden="true">'
        '<rect x="0" y="4.5" width="100" height="3" fill="#e4e7eb"/>'
        f'<rect x="{100 * low:.1f}" y="3" width="{100 * (high - low):.1f}" height="6" fill="{colour}" opacity="0.35"/>'
        f'<rect x="{100 * evaluation.success_rate - 0.8:.1f}" y="0.5" width="1.6" height="11" fill="{colour}"/></svg>'
    )


def count(evaluation: Evaluation | Pooled | None) -> dict[str, str] | None:
    """The count and its bar, for the macro `count` of tables.html; None where nothing was evaluated."""
    if evaluation is None:
        return None
    return {"text": str(evaluation), "bar": interval_bar(evaluation)}


def readable(stage_name: str) -> str:
    """A stage's name as words."""
    return stage_name.replace("_", " ")


def _stage_colour(k: int) -> str:
    return STAGE_COLOURS[k % len(STAGE_COLOURS)]


def series(rows: Rows, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Iterations and values of a key, from the rows that hold it; NaN where its value is null."""
    logged = [row for row in rows if key in row]
    iterations = np.array([row["iteration"] for row in logged], dtype=float)
    return iterations, np.array([np.nan if row[key] is None else row[key] for row in logged], dtype=float)


def new_figure(columns: int, *, height: float, rows: int = 1, width: float = 10.5) -> tuple[Figure, list[Axes]]:
    """A figure in the report's style and its axes, row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.set_axisbelow(True)
        axis.tick_params(length=0)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=8 if columns < 3 else 4, integer=True))
    return figure, list(axes)


def to_svg(figure: Figure) -> Markup:
    """The figure as an <svg> element without the XML header."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])  # matplotlib escapes the texts it draws
