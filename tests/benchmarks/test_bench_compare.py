"""Which rows of a benchmark moved, on numbers whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.compare import compare_runs, interval_rank, report
from tgrpo_envs.errors import AssetError


def write(folder: Path, name: str, **values: float) -> Path:
    rows = [{"what": what, "unit": "ms", "value": value} for what, value in values.items()]
    file = folder / name
    file.write_text(json.dumps({"measurements": rows}))
    return file


def pairs(folder: Path, count: int) -> list[Path]:
    """`halved` is halved in each pair while the machine slows down; `noisy` goes either way."""
    files = []
    for i in range(count):
        files.append(write(folder, f"a{i}.json", halved=10.0 + i, noisy=1.0, gone=1.0))
        files.append(write(folder, f"b{i}.json", halved=(10.0 + i) / 2, noisy=1.2 if i % 2 else 0.8))
    return files


def test_a_row_that_halved_is_told_from_one_that_is_noisy(tmp_path: Path) -> None:
    halved, noisy = compare_runs(pairs(tmp_path, 6))
    assert (halved.what, halved.median, halved.low, halved.high, halved.verdict) == (
        "halved (ms)",
        0.5,
        0.5,
        0.5,
        "down",
    )
    assert (noisy.median, noisy.verdict) == (1.0, "")
    assert (noisy.low, noisy.high) == (0.8, 1.2)


def test_few_pairs_are_no_verdict(tmp_path: Path) -> None:
    rows = compare_runs(pairs(tmp_path, 5))
    assert [row.verdict for row in rows] == ["", ""]
    assert "too few" in report(rows, 5)
    assert "too few" not in report(compare_runs(pairs(tmp_path, 6)), 6)


@pytest.mark.parametrize(("count", "rank"), [(1, None), (5, None), (6, 0), (8, 0), (9, 1), (12, 2), (20, 5)])
def test_intervals_of_medians(count: int, rank: int | None) -> None:
    """Ranks of the sign test at 5 % from its tables (critical values of Dixon and Mood 1946)."""
    assert interval_rank(count) == rank


def test_what_is_no_pair_or_no_numbers_is_refused(tmp_path: Path) -> None:
    files = pairs(tmp_path, 1)
    with pytest.raises(AssetError, match="A1 B1"):
        compare_runs(files[:1])
    files[1].write_text("{}")
    with pytest.raises(AssetError, match=r"b0\.json holds no numbers"):
        compare_runs(files)
