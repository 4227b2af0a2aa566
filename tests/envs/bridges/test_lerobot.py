"""What LeRobot's evaluation meets, without LeRobot: LIBERO's readings, states in order, episodes that stay ended."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from tests.helpers.unwrapped import libero_envs
from tgrpo_envs.assets import find_pack
from tgrpo_envs.bridges.lerobot import IMAGES, ROBOT_STATE, make_vec
from tgrpo_envs.bridges.libero import turned
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.expert.scripted import ScriptedExpert
from tgrpo_envs.parity.side_by_side import Pair
from tgrpo_envs.scene import official_states
from tgrpo_envs.scene.build import official_env
from tgrpo_envs.tasks import get_task

SIZE = 64
NEW_ROLLOUT = {"lerobot_new_rollout": True}  # lerobot.envs.utils.NEW_ROLLOUT_OPTION
SETTINGS: dict[str, Any] = {"assets": "primitive", "image_size": SIZE, "init_states": "official"}


def test_observations_are_those_of_liberos_own_environment() -> None:
    """What LeRobot's `LiberoEnv._format_raw_obs` takes from LIBERO's sensors, in one state and after equal actions."""
    official = official_env(get_task("libero_object", 0), find_pack("primitive").folder)
    envs = make_vec("libero_object", 1, **SETTINGS)
    observation, _ = envs.reset(options=NEW_ROLLOUT)
    episodes = libero_envs(envs).episodes
    pair = Pair(episodes.scene, episodes.simulator, official)
    pair.reset_official(official_states(pair.scene).take(np.array([0])), settle=True)
    rng = np.random.default_rng(0)
    for _ in range(10):
        assert observation in envs.observation_space
        state, read = observation["robot_state"], sensors(official)
        assert len(read) == sum(len(boxes) for boxes in ROBOT_STATE.values())
        for (part, name), value in read.items():
            np.testing.assert_allclose(state[part][name][0], value, rtol=0, atol=1e-6, err_msg=f"{part}/{name}")
        action_A = rng.uniform(-1, 1, 7)
        official.step(action_A)
        observation, *_ = envs.step(action_A[None])
    envs.close()
    official.close()


def sensors(official: Any) -> dict[tuple[str, str], np.ndarray]:
    """What LIBERO's sensors read now; what its `step` returns may be a substep older."""
    from robosuite.utils.transform_utils import convert_quat

    robot, data = official.env.robots[0], official.env.sim.data
    fingers, arm = robot._ref_gripper_joint_pos_indexes, robot._ref_joint_pos_indexes
    return {
        ("eef", "pos"): data.site_xpos[robot.eef_site_id],
        ("eef", "quat"): convert_quat(data.get_body_xquat(robot.robot_model.eef_name), to="xyzw"),
        ("eef", "mat"): data.site_xmat[robot.eef_site_id].reshape(3, 3),
        ("gripper", "qpos"): data.qpos[fingers],
        ("gripper", "qvel"): data.qvel[robot._ref_gripper_joint_vel_indexes],
        ("joints", "pos"): data.qpos[arm],
        ("joints", "vel"): data.qvel[robot._ref_joint_vel_indexes],
    }


def test_pictures_are_upside_down_as_libero_draws_them() -> None:
    """tests/envs/bridges/test_libero.py holds `turned` against LIBERO's own pictures; that is this, turned."""
    envs = make_vec("libero_object", 1, detail="fast", **SETTINGS)
    observation, _ = envs.reset(options=NEW_ROLLOUT)
    for name, camera in IMAGES.items():
        upright = libero_envs(envs).batch.observations[camera]
        assert np.array_equal(observation["pixels"][name][:, ::-1, ::-1], turned(upright))
        assert np.ptp(upright) > 0
    envs.close()


def test_rollouts_play_the_official_states_in_their_order() -> None:
    envs = make_vec("libero_object", 2, detail="fast", **SETTINGS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # LeRobot's own option is nothing to warn of
        rollouts = [envs.reset(seed=[5, 6], options=NEW_ROLLOUT)[0] for _ in range(2)]
    began = libero_envs(envs).episodes.simulator.init_states.states_NX
    assert np.array_equal(began, libero_envs(envs).episodes.fixed_states("official").states_NX[2:4])
    assert not np.array_equal(rollouts[0]["robot_state"]["joints"]["pos"], rollouts[1]["robot_state"]["joints"]["pos"])
    envs.reset(options={"init_state_ids": [7, 49]})
    began = libero_envs(envs).episodes.simulator.init_states.states_NX
    assert np.array_equal(began, libero_envs(envs).episodes.fixed_states("official").states_NX[[7, 49]])
    envs.close()


def test_ended_episodes_stay_as_they_are_until_the_next_rollout() -> None:
    envs = make_vec("libero_object", 2, detail="fast", horizon=3, render_mode="rgb_array", **SETTINGS)
    assert envs.call("_max_episode_steps") == (3, 3)
    assert envs.get_attr("task_description") == ("pick up the alphabet soup and place it in the basket",) * 2
    envs.reset(seed=[0, 1], options=NEW_ROLLOUT)
    ends = []
    for _ in range(5):
        observation, _, _, truncated, infos = envs.step(np.ones((2, 7), np.float32))
        ends.append(truncated.tolist())
        assert infos["is_success"].tolist() == [False, False]
        assert "final_info" not in infos  # LeRobot then reads is_success
    assert ends == [[False] * 2] * 2 + [[True] * 2] * 3
    last = envs.step(np.ones((2, 7), np.float32))[0]
    assert np.array_equal(observation["robot_state"]["joints"]["pos"], last["robot_state"]["joints"]["pos"])
    assert np.stack(envs.call("render")).shape == (2, SIZE, SIZE, 3)
    envs.close()


def test_a_success_is_told_in_its_step_and_stays_told() -> None:
    """LeRobot counts an episode as solved where `is_success` holds at any step up to its end."""
    envs = make_vec("libero_object", 2, detail="fast", **SETTINGS)
    envs.reset(options=NEW_ROLLOUT)
    simulator, both = libero_envs(envs).episodes.simulator, np.ones(2, dtype=bool)
    expert = ScriptedExpert(simulator.scene.layout, get_task("libero_object", 0).goal, 2)
    expert.reset(simulator.snapshot, both)
    ended_N, paid_N = ~both, np.zeros(2)
    for _ in range(envs.call("_max_episode_steps")[0]):
        actions_N7 = expert.act(simulator.snapshot)
        actions_N7[1] = 0.0  # the second stands still
        _, rewards_N, terminated_N, _, infos = envs.step(actions_N7)
        assert infos["is_success"].tolist() == terminated_N.tolist()
        assert not rewards_N[ended_N].any()  # nothing more is paid after the end
        ended_N, paid_N = ended_N | terminated_N, paid_N + rewards_N
    assert ended_N.tolist() == [True, False]
    assert paid_N[0] == pytest.approx(1.0)
    envs.close()


def test_what_lerobot_has_no_place_for_is_said() -> None:
    with pytest.raises(UnknownNameError, match="libero_objekt"):
        make_vec("libero_objekt", 1)
    with pytest.raises(ConfigError, match="give task"):
        make_vec("libero_object", 2, tasks=[0, 1])
