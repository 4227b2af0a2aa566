"""Stage rewards elsewhere: LIBERO's own environment pays what ours pays, bit by bit where the physics are the same."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from tgrpo_envs.assets import find_pack
from tgrpo_envs.bridges.stage_rewards import StageRewardWrapper, pay_libero
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.expert.scripted import ScriptedExpert
from tgrpo_envs.rewards import parse_spec
from tgrpo_envs.scene.build import official_env
from tgrpo_envs.sim.snapshot import Snapshot, SnapshotLayout
from tgrpo_envs.tasks import get_task

SUITE, TASK = "libero_object", 0


@pytest.fixture(scope="module")
def official() -> Any:
    env = official_env(get_task(SUITE, TASK), find_pack("primitive").folder)
    env.seed(0)
    env.reset()
    yield env
    env.close()


@pytest.fixture
def ours() -> Any:
    env = gym.make("tgrpo_envs:TGRPO-LiberoObject-v0", task=TASK, assets="primitive", detail="off").unwrapped
    env.reset(seed=0, options={"init_states": "official", "init_state_ids": [0]})
    yield env
    env.close()


def expert_of(simulator: Any) -> ScriptedExpert:
    expert = ScriptedExpert(simulator.scene.layout, get_task(SUITE, TASK).goal, 1)
    expert.reset(simulator.snapshot, np.ones(1, dtype=bool))
    return expert


def test_the_same_physics_are_paid_the_same_to_the_last_bit(
    official: Any, ours: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LIBERO's environment is given our simulation's data to read; the expert plays a whole episode."""
    simulator = ours.episodes.simulator
    monkeypatch.setattr(official, "step", lambda action: (None, 0.0, False, {}))
    paid = pay_libero(official, SUITE, TASK, assets="primitive")
    monkeypatch.setattr(official.sim.data, "_data", simulator.datas[0])
    paid.start()
    expert, terminated, total = expert_of(simulator), False, 0.0
    for _ in range(get_task(SUITE, TASK).horizon):
        action_A = expert.act(simulator.snapshot)[0]
        _, reward, terminated, _, info = ours.step(action_A)
        _, their_reward, _, their_info = paid.step(action_A)
        assert their_reward == reward
        assert their_info["progress"] == info["progress"]
        assert np.array_equal(their_info["stages"], info["stages"])
        assert their_info["success"] == info["success"]
        total += their_reward
        if terminated:
            break
    assert terminated
    assert total == pytest.approx(1.0)


def test_liberos_own_physics_are_paid_as_ours(official: Any, ours: Any) -> None:
    """Both simulate the way to the soup by the same actions; rewards differ by what the physics do."""
    paid = pay_libero(official, SUITE, TASK, assets="primitive")
    paid.seed(0)  # LIBERO's own, through the wrapper
    paid.reset()
    paid.set_init_state(ours.episodes.fixed_states("official").states_NX[0])
    for _ in range(10):
        result = paid.step([0, 0, 0, 0, 0, 0, -1])
    assert len(result) == 4
    paid.start()
    expert, total = expert_of(ours.episodes.simulator), 0.0
    for _ in range(40):
        action_A = expert.act(ours.episodes.simulator.snapshot)[0]
        _, reward, _, _, info = ours.step(action_A)
        observation, their_reward, _, their_info = paid.step(action_A)
        assert their_reward == pytest.approx(reward, abs=1e-6)
        assert np.array_equal(their_info["stages"], info["stages"])
        total += their_reward
    assert total > 0.01
    assert their_info["own_reward"] == 0.0
    assert "robot0_eef_pos" in observation


def test_another_task_than_the_environments_is_said(official: Any) -> None:
    with pytest.raises(ConfigError, match="name its own task and assets"):
        pay_libero(official, "libero_10", 0, assets="primitive")


class Slider:
    """A whole environment in one number: the cube lies where the last action put it, and 0.2 m is the goal."""

    def __init__(self) -> None:
        self.layout = SnapshotLayout.of_objects(("cube_1",))
        self.place = 0.0

    def reset(self, *, seed: int | None = None) -> tuple[float, dict[str, Any]]:
        self.place = 0.0
        return self.place, {}

    def step(self, action: float) -> tuple[float, float, bool, bool, dict[str, Any]]:
        self.place = action
        return self.place, -1.0, False, False, {"mine": 3}

    def read(self, snapshot: Snapshot) -> np.ndarray:
        snapshot.object_pos_NO3[0, 0] = [0.0, 0.0, self.place]
        return np.array([self.place >= 0.2])


def test_any_environment_that_shows_itself_is_paid() -> None:
    """One stage whose ramp is a lift by 0.2 m, worth 0.9 of the way: half-way is progress 0.45, the goal is 1."""
    spec = parse_spec(
        json.dumps(
            {
                "schema": "stage-spec/1",
                "task": {"suite": "mine", "name": "slide"},
                "stages": [
                    {
                        "id": "lift",
                        "effort": 1,
                        "ramp": {"op": "raise", "a": "cube_1", "to_m": 0.2},
                        "done": {"op": "goal", "index": 0},
                        "latch": "live",
                    }
                ],
            }
        )
    )
    slider = Slider()
    env = StageRewardWrapper(slider, slider, spec, horizon=10)
    with pytest.raises(ConfigError, match="call reset"):
        env.step(0.0)
    assert env.reset(seed=1) == (0.0, {})
    _, reward, terminated, truncated, info = env.step(0.1)
    assert info["progress"] == pytest.approx(0.45)
    assert (terminated, truncated, info["mine"], info["own_reward"]) == (False, False, 3, -1.0)
    rewards = [reward, env.step(0.1)[1], env.step(0.2)[1]]
    assert rewards[0] > 0.0
    assert rewards[1] == 0.0  # increments, not levels
    assert sum(rewards) == pytest.approx(1.0)
    assert env.place == 0.2  # the environment's own
