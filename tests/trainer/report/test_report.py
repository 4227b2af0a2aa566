"""The report of a run with known numbers says those numbers, plays its videos, and stands alone."""

from __future__ import annotations

import base64
import dataclasses
import re
from pathlib import Path
from typing import NoReturn

import imageio_ffmpeg
import numpy as np
import pytest

from tests.helpers.synthetic_run import COUNTS, STAGE_NAMES, make_record, write_synthetic_run
from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_envs.html.timeline import EMPTY, GREEN
from tgrpo_envs.intervals import wilson_interval
from tgrpo_envs.recording.video import encode
from tgrpo_trainer.evaluation.result import load_evaluations, save_evaluations
from tgrpo_trainer.objectives import with_kind
from tgrpo_trainer.recipes import quickstart
from tgrpo_trainer.report import write_report
from tgrpo_trainer.report.record import LastGroup
from tgrpo_trainer.report.tasks import latest_means
from tgrpo_trainer.report.write import WORKING, stage_rows
from tgrpo_trainer.run.layout import EARLIER_NAME, iteration_name
from tgrpo_trainer.types import EpisodeEnd


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("runs") / "quickstart"
    write_synthetic_run(folder)
    return write_report(folder).read_text(encoding="utf-8")


def test_success_before_and_after_is_given_as_counts_with_intervals(page: str) -> None:
    for iteration in (0, 20):
        for successes, trials in zip(COUNTS[iteration], (64, 64, 50, 50), strict=True):
            low, high = wilson_interval(successes, trials)
            assert f"{successes}/{trials} = {successes / trials:.0%} [{low:.0%}, {high:.0%}]" in page
    assert "61% → 88%" in page  # held-out, greedy: 39/64 to 56/64
    assert '<span class="up">+26.6</span>' in page
    assert '<span class="down">-8</span>' in page
    assert "sampled draws it at temperature 1." in page


def test_a_start_below_ten_percent_is_called_poor(page: str, tmp_path: Path) -> None:
    assert "The start is poor" not in page
    folder = tmp_path / "poor"
    write_synthetic_run(folder, (6, 7, 48, 40))  # 6/64 = 9.4 %, 7/64 = 10.9 %
    poor = write_report(folder).read_text(encoding="utf-8")
    assert "The start is poor: heldout, greedy: 6/64 = 9% [4%, 19%], below 10%." in poor
    assert f"--sft.num-demos, now {quickstart().sft.num_demos}" in poor


def test_the_page_stands_alone(page: str) -> None:
    references = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert references
    assert all(reference.startswith(("data:", "#")) for reference in references)


def test_stages_and_both_rollouts_are_shown(page: str) -> None:
    assert all(name in page for name in STAGE_NAMES)
    assert "Best rollout: return 1.60, success after 4.4 s" in page
    assert "Worst rollout: return 0.40, step limit after 6.4 s" in page
    assert page.count("<video") == 2


def test_videos_hold_the_frames(tmp_path: Path) -> None:
    frames_THWC = np.zeros((12, 16, 32, 3), dtype=np.uint8)
    frames_THWC[6:, :, 16:] = 255
    kind, _, data = encode(frames_THWC, fps=5.0).data_url.partition(",")
    assert kind == "data:video/mp4;base64"
    path = tmp_path / "video.mp4"
    path.write_bytes(base64.b64decode(data))
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    decoded = [np.frombuffer(frame, np.uint8).reshape(*meta["size"][::-1], 3) for frame in reader]
    assert meta["size"] == (512, 256)
    assert len(decoded) == 12
    assert decoded[0].mean() < 5
    assert decoded[11][:, 300:].mean() > 250
    assert decoded[11][:, :200].mean() < 5


@pytest.mark.parametrize("error", [RuntimeError("no ffmpeg exe"), OSError(12, "Cannot allocate memory")])
def test_without_ffmpeg_the_video_is_an_animated_picture(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object, **_kwargs: object) -> NoReturn:
        raise error

    monkeypatch.setattr(imageio_ffmpeg, "write_frames", fails)
    video = encode(np.zeros((2, 16, 32, 3), dtype=np.uint8), fps=5.0)
    assert video.data_url.startswith("data:image/webp;base64,")


