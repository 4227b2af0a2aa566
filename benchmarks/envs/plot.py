"""Draws what the benchmark measured: where a control step's time goes, and how throughput grows with environments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tgrpo_envs.errors import AssetError
from tgrpo_envs.figure import GRID, INK, two_plots
from tgrpo_envs.files import read_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS: Final = {
    "MuJoCo's 25 substeps": "#1b6ca8",
    "controller, forward passes, bookkeeping": "#6cb2e0",
    "two 128 px pictures": "#f0a56b",
}
_PACK_COLOURS: Final = ("#1b6ca8", "#c05621", "#3a9d5d", "#6d2f78")
_SCALE: Final = re.compile(r"control steps per second, N = (\d+), (\d+) threads?")


@dataclass(frozen=True)
class BenchNumbers:
    """What one run of the benchmark wrote.

    Attributes:
        assets: Asset pack.
        values: Measurement to number, in the unit the report gives.
    """

    assets: str
    values: dict[str, float]

    @classmethod
    def load(cls, file: Path) -> BenchNumbers:
        """Read a file that `bench --out` wrote.

        Raises:
            AssetError: It is no such file.
        """
        try:
            found = read_json(file)
            return cls(found["assets"], {row["what"]: float(row["value"]) for row in found["measurements"]})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AssetError(f"{file} holds no numbers of `bench --out` ({error}); write them first.") from error

    def bars(self) -> dict[str, tuple[float, ...]]:
        """Milliseconds of each of `PARTS` in a control step with pictures: ours, and LIBERO's where it was measured.

        The substeps are the same physics in both, so the floor that was measured beside ours stands for both.
        """
        floor = self.values["its floor, mj_step(nstep=25)"]
        totals = {"ours": ("control step, state only", "step and 2 pictures, 128 px")}
        if "LIBERO: control step, state only" in self.values:
            totals["LIBERO"] = ("LIBERO: control step, state only", "LIBERO: control step, 2 pictures, 128 px")
        bars: dict[str, tuple[float, ...]] = {}
        for who, (alone, drawn) in totals.items():
            step, both = self.values[alone], self.values[drawn]
            bars[f"{who}, {self.assets} assets"] = (floor, max(step - floor, 0.0), max(both - step, 0.0))
        return bars

    def scaling(self) -> dict[int, list[tuple[int, float]]]:
        """Threads to (environments, control steps per second), without pictures."""
        curves: dict[int, list[tuple[int, float]]] = {}
        for what, value in self.values.items():
            if match := _SCALE.fullmatch(what):
                curves.setdefault(int(match[2]), []).append((int(match[1]), value))
        return curves


def draw_bench(numbers: Sequence[Path], file: Path) -> str:
    """Draw runs of the benchmark, one for each asset pack, into one picture.

    Args:
        numbers: Files that `bench --out` wrote.
        file: Where to write it; the ending chooses the format.

    Returns:
        Where it is.

    Raises:
        AssetError: A file holds no numbers, or none is given.
        MissingExtraError: matplotlib is not installed.
    """
    if not numbers:
        raise AssetError("A plot needs numbers: give the files that `bench --out` wrote, with --numbers.")
    runs = [BenchNumbers.load(path) for path in numbers]
    with two_plots(file, height_in=3.6, width_ratios=(1.7, 1.0)) as (left, right):
        _draw_bars(left, runs)
        _draw_scaling(right, runs)
    return f"drawn: {file}"


def _draw_bars(axis: Axes, runs: Sequence[BenchNumbers]) -> None:
    bars = {name: parts for run in runs for name, parts in run.bars().items()}
    for row, parts in enumerate(bars.values()):
        start = 0.0
        for (part, colour), width in zip(PARTS.items(), parts, strict=True):
            axis.barh(row, width, left=start, color=colour, label=part if row == 0 else None)
            start += width
        axis.annotate(f"{start:.1f} ms", (start, row), (4, 0), textcoords="offset points", va="center", color=INK)
    axis.set_yticks(range(len(bars)), labels=list(bars))
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.set_xlabel("milliseconds")
    axis.set_title("One control step with two pictures", loc="left", fontsize=10)
    axis.legend(loc="best")


def _draw_scaling(axis: Axes, runs: Sequence[BenchNumbers]) -> None:
    for run, colour in zip(runs, _PACK_COLOURS, strict=False):
        for threads, points in sorted(run.scaling().items()):
            style: dict[str, Any] = {"linestyle": "-" if threads > 1 else ":", "marker": "o", "markersize": 3}
            label = f"{run.assets}, {threads} thread{'s' * (threads > 1)}"
            axis.plot(*zip(*sorted(points), strict=True), color=colour, label=label, **style)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_ylim(bottom=0)
    axis.grid(axis="y", color=GRID)
    axis.set_xlabel("environments")
    axis.set_title("Control steps per second, no pictures", loc="left", fontsize=10)
    axis.legend(loc="best")
