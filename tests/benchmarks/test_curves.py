"""The model of threads against schedules worked out by hand, and numbers that go out and come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.envs.curves import Curves, Options, load, main, makespan
from tgrpo_envs.errors import ConfigError


@pytest.mark.parametrize(
    ("seconds_N", "threads", "locked_s", "done_s"),
    [
        ([1.0, 1.0, 1.0], 1, 0.0, 3.0),
        ([1.0, 1.0, 1.0], 2, 0.0, 2.0),
        ([3.0, 1.0, 1.0], 2, 0.0, 3.0),  # the second thread takes both short ones
        ([1.0, 1.0, 3.0], 2, 0.0, 4.0),  # the long one comes last
        ([1.0] * 4, 8, 0.0, 1.0),
        ([1.0] * 2, 1, 0.5, 2.0),  # nobody to wait for
        # Begins of 0.25 s one after the other; both are at work until 0.75 and 1.0, and end behind each other.
        ([1.0] * 2, 2, 0.5, 1.25),
        ([1.0] * 4, 4, 0.5, 2.0),  # four times half a second under the lock: no thread more can help
        ([1.0] * 8, 8, 0.5, 4.0),
    ],
)
def test_a_schedule_by_hand(seconds_N: list[float], threads: int, locked_s: float, done_s: float) -> None:
    assert makespan(seconds_N, threads, locked_s) == pytest.approx(done_s)


def test_numbers_are_read_as_they_were_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers, picture = tmp_path / "curves.json", tmp_path / "curves.webp"
    main(Options(parts=(), out=numbers))
    assert load(numbers) == Curves()
    main(Options(numbers=numbers, plot=picture))
    assert picture.is_file() and (tmp_path / "curves_2.webp").is_file()
    numbers.write_text("{}")
    with pytest.raises(ConfigError, match="holds no numbers"):
        load(numbers)
