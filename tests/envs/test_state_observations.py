"""State observations: every named part against the simulator, the last step in every autoreset mode, several tasks."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

from tests.helpers.unwrapped import libero_env, libero_envs
from tgrpo_envs import settings
from tgrpo_envs.env import LiberoEnv
from tgrpo_envs.errors import ConfigError, UnknownNameError

ID = "tgrpo_envs:TGRPO-LiberoObject-v0"
GOAL = "tgrpo_envs:TGRPO-LiberoGoal-v0"
SETTINGS: dict[str, Any] = {"observe": "state", "assets": "primitive", "init_states": "official"}
SOUP = "alphabet_soup_1"


def parts(env: LiberoEnv, state: np.ndarray) -> dict[str, np.ndarray]:
    return {name: state[..., place] for name, place in env.state_layout.items()}


def actions(count: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1.0, 1.0, (count, width, 7)).astype(np.float32)


def test_every_part_is_what_the_simulator_knows() -> None:
    env = libero_env(gym.make(ID, **SETTINGS))
    env.reset(seed=0, options={"init_state_ids": [3]})
    for action in actions(5, 1)[:, 0]:
        observation, *_, info = env.step(action)
    assert set(observation) == {"proprio", "state"}
    assert isinstance(env.observation_space, gym.spaces.Dict)
    found = parts(env, observation["state"])
    assert sum(part.size for part in found.values()) == observation["state"].size
    assert env.observation_space["state"].shape == (observation["state"].size,)
    snapshot, (data,) = env.episodes.simulator.snapshot, env.episodes.simulator.datas
    layout = env.episodes.scene.layout
    row, basket = layout.object_row(SOUP), layout.site_row("basket_1_contain_region")
    gripper, soup, goal = snapshot.gripper_pos_N3[0], snapshot.object_pos_NO3[0, row], snapshot.site_pos_NS3[0, basket]
    free = env.episodes.scene.model.body_dofadr[
        next(entry.body for entry in env.episodes.scene.record.objects if entry.name == SOUP)
    ]
    mat = snapshot.object_mat_NO33[0, row]
    expected = {
        "task": np.eye(10)[0],
        "gripper/pos": gripper,
        "gripper/columns": snapshot.gripper_mat_N33[0].T[:2].ravel(),
        "gripper/fingers": snapshot.finger_qpos_N2[0],
        "gripper/finger_velocity": data.qvel[7:9],
        "gripper/command": observation["proprio"][11:],
        "arm/joints": data.qpos[:7],
        "arm/joint_velocity": data.qvel[:7],
        f"{SOUP}/pos": soup,
        f"{SOUP}/columns": [*mat[:, 0], *mat[:, 1]],
        f"{SOUP}/from_gripper": soup - gripper,
        f"{SOUP}/touched": [snapshot.touch_NO[0, row]],
        f"{SOUP}/between_pads": snapshot.pad_contact_NO2[0, row],
        f"{SOUP}/velocity": data.qvel[free : free + 3],
        f"{SOUP}/spin": data.qvel[free + 3 : free + 6],
        "basket_1_contain_region/pos": goal,
        "basket_1_contain_region/from_gripper": goal - gripper,
        "goal_0/to": goal - soup,
        "goal_0/holds": [0.0],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-7, err_msg=name)
    assert [found[f"stage/{name}"].item() for name in env.stage_names] == info["stages"].tolist()
    env.close()


def test_a_fixtures_joints_are_there_and_the_way_to_what_moves() -> None:
    env = libero_env(gym.make(GOAL, task=0, **SETTINGS))  # open the middle drawer
    observation, _ = env.reset(seed=0)
    found = parts(env, observation["state"])
    (conjunct,) = env.episodes.scene.goal
    snapshot, layout = env.episodes.simulator.snapshot, env.episodes.scene.layout
    joint = layout.joints[conjunct.joints[0]]
    assert found[f"{joint}/position"].item() == pytest.approx(snapshot.joint_qpos_NJ[0, conjunct.joints[0]], abs=1e-6)
    way = snapshot.site_pos_NS3[0, layout.joint_sites_J[conjunct.joints[0]]] - snapshot.gripper_pos_N3[0]
    np.testing.assert_allclose(found["goal_0/to"], way, atol=1e-6)
    env.close()


def test_gymnasium_is_content_and_opengl_stays_closed() -> None:
    env = gym.make(ID, **SETTINGS)
    check_env(env.unwrapped, skip_render_check=True)
    assert libero_env(env).settings.cameras == ()
    both = gym.make(ID, **SETTINGS | {"observe": "state+pictures"}, image_size=16)
    assert isinstance(both.observation_space, gym.spaces.Dict)
    assert set(both.observation_space) == {"agentview", "wrist", "proprio", "state"}


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_the_last_state_of_an_episode_is_its_own(mode: str) -> None:
    """Beside a single environment, which says what the last step shows."""
    single = gym.make(ID, horizon=3, **SETTINGS)
    envs = gym.make_vec(ID, num_envs=2, horizon=3, autoreset_mode=mode, **SETTINGS)
    envs.reset(seed=0, options={"init_state_ids": [1, 2]})
    single.reset(seed=0, options={"init_state_ids": [2]})
    for action_NA in actions(3, 2):
        observations, _, _, truncated_N, infos = envs.step(action_NA)
        expected, *_ = single.step(action_NA[1])
    assert truncated_N.all()
    last = infos["final_obs"][1] if mode == "SameStep" else {key: rows[1] for key, rows in observations.items()}
    assert np.array_equal(last["state"], expected["state"])
    if mode == "SameStep":
        assert not np.array_equal(observations["state"][1], expected["state"])
    last_state_ND = observations["state"]
    for action_NA in actions(3, 2, seed=1):  # also where all have ended and nobody is stepped
        observations, *_ = envs.step(action_NA)
        assert np.array_equal(observations["state"], last_state_ND) == (mode == "Disabled")
    envs.close()
    single.close()


@pytest.mark.parametrize("mode", ["NextStep", "Disabled"])
def test_one_task_goes_on_while_all_members_of_another_have_ended(mode: str) -> None:
    envs = libero_envs(gym.make_vec(GOAL, num_envs=2, tasks=[0, 8], autoreset_mode=mode, **SETTINGS))
    observations, _ = envs.reset(seed=0)
    envs.batch.blocks[0].episodes.control_steps_N[:] = envs.get_attr("horizon")[0] - 1
    for action_NA in actions(2, 2):
        before_ND = observations["state"]
        observations, *_ = envs.step(action_NA)
    assert np.array_equal(observations["state"][0], before_ND[0]) == (mode == "Disabled")
    assert not np.array_equal(observations["state"][1], before_ND[1])
    envs.close()


def test_several_tasks_share_a_width_and_know_their_own_names() -> None:
    envs = libero_envs(gym.make_vec(GOAL, num_envs=2, tasks=[0, 8], **SETTINGS))
    observations, _ = envs.reset(seed=0)
    layouts = envs.get_attr("state_layout")
    sizes = [max(place.stop for place in layout.values()) for layout in layouts]
    assert observations["state"].shape == (2, max(sizes))
    for row, (task, layout, size) in enumerate(zip((0, 8), layouts, sizes, strict=True)):
        single = gym.make(GOAL, task=task, **SETTINGS)
        expected, _ = single.reset(seed=row)
        assert np.array_equal(observations["state"][row, :size], expected["state"])
        assert not observations["state"][row, size:].any()
        assert observations["state"][row, layout["task"]].argmax() == task
        single.close()
    envs.close()


def test_a_copy_goes_on_with_the_same_states() -> None:
    env = libero_env(gym.make(ID, **SETTINGS))
    env.reset(seed=0)
    env.step(actions(1, 1)[0, 0])
    other = copy.deepcopy(env)
    assert np.array_equal(env.step(actions(1, 1, 1)[0, 0])[0]["state"], other.step(actions(1, 1, 1)[0, 0])[0]["state"])
    assert other.state_layout == env.state_layout


def test_no_camera_and_no_state_is_warned_of_unless_it_is_asked_for() -> None:
    settings._warn_once.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # as after any library that changes the filters
        gym.make(ID, cameras=(), assets="primitive").close()
        gym.make_vec(ID, 2, cameras=(), assets="primitive").close()
    (said,) = [str(each.message) for each in caught if "cameras=()" in str(each.message)]
    assert 'observe="state" observes them too' in said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gym.make(ID, detail="off", assets="primitive")
        gym.make(ID, **SETTINGS)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(UnknownNameError, match="observe"):
        gym.make(ID, observe="states")
    with pytest.raises(ConfigError, match='observe="state"'):
        libero_env(gym.make(ID, assets="primitive")).state_layout  # noqa: B018
    with pytest.raises(ConfigError, match="needs a camera"):
        gym.make(ID, depth=True, **SETTINGS)
