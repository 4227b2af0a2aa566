"""Says which rows of a benchmark moved beyond noise: pairs of runs in turn, medians of their ratios, intervals.

    python -m benchmarks.compare A1.json B1.json A2.json B2.json ...

A is the code before a change, B after it, run in turn so that both meet the same moods of the machine.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tgrpo_envs.command import run_command
from tgrpo_envs.errors import AssetError
from tgrpo_envs.files import read_json
from tgrpo_envs.sim.snapshot import FloatArray

CONFIDENCE = 0.95  # of an interval for a median


@dataclass(frozen=True)
class Comparison:
    """One row of the benchmark, after / before.

    Attributes:
        what: What was measured, with its unit.
        median: Of the pairs' ratios.
        low: Where its interval begins, free of assumptions about the noise.
        high: Where it ends.
        verdict: ``up`` or ``down`` where the interval leaves out 1, else empty.
    """

    what: str
    median: float
    low: float
    high: float
    verdict: str


def compare_runs(files: Sequence[Path]) -> list[Comparison]:
    """Compare runs that were made in turn: before, after, before, after, ...

    Args:
        files: What `bench --out` wrote. Rows that a file lacks, or has as zero, are left out.

    Raises:
        AssetError: An odd number of files, none, or one that holds no numbers.
    """
    if not files or len(files) % 2:
        raise AssetError(f"{len(files)} files are no pairs: give before and after in turn, A1 B1 A2 B2 ...")
    runs = [_read(file) for file in files]
    shared = [what for what in runs[0] if all(run.get(what, 0.0) > 0 for run in runs)]
    return [
        _judge(
            what, np.array([after[what] / before[what] for before, after in zip(runs[::2], runs[1::2], strict=True)])
        )
        for what in shared
    ]


def interval_rank(count: int) -> int | None:
    """How many of the smallest and of the largest of `count` values lie outside a median's interval.

    The median of what they are drawn from lies beyond the k-th smallest with the chance that fewer than k of `count`
    fair coins show heads. None where even all values are too few for `CONFIDENCE`: five and fewer.
    """
    tail, rank = 0.0, None
    for k in range(count // 2):
        tail += math.comb(count, k) / 2**count
        if 2 * tail > 1 - CONFIDENCE:
            break
        rank = k
    return rank


def _read(file: Path) -> dict[str, float]:
    try:
        rows = read_json(file)["measurements"]
        return {f"{row['what']} ({row['unit']})": float(row["value"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AssetError(f"{file} holds no numbers of `bench --out` ({error}); write them first.") from error


def _judge(what: str, ratios_P: FloatArray) -> Comparison:
    ratios_P = np.sort(ratios_P)
    rank = interval_rank(len(ratios_P))
    low, high = float(ratios_P[rank or 0]), float(ratios_P[-1 - (rank or 0)])
    verdict = "" if rank is None or low <= 1.0 <= high else ("up" if low > 1.0 else "down")
    return Comparison(what, float(np.median(ratios_P)), low, high, verdict)


def report(rows: Sequence[Comparison], num_pairs: int) -> str:
    """A table, the rows that moved first."""
    width = max((len(row.what) for row in rows), default=0)
    note = "" if interval_rank(num_pairs) is not None else "; too few to judge, the intervals are all there is (take 6)"
    lines = [f"after / before: median and interval of {num_pairs} pairs{note}"]
    lines += [
        f"{row.what:<{width}}  {row.median:6.3f}  {row.low:6.3f} to {row.high:6.3f}  {row.verdict}".rstrip()
        for row in sorted(rows, key=lambda row: not row.verdict)
    ]
    return "\n".join(lines)


def main() -> int:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="what bench --out wrote: before, after, before, after, ...")
    files = parser.parse_args().files
    return run_command(lambda: report(compare_runs(files), len(files) // 2))


if __name__ == "__main__":
    sys.exit(main())