def test_a_timeline_draws_one_bar_per_stretch() -> None:
    # Stage a is done at decision 1, lost at 2, done from 3 on; b is worked on while a holds, and done at 4.
    done_TK = np.array([[0, 0], [1, 0], [0, 0], [1, 0], [1, 1]], dtype=bool)
    record = make_record(5, (0, 0), EpisodeEnd.SUCCESS)
    record = dataclasses.replace(record, stages_TK=done_TK)
    bar = r'<rect x="(\d)" y="0" width="(\d)" height="100" fill="(.*?)"/>'
    a, b = [re.findall(bar, row.drawing) for row in stage_rows(record, ("a", "b"))]
    assert a == [("0", "1", WORKING), ("1", "1", GREEN), ("2", "1", WORKING), ("3", "2", GREEN)]
    assert b == [
        ("0", "1", EMPTY), ("1", "1", WORKING), ("2", "1", EMPTY), ("3", "1", WORKING), ("4", "1", GREEN)
    ]  # fmt: skip


def test_a_run_that_has_only_begun_has_a_report(tmp_path: Path) -> None:
    quickstart().save(tmp_path / "config.json")
    assert "No evaluation has finished yet" in write_report(tmp_path).read_text()


def test_settings_that_changed_on_the_way_are_shown_with_their_iteration(page: str, tmp_path: Path) -> None:
    assert "Settings changed on the way" not in page and "iterations of stage_return<" in page
    folder = tmp_path / "changed"
    write_synthetic_run(folder)
    config = quickstart()
    earlier = config.replace(objective=with_kind(config.objective, "tgrpo"))
    earlier.replace(run={**config.run.model_dump(), "device": "cpu"}).save(
        folder / EARLIER_NAME / f"{iteration_name(5)}.json"
    )
    changed = write_report(folder).read_text(encoding="utf-8")
    assert "<td>6</td><td>objective.kind</td><td>tgrpo</td><td>stage_return</td>" in changed
    assert "<td>6</td><td>objective.alpha_step</td><td>0.3</td><td>none</td>" in changed
    assert "iterations of tgrpo, then stage_return<" in changed and "run.device</td>" not in changed


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not the folder of a run"):
        write_report(tmp_path)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "last_group.npz").write_bytes(b"not a zip")
    with pytest.raises(CheckpointError, match="last_group"):
        LastGroup.load(tmp_path)


def test_a_run_of_several_tasks_shows_each_and_counts_all_together(tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    write_synthetic_run(folder)
    env = quickstart().env
    both = quickstart().replace(env={**env.model_dump(), "tasks": (4, 0)})
    both.save(folder / "config.json")
    for path in (folder / "evaluations").glob("*.json"):
        of_one = load_evaluations(path)
        other = [
            one.model_copy(update={"env": env.model_copy(update={"tasks": (0,)}), "instruction": "fetch the soup"})
            for one in of_one
        ]
        save_evaluations(path, [*of_one, *other])
    page = write_report(folder).read_text(encoding="utf-8")
    assert "112/128 = 87.5% [80.7%, 92.2%]" in page  # pooled
    assert page.count('61% → <span class="count">56/64 = 88% [77%, 94%]') == 2  # each
    assert "00: fetch the soup" in page and "04: pick up the alphabet soup" in page
    assert ">task 00<" in page and ">task 04<" in page  # titles of the small curves
    assert "libero_object 2 tasks (4, 0)" in page and "Last stage reached" not in page


def test_a_task_s_curve_is_the_mean_of_the_latest_iterations() -> None:
    iterations, values = np.arange(1.0, 13.0), np.arange(12.0)
    at, means = latest_means(iterations, values)
    assert at.tolist() == [10.0, 11.0, 12.0] and means.tolist() == [4.5, 5.5, 6.5]  # of 0 to 9, 1 to 10, 2 to 11
    assert [part.tolist() for part in latest_means(iterations[:2], values[:2])] == [[2.0], [0.5]]
    assert [part.size for part in latest_means(iterations[:0], values[:0])] == [0, 0]
