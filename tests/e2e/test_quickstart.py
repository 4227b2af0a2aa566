"""The main job, `python -m tgrpo_trainer`, on the real environment with the smoke recipe: every part of it once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tgrpo_trainer.evaluation.result import load_evaluations
from tgrpo_trainer.metrics.metrics import read_metrics

ROOT = Path(__file__).resolve().parents[2]

Finished = tuple[Path, subprocess.CompletedProcess[str]]
"""The run's folder, and the process that did it."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("quickstart")
    finished = subprocess.run(
        [sys.executable, "-m", "tgrpo_trainer", "--recipe", "smoke"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return folder / "runs" / "smoke", finished


def test_it_ends_with_the_report_and_says_where_it_is(run: Finished) -> None:
    folder, finished = run
    assert finished.stdout.strip().endswith("Report: runs/smoke/report.html")
    page = (folder / "report.html").read_text(encoding="utf-8")
    for evaluation in load_evaluations(folder / "evaluations" / "iteration_000001.json"):
        assert str(evaluation) in page
    assert page.count("<video") == 2
    assert "pick up the alphabet soup and place it in the basket" in page


def test_it_shows_progress_with_success_and_time_left(run: Finished) -> None:
    _, finished = run
    for phase in ("Cloning", "Evaluating", "Training"):
        assert f"{phase:<12}" in finished.stderr
    last = finished.stderr.replace("\r", "\n").split("Training")[-1]
    assert "1/1" in last
    assert "success=" in last
    assert "left=" in last


def test_videos_are_replays_of_what_was_recorded(run: Finished) -> None:
    folder, _ = run
    assert {path.name for path in (folder / "videos").iterdir()} == {
        "iteration_000001_best.mp4",
        "iteration_000001_worst.mp4",
    }


def test_rollouts_are_logged_with_the_task_s_own_stages(run: Finished) -> None:
    folder, _ = run
    rows = read_metrics(folder)
    assert [row["iteration"] for row in rows] == [0, 1, 1]
    assert rows[1]["rollout/decisions"] == 4  # 32 control steps in chunks of 8
    assert any(key.startswith("stage/") for key in rows[1])
