"""Nothing is drawn that nobody sees: a member once a decision, a group's first picture once, frozen members never."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tgrpo_envs.batch.task_batch import TaskBatch
from tgrpo_envs.settings import EnvSettings
from tgrpo_envs.sim.raster.rasterizer import Rasterizer

N, CHUNK, HORIZON = 4, 3, 5
ALL = np.ones(N, dtype=bool)


@pytest.fixture
def batch() -> Iterator[TaskBatch]:
    settings = EnvSettings(
        suite="libero_object", task=0, assets="primitive", image_size=32, horizon=HORIZON, action_chunk=CHUNK
    )
    batch = TaskBatch(settings, N)
    yield batch
    batch.close()


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Addresses of the data that were drawn, one a drawing of all cameras."""
    drawn: list[int] = []
    draw = Rasterizer.draw

    def counted(self: Rasterizer, model: object, data: object, images: object) -> None:
        drawn.append(id(data))
        draw(self, model, data, images)  # type: ignore[arg-type]

    monkeypatch.setattr(Rasterizer, "draw", counted)
    return drawn


def test_a_group_shares_its_first_picture(batch: TaskBatch, drawings: list[int]) -> None:
    states = batch.fixed_states("official")
    batch.reset(states.take(np.array([0, 0, 1, 0])), ALL)
    assert len(drawings) == 2
    shared = batch.observations["agentview"].copy()
    assert np.array_equal(shared, batch.frames())
    assert np.array_equal(shared[0], shared[3])
    assert not np.array_equal(shared[0], shared[2])


def test_each_member_is_drawn_once_a_decision_and_a_frozen_one_never(batch: TaskBatch, drawings: list[int]) -> None:
    batch.reset(batch.fixed_states("official").take(np.arange(N)), ALL)
    drawings.clear()
    actions_NCA = np.random.default_rng(0).uniform(-1, 1, (N, CHUNK, 7))
    live_N = np.array([True, True, False, True])
    before = batch.observations["agentview"].copy()
    batch.step(actions_NCA, live_N)
    data = batch.simulator.datas
    assert sorted(drawings) == sorted(id(data[row]) for row in (0, 1, 3))
    after = batch.observations["agentview"].copy()
    assert np.array_equal(after[2], before[2])
    assert np.array_equal(after[[0, 1, 3]], batch.frames()[[0, 1, 3]])


def test_a_member_that_ends_inside_a_chunk_is_drawn_once_as_it_ended(batch: TaskBatch, drawings: list[int]) -> None:
    batch.reset(batch.fixed_states("official").take(np.arange(N)), ALL)
    actions_NCA = np.random.default_rng(0).uniform(-1, 1, (N, CHUNK, 7))
    batch.step(actions_NCA, np.array([True, True, False, False]))
    drawings.clear()
    result = batch.step(actions_NCA, ALL)  # two have two control steps left of five, two have all
    assert result.truncated_N.tolist() == [True, True, False, False]
    assert sorted(drawings) == sorted(map(id, batch.simulator.datas))
    assert np.array_equal(batch.observations["agentview"], batch.frames())
