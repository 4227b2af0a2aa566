"""Draws what `benchmarks.envs.curves` measured: cost over members, picture size, tasks and threads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tgrpo_envs.figure import GRID, two_plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.envs.curves import Curves

_OURS, _FLOOR, _OTHER = "#1b6ca8", "#9aa5b1", "#c05621"
_COLOURS = ("#1b6ca8", "#6cb2e0", "#c05621", "#f0a56b")
_HEIGHT_IN = 3.4


def draw(curves: Curves, file: Path) -> None:
    """Two pictures: time at `file`, memory and threads beside it, with ``_2`` at the end of the name.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: A file cannot be written.
    """
    with two_plots(file, height_in=_HEIGHT_IN, width_ratios=(1.0, 1.0)) as (left, right):
        _lines(left, "A control step, no pictures", "members", "processor time a member, ms")
        _line(left, curves.step_ms, "ours", _OURS)
        _line(left, curves.floor_ms, "MuJoCo's 25 substeps", _FLOOR, linestyle="--")
        left.set_ylim(bottom=0)
        _lines(right, "Two pictures", "pixels a side", "processor time, ms")
        _line(right, curves.exact_ms, "exact (LIBERO's pixels)", _OTHER)
        _line(right, curves.fast_ms, "fast", _OURS)
        _logarithmic(right, base=2)
        for axis in (left, right):
            axis.legend(loc="best")
    second = file.with_name(f"{file.stem}_2{file.suffix}")
    with two_plots(second, height_in=_HEIGHT_IN, width_ratios=(1.0, 1.0)) as (left, right):
        _lines(left, "Memory", "members of one task, or tasks of one member", "MiB")
        for label, points, colour in (
            ("tasks, two pictures", curves.tasks_mib, _OTHER),
            ("members", curves.members_mib, _OURS),
        ):
            # The first of a process also finds memory that was freed before.
            _line(left, {x: y for x, y in points.items() if x > 1}, label, colour)
        _logarithmic(left, base=10)
        _lines(right, "Threads, modelled", "threads", "times one thread's speed")
        for (label, points), colour in zip(curves.speedup.items(), _COLOURS, strict=False):
            _line(right, points, label, colour)
        threads = {x: float(x) for points in curves.speedup.values() for x in points}
        _line(right, threads, "perfect", _FLOOR, linestyle="--")
        _logarithmic(right, base=2)
        for axis in (left, right):
            axis.legend(loc="best")


def _lines(axis: Axes, title: str, x: str, y: str) -> None:
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.grid(axis="y", color=GRID)


def _logarithmic(axis: Axes, *, base: int) -> None:
    axis.set_yscale("log", base=base)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("")


def _line(axis: Axes, points: dict[int, float], label: str, colour: str, *, linestyle: str = "-") -> None:
    axis.plot(
        list(points), list(points.values()), label=label, color=colour, linestyle=linestyle, marker="o", markersize=3
    )
