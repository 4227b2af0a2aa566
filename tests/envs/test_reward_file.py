"""A spec file pays only for its own task and without lint errors, unless the user insists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from tests.helpers.unwrapped import libero_env
from tgrpo_envs.errors import SpecError
from tgrpo_envs.rewards.shipped import spec_path
from tgrpo_envs.tasks import get_task
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.rollout.environment import make_envs

ID = "tgrpo_envs:TGRPO-LiberoGoal-v0"
OWN, SIBLING = (spec_path(get_task("libero_goal", index), "llm") for index in (8, 1))  # bowl on the plate, on the stove


def made(reward: Path, **more: Any) -> gym.Env[Any, Any]:
    return gym.make(ID, task=8, reward=str(reward), cameras=(), assets="primitive", **more)


def changed(path: Path, **fields: Any) -> Path:
    path.write_text(json.dumps(json.loads(OWN.read_text()) | fields))
    return path


def wave(name: str) -> list[dict[str, Any]]:
    done = {"op": "near", "a": "gripper", "b": name, "within_m": 0.05}
    return [
        {"id": "wave", "effort": 5, "ramp": {"op": "approach", "a": "gripper", "b": name, "to_m": 0.05}, "done": done}
    ]


def test_a_spec_of_the_task_pays() -> None:
    env = made(OWN)
    env.reset(seed=0)
    assert libero_env(env).stage_names == tuple(stage["id"] for stage in json.loads(OWN.read_text())["stages"])
    env.close()


def test_what_the_linter_forbids_is_refused_when_the_environment_is_made(tmp_path: Path) -> None:
    reach = json.loads(OWN.read_text())["stages"][:1]
    for path, finding in [
        (SIBLING, r"E13 task\.name"),
        (changed(tmp_path / "reach.json", stages=reach), "E06"),
        (changed(tmp_path / "bottle.json", stages=wave("wine_bottle_1")), "E06"),
        (changed(tmp_path / "nothing.json", stages=wave("nothing_1")), "E02.*nothing_1"),
    ]:
        with pytest.raises(SpecError, match=rf"(?s){path.name} cannot pay.*unchecked_reward=True.*{finding}"):
            made(path)
        with pytest.raises(SpecError, match="cannot pay"):
            gym.make_vec(ID, num_envs=2, task=8, reward=path, cameras=(), assets="primitive")
    (tmp_path / "cut.json").write_text('{"schema": "stage')
    for insist in (False, True):
        with pytest.raises(SpecError, match="not a valid stage spec"):
            made(tmp_path / "cut.json", unchecked_reward=insist)


def test_a_user_may_insist(tmp_path: Path) -> None:
    path = changed(tmp_path / "bottle.json", stages=wave("wine_bottle_1"))
    env = made(path, unchecked_reward=True)
    env.reset(seed=0)
    assert libero_env(env).stage_names == ("wave",)
    env.close()


def test_the_trainer_refuses_the_same_files(tmp_path: Path) -> None:
    config = EnvConfig(suite="libero_goal", tasks=(8,), assets="primitive", reward=str(SIBLING))
    with pytest.raises(SpecError, match="E13"):
        make_envs(config, 2)
    insisting = make_envs(config.model_copy(update={"unchecked_reward": True}), 2)
    insisting.close()
