"""Infos as TorchRL's reader takes them; with TorchRL itself where it is installed."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from tgrpo_envs.bridges.torchrl import for_torchrl
from tgrpo_envs.errors import ConfigError

ID = "tgrpo_envs:TGRPO-LiberoObject-v0"
SETTINGS: dict[str, Any] = {"assets": "primitive", "observe": "state", "horizon": 4}


def test_infos_are_numbers_with_the_same_keys_and_kinds_at_reset_and_step() -> None:
    for env in (gym.make(ID, **SETTINGS), gym.make_vec(ID, 2, autoreset_mode="Disabled", **SETTINGS)):
        view = for_torchrl(env)
        _, first = view.reset(seed=0)
        *_, later = view.step(view.action_space.sample())
        kinds = [{key: (value.dtype, value.shape) for key, value in infos.items()} for infos in (first, later)]
        assert kinds[0] == kinds[1]
        assert all(dtype.kind in "bif" for dtype, _ in kinds[0].values())
        assert {"success", "progress", "stages"} <= kinds[0].keys()
        assert "instruction" not in kinds[0]
        view.close()


def test_arrays_that_are_overwritten_are_refused() -> None:
    envs = gym.make_vec(ID, 2, copy=False, **SETTINGS)
    with pytest.raises(ConfigError, match="use copy=True"):
        for_torchrl(envs)
    envs.close()


def test_last_observations_are_gymnasiums_by_their_keys() -> None:
    """Two environments of one seed, one seen through the view: what ends in it is what `final_obs` has in the other."""
    plain, other = (gym.make_vec(ID, 2, autoreset_mode="SameStep", **SETTINGS) for _ in range(2))
    view = for_torchrl(other)
    assert isinstance(plain.single_observation_space, gym.spaces.Dict)
    plain.reset(seed=0)
    view.reset(seed=0)
    for _ in range(4):
        actions = np.full((2, 7), 0.5, np.float32)
        infos, numbers = plain.step(actions)[-1], view.step(actions)[-1]
    for key, rows in numbers["final_info"].items():
        if key in plain.single_observation_space.spaces:
            assert np.array_equal(rows, np.stack([infos["final_obs"][row][key] for row in range(2)])), key
    assert {"proprio", "state", "success"} <= numbers["final_info"].keys()
    assert not numbers.keys() & {"final_obs", "instruction", "_instruction"}
    plain.close()
    view.close()


@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_torchrl_reads_every_info_and_the_last_observation(mode: str) -> None:
    envs = pytest.importorskip("torchrl.envs")
    utils = pytest.importorskip("torchrl.envs.utils")
    env = envs.GymWrapper(for_torchrl(gym.make_vec(ID, 2, autoreset_mode=mode, **SETTINGS)))
    if mode == "Disabled":  # in SameStep its reader of last observations takes all infos
        env.auto_register_info_dict()
    utils.check_env_specs(env)
    data = env.rollout(9, break_when_any_done=False)
    assert data["next", "truncated"].sum() == 4  # both members, after four and eight steps
    steps = data["next", "control_steps"][0].tolist()
    assert np.ravel(steps).tolist() == [1, 2, 3, 4, 1, 2, 3, 4, 1]
    ended = data["next", "proprio"][0, 3]
    assert not (ended == data["proprio"][0, 4]).all()  # the last observation, then the new episode's first
    assert ended.abs().sum() > 0
    env.close()


def test_torchrl_reads_every_info_of_one_environment() -> None:
    envs = pytest.importorskip("torchrl.envs")
    utils = pytest.importorskip("torchrl.envs.utils")
    env = envs.GymWrapper(for_torchrl(gym.make(ID, **SETTINGS)))
    env.auto_register_info_dict()
    utils.check_env_specs(env)
    assert {"success", "progress", "stages"} <= set(env.rollout(3)["next"].keys())
    env.close()
