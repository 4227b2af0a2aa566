"""Several tasks in one batch: each member equals a single environment of its task, and facts are asked of members."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers.unwrapped import libero_envs
from tgrpo_envs.batch.multi_task import join_rows
from tgrpo_envs.bddl import read_problem
from tgrpo_envs.errors import ActionError, ConfigError, StateError, UnknownNameError
from tgrpo_envs.rewards import spec_from_goal
from tgrpo_envs.tasks import bddl_path, get_task
from tgrpo_envs.vector import LiberoVectorEnv

ENV_ID = "tgrpo_envs:TGRPO-LiberoObject-v0"
STATE_ONLY: dict[str, Any] = {"cameras": (), "assets": "primitive"}
TASKS: list[int | str] = [3, "pick_up_the_alphabet_soup_and_place_it_in_the_basket"]  # index 0


def make(num_envs: int, tasks: Sequence[int | str], **kwargs: Any) -> LiberoVectorEnv:
    return libero_envs(gym.make_vec(ENV_ID, num_envs=num_envs, tasks=tasks, **{**STATE_ONLY, **kwargs}))


def positions(envs: LiberoVectorEnv) -> NDArray[np.float64]:
    return np.concatenate([block.episodes.simulator.snapshot.object_pos_NO3 for block in envs.batch.blocks])


def test_each_member_equals_a_single_environment_of_its_task() -> None:
    envs = make(4, TASKS, horizon=3, autoreset_mode="SameStep", cameras=("wrist",), image_size=24)
    assert [task.index for task in envs.get_attr("task")] == [3, 3, 0, 0]
    actions_TNA = np.random.default_rng(0).uniform(-1, 1, (4, 4, 7)).astype(np.float32)
    first, _ = envs.reset(seed=20)
    assert first in envs.observation_space
    steps = [envs.step(actions) for actions in actions_TNA]
    for member, task in enumerate((3, 3, 0, 0)):
        env = gym.make(ENV_ID, task=task, horizon=3, **{**STATE_ONLY, "cameras": ("wrist",), "image_size": 24})
        seen, _ = env.reset(seed=20 + member)
        batch = first
        for t, (observations, rewards, _, truncated, infos) in enumerate(steps):
            assert all(np.array_equal(batch[key][member], seen[key]) for key in seen)
            batch = observations
            seen, reward, _, ended, info = env.step(actions_TNA[t, member])
            assert (rewards[member], truncated[member]) == (reward, ended)
            if ended:
                assert all(np.array_equal(infos["final_obs"][member][key], seen[key]) for key in seen)
                seen, _ = env.reset()
            else:
                assert infos["progress"][member] == info["progress"]
                assert np.array_equal(infos["stages"][member], info["stages"])
        assert np.array_equal(batch["wrist"][member], seen["wrist"])
        env.close()
    envs.close()


def test_members_say_what_they_pose_and_the_batch_refuses_to_speak_for_them() -> None:
    envs = make(3, [2, 1, 1])
    _, infos = envs.reset(seed=0)
    instructions = [get_task("libero_object", index).instruction for index in (2, 1, 1)]
    assert list(infos["instruction"]) == instructions == list(envs.call("task_description"))
    assert len(envs.batch.blocks) == 2  # neighbours of one task share a simulator
    assert envs.call("num_init_states", "official") == (50,) * 3
    assert envs.get_attr("horizon") == (280,) * 3 == envs.get_attr("_max_episode_steps")
    assert envs.get_attr("asset_pack") == ("primitive",) * 3
    *_, infos = envs.step(np.zeros((3, 7), np.float32))
    assert infos["stages"].shape[1] == max(len(names) for names in envs.get_attr("stage_names"))
    with pytest.raises(ConfigError, match="get_attr"):
        _ = envs.task_description
    envs.close()


def test_unequal_rows_are_padded_at_their_end_with_false() -> None:
    stages = join_rows([np.array([[True, True], [False, True]]), np.array([[True, False, True, True]])])
    assert stages.dtype == bool
    assert stages.tolist() == [[True, True, False, False], [False, True, False, False], [True, False, True, True]]
    assert join_rows([np.array([1, 2]), np.array([3])]).tolist() == [1, 2, 3]


def test_groups_masks_and_frozen_members_work_across_tasks() -> None:
    envs = make(4, [0, 1], autoreset_mode="Disabled", horizon=2)
    envs.reset(seed=0, options={"group_size": 2})
    blocks = envs.batch.blocks
    for block in blocks:
        poses = block.episodes.simulator.snapshot.object_pos_NO3
        assert np.array_equal(poses[0], poses[1])
    actions = np.zeros((4, 7), np.float32)
    envs.step(actions)
    envs.reset(options={"reset_mask": np.array([False, True, False, False])})
    *_, truncated, infos = envs.step(actions)
    assert truncated.tolist() == [True, False, True, True] and infos["control_steps"].tolist() == [2, 1, 2, 2]
    actions[[0, 2, 3]] = np.nan  # frozen members may be sent anything
    *_, truncated, infos = envs.step(actions)
    assert truncated.all() and infos["control_steps"].tolist() == [2, 2, 2, 2]
    with pytest.raises(ConfigError, match="members of every task"):
        envs.reset(options={"group_size": 4})
    envs.close()


def test_a_bad_action_or_state_is_named_by_its_member_and_changes_nothing() -> None:
    envs = make(2, [0, 1])
    envs.reset(seed=0)
    before = positions(envs)
    with pytest.raises(ActionError, match="environment 1"):
        envs.step(np.array([[0.5] * 7, [np.inf] * 7]))
    with pytest.raises(StateError, match="heldout"):
        envs.reset(options={"init_states": "heldout", "init_state_ids": np.array([0, 10**6])})
    assert np.array_equal(before, positions(envs))
    envs.close()


@pytest.mark.parametrize(
    ("num_envs", "tasks", "kwargs", "error", "hint"),
    [
        (3, [0, 1], {}, ConfigError, "multiple"),
        (1, [0, 1], {}, ConfigError, "multiple"),
        (2, [], {}, ConfigError, "multiple"),
        (2, [0, 10], {}, UnknownNameError, "task .10."),
        (2, [0, 1], {"task": 0}, ConfigError, "one of them"),
    ],
)
def test_members_that_cannot_be_divided_are_refused(
    num_envs: int, tasks: Sequence[int | str], kwargs: dict[str, Any], error: type[Exception], hint: str
) -> None:
    with pytest.raises(error, match=hint):
        make(num_envs, tasks, **kwargs)


def test_a_reward_file_is_for_one_task(tmp_path: Path) -> None:
    task, path = get_task("libero_object", 0), tmp_path / "stages.json"
    path.write_text(
        json.dumps(spec_from_goal(read_problem(bddl_path(task)), task).model_dump(mode="json", by_alias=True))
    )
    with pytest.raises(ConfigError, match="one task"):
        make(2, [0, 1], reward=path)
    make(2, [0, 0], reward=path).close()


def test_attributes_of_members_can_be_set_unless_they_are_facts() -> None:
    envs = make(2, [0, 1])
    envs.set_attr("weight", [1.0, 2.0])
    assert envs.get_attr("weight") == (1.0, 2.0)
    envs.set_attr("weight", 3.0)
    assert envs.get_attr("weight") == (3.0, 3.0)
    starts = []
    for seeds in ((5, 6), (5, 6), (5, 7)):
        envs.set_attr("np_random", [np.random.default_rng(seed) for seed in seeds])
        envs.reset()
        starts.append(positions(envs))
    assert np.array_equal(starts[0], starts[1]) and np.array_equal(starts[0][0], starts[2][0])
    assert not np.array_equal(starts[0][1], starts[2][1])
    with pytest.raises(ConfigError, match="3 values"):
        envs.set_attr("weight", [1, 2, 3])
    with pytest.raises(AttributeError):
        envs.set_attr("horizon", 5)
    with pytest.raises(AttributeError):
        envs.get_attr("no_such_thing")
    envs.close()


def test_a_member_that_was_never_reset_is_named_before_anything_moves() -> None:
    envs = make(2, [0, 1])
    with pytest.raises(ConfigError, match="never reset"):
        envs.step(np.zeros((2, 7), np.float32))
    envs.close()
