"""Draws a comparison: groups with a usable spread, and how well each task's two specs order failures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tgrpo_envs.figure import GRID, INK, two_plots
from tgrpo_envs.reward_tools.compare.judge import REWARDS, Judgement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS: Final = ("#1b6ca8", "#c05621", "#3a9d5d", "#6d2f78", "#8a8d91")
_BARS: Final = {"sparse": "#b9c0c8", "compiled": "#6cb2e0", "llm": "#f0a56b"}


def draw(judgements: Sequence[Judgement], file: Path) -> None:
    """Draw a comparison into a picture whose ending chooses the format.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with two_plots(file, height_in=4.2, width_ratios=(1.1, 1.0)) as (left, right):
        _draw_usable(left, judgements)
        _draw_orders(right, judgements)


def _suites(judgements: Sequence[Judgement]) -> dict[str, list[Judgement]]:
    found: dict[str, list[Judgement]] = {}
    for one in judgements:
        found.setdefault(one.suite, []).append(one)
    return found


def _draw_usable(axis: Axes, judgements: Sequence[Judgement]) -> None:
    suites, width = _suites(judgements), 0.8 / len(REWARDS)
    for at, reward in enumerate(REWARDS):
        shares = [
            100.0 * sum(one.rankings[reward].usable for one in tasks) / sum(one.groups for one in tasks)
            for tasks in suites.values()
        ]
        places = [row + (at - 1) * width for row in range(len(suites))]
        bars = axis.bar(places, shares, width * 0.92, color=_BARS[reward], label=reward)
        axis.bar_label(bars, fmt="%.0f", fontsize=7, color=INK)
    labels = [f"{suite.removeprefix('libero_')}\n{len(tasks)} tasks" for suite, tasks in suites.items()]
    axis.set_xticks(range(len(suites)), labels=labels)
    axis.set_ylim(0, 112)
    axis.set_title("Groups of eight whose returns differ, per cent", loc="left", fontsize=10)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=len(REWARDS))


def _draw_orders(axis: Axes, judgements: Sequence[Judgement]) -> None:
    low = 0.5
    for (suite, tasks), colour in zip(_suites(judgements).items(), _COLOURS, strict=False):
        points = [(one.rankings["compiled"].order_failures, one.rankings["llm"].order_failures) for one in tasks]
        known = [point for point in points if not any(map(math.isnan, point))]
        if known:
            label = suite.removeprefix("libero_")
            x, y = zip(*known, strict=True)
            axis.scatter(x, y, s=22, alpha=0.75, color=colour, linewidths=0, label=label)
            low = min(low, *map(min, known))
    ends = (low - 0.02, 1.01)
    axis.plot(ends, ends, color=INK, linewidth=0.8, zorder=0)
    axis.set_xlim(*ends)
    axis.set_ylim(*ends)
    axis.set_aspect("equal")
    axis.grid(color=GRID)
    axis.set_xlabel("compiled")
    axis.set_ylabel("language model")
    axis.set_title("Order of failures, Harrell's C, a dot a task", loc="left", fontsize=10)
    axis.legend(loc="upper left")
