"""The record of the last group and its replay: the right rollouts, from their own state, with their own actions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers.scripted_policy import StraightPolicy
from tests.helpers.toy_env import ToyReach
from tests.helpers.toy_run import make_toy_envs
from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.report.last_group_videos import find_video, write_videos
from tgrpo_trainer.report.record import RECORD_NAME, LastGroup, find_last_group
from tgrpo_trainer.rollout.rollout import Group, Sampling, collect_groups
from tgrpo_trainer.run.rng import Stream, make_generators

ENV = EnvConfig(action_chunk=2, horizon=24)
SEEDS = [11, 12, 13, 21, 22, 23, 31, 32, 33]


@pytest.fixture
def groups() -> tuple[Group, ...]:
    policy = StraightPolicy(speed=0.45, noise=0.6)
    groups, _ = collect_groups(
        policy,
        ToyReach(9),
        Sampling(generators=make_generators(0, Stream.ACTIONS, count=9)),
        seeds=SEEDS,
        num_generations=3,
        end="each",
    )
    return groups


def save_and_load(groups: tuple[Group, ...], folder: Path) -> LastGroup:
    found = find_last_group(groups, SEEDS[::3], iteration=3, action_chunk=2)
    assert found is not None
    found.save(folder)
    loaded = LastGroup.load(folder)
    assert loaded is not None
    return loaded


def test_best_and_worst_come_from_the_group_of_widest_spread(groups: tuple[Group, ...], tmp_path: Path) -> None:
    record = save_and_load(groups, tmp_path)
    returns = np.array([[member.trajectory.total_reward for member in group] for group in groups])
    widest = np.ptp(returns, axis=1).argmax()
    assert np.ptp(returns, axis=1).max() > np.ptp(returns, axis=1).min()
    assert record.best.total_reward == returns[widest].max()
    assert record.worst.total_reward == returns[widest].min()
    assert record.state_seed == SEEDS[3 * widest]
    assert record.seconds_per_decision == 0.1


def test_a_replay_shows_every_control_step_of_the_rollout_and_no_more(
    groups: tuple[Group, ...], tmp_path: Path
) -> None:
    record = save_and_load(groups, tmp_path)
    assert record.best.end == "success"
    assert record.best.control_steps % 2 == 1  # it ended inside a chunk, whose second action never ran
    write_videos(tmp_path, record, ENV, make_toy_envs)
    for which, rollout in (("best", record.best), ("worst", record.worst)):
        assert find_video(tmp_path, 3, which) is not None
        path = tmp_path / "videos" / f"iteration_000003_{which}.mp4"
        assert sum(1 for _ in imageio_ffmpeg.read_frames(str(path))) - 1 == rollout.control_steps + 1
    assert find_video(tmp_path, 4, "best") is None


def test_a_replay_that_ends_otherwise_is_not_shown(groups: tuple[Group, ...], tmp_path: Path) -> None:
    record = save_and_load(groups, tmp_path)
    elsewhere = dataclasses.replace(record, best=dataclasses.replace(record.best, end="horizon"))
    write_videos(tmp_path, elsewhere, ENV, make_toy_envs)
    assert find_video(tmp_path, 3, "best") is None
    assert find_video(tmp_path, 3, "worst") is not None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("best_frames_THWC", lambda array: array / 255),
        ("best_frames_THWC", lambda array: array[..., :1]),
        ("worst_frames_THWC", lambda array: array[1:]),
        ("best_rewards_T", lambda array: array * np.nan),
        ("worst_end", lambda _: np.array("asleep")),
    ],
)
def test_a_record_that_cannot_be_shown_is_refused(
    groups: tuple[Group, ...], tmp_path: Path, name: str, change: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    save_and_load(groups, tmp_path)
    with np.load(tmp_path / RECORD_NAME) as file:
        arrays = dict(file)
    np.savez(tmp_path / RECORD_NAME, **{**arrays, name: change(arrays[name])})
    with pytest.raises(CheckpointError, match="cannot be read"):
        LastGroup.load(tmp_path)
