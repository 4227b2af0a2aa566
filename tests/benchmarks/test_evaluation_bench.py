"""The benchmark of evaluation plays what it says it does; its speeds are read, never asserted."""

from __future__ import annotations

import pytest

from benchmarks.envs import evaluation
from tgrpo_envs.tasks import get_task

SMALL = evaluation.Options(
    suite="libero_goal",
    episodes=3,
    official_episodes=1,
    assets="primitive",
    detail="fast",
    image_size=16,
    replan_steps=50,
    num_envs=2,
)


def test_ours_plays_every_episode_to_its_horizon() -> None:
    assert evaluation.ours_s(SMALL, [get_task("libero_goal", 0)]) > 0.0


@pytest.mark.slow
def test_liberos_own_plays_an_episode() -> None:
    assert evaluation.official_s(SMALL, get_task("libero_goal", 0)) > 0.0
