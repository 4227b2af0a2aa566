"""Several tasks in one run: whose turn it is, members of several environments in one row, and how many stay open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypedDict

import pytest
import torch
from torch import Tensor

from tests.helpers.scripted_policy import StraightPolicy
from tests.helpers.toy_env import ToyReach
from tests.helpers.toy_run import make_toy_envs
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.rollout.environment import Members
from tgrpo_trainer.rollout.rollout import EndRule, Sampling, collect_groups, trainable_groups
from tgrpo_trainer.rollout.tasks import TaskEnvs, draw_tasks, task_key

TWO = EnvConfig(tasks=(0, 1), image_size=16, action_chunk=2, horizon=24)


def drawn(num_tasks: int, num_groups: int, iterations: int, seed: int = 0) -> list[list[int]]:
    return [draw_tasks(num_tasks, num_groups, seed=seed, iteration=i) for i in range(iterations)]


def test_every_task_has_its_turn_before_any_has_a_second() -> None:
    iterations = drawn(num_tasks=5, num_groups=2, iterations=50)
    assert all(tasks == sorted(tasks) for tasks in iterations)
    rounds = [[task for tasks in iterations[start : start + 5] for task in tasks] for start in range(0, 50, 5)]
    assert all(Counter(each) == dict.fromkeys(range(5), 2) for each in rounds)  # five iterations are two rounds
    assert len({tuple(map(tuple, iterations[start : start + 5])) for start in range(0, 50, 5)}) == 10  # shuffled anew
    assert iterations != drawn(5, 2, 50, seed=1)


def test_a_run_of_as_many_groups_as_tasks_plays_each_once_an_iteration_and_of_twice_as_many_each_twice() -> None:
    assert drawn(3, 3, iterations=4) == [[0, 1, 2]] * 4
    assert drawn(3, 6, iterations=2) == [[0, 0, 1, 1, 2, 2]] * 2


class Opened(ToyReach):
    """Counts itself while its scene is open, as LIBERO's environment from its first reset to its end."""

    now: list[Opened] = []  # noqa: RUF012

    def reset(self, **options: Any) -> Any:
        if self not in self.now:
            self.now.append(self)
        return super().reset(**options)

    def close_extras(self, **options: Any) -> None:
        if self in self.now:
            self.now.remove(self)


def make_opened(config: EnvConfig, num_envs: int) -> Opened:
    return Opened(num_envs, task=config.task, action_chunk=2, horizon=24)


def start(envs: TaskEnvs, tasks: list[int]) -> Members:
    members = envs.for_groups(tasks)
    members.reset(seed=list(range(members.num_envs)), options={"init_states": "train", "group_size": 2})
    return members


def test_scenes_are_opened_when_first_needed_and_the_longest_unused_is_closed() -> None:
    Opened.now.clear()
    config = EnvConfig(tasks=("all",), max_open_tasks=3)
    envs = TaskEnvs(config, num_envs=4, group_size=2, make_envs=make_opened)
    assert len(envs.tasks) == 10 and Opened.now == []
    start(envs, [0, 1])
    start(envs, [0, 2])
    first = list(Opened.now)
    start(envs, [3, 4])  # 1 was unused for longest, then 0
    assert len(Opened.now) == 3 and first[2] in Opened.now
    kept = Opened.now[0]
    start(envs, [2, 2])  # twice as many members as before: another environment
    assert len(Opened.now) == 3 and kept not in Opened.now
    with envs.lend(envs.tasks[9], 5) as lent:
        lent.reset(options={"init_states": "heldout", "init_state_ids": torch.arange(5).numpy()})
        assert len(Opened.now) == 4
    assert len(Opened.now) == 3
    start(TaskEnvs(config, num_envs=8, group_size=2, make_envs=make_opened), [0, 1, 2, 3])  # those played stay open
    assert len(Opened.now) == 3 + 4
    envs.close()
    assert len(Opened.now) == 4


def test_a_run_of_one_task_has_one_environment_for_all_it_does() -> None:
    envs = TaskEnvs(EnvConfig(), num_envs=4, group_size=2, make_envs=make_opened)
    with envs.lend(envs.tasks[0], 1) as lent:
        assert lent is envs.for_groups([0, 0]) and lent.num_envs == 4


class Collecting(TypedDict):
    num_generations: int
    end: EndRule


class Listening(StraightPolicy):
    def encode_instructions(self, texts: Sequence[str]) -> Tensor:
        self.told = list(texts)
        return super().encode_instructions(texts)


def test_members_of_several_tasks_play_as_each_task_alone_and_carry_what_they_were_to_do() -> None:
    seeds = list(range(8))
    envs = TaskEnvs(TWO, num_envs=8, group_size=2, make_envs=make_toy_envs)
    chosen = [0, 0, 0, 1]
    options: Collecting = {"num_generations": 2, "end": "any_success"}
    policy = Listening()
    together, _ = collect_groups(policy, envs.for_groups(chosen), Sampling(), seeds=seeds, **options)
    for b, (task, group) in enumerate(zip(chosen, together, strict=True)):
        alone = make_toy_envs(envs.tasks[task], 2)
        (expected,), _ = collect_groups(StraightPolicy(), alone, Sampling(), seeds=seeds[2 * b : 2 * b + 2], **options)
        for mine, other in zip(group, expected, strict=True):
            assert torch.equal(mine.trajectory.rewards_T, other.trajectory.rewards_T)
            assert torch.equal(mine.stages_TK, other.stages_TK)
            assert torch.equal(mine.trajectory.observations.proprio_NP, other.trajectory.observations.proprio_NP)
            assert (mine.task, mine.trajectory.end) == (other.task, other.trajectory.end)
    first, last = together[0][0], together[3][0]
    assert (first.task.instruction, first.stages_TK.shape[1]) == ("reach the middle", 2)
    assert (last.task.stage_names, last.task.horizon) == (("seen", "near", "reached"), 24)
    assert policy.told == ["reach the middle"] * 6 + ["reach the right side of the field"] * 2
    assert [group.task for group in trainable_groups(together)][2:] == [
        "reach the middle",
        "reach the right side of the field",
    ]


def test_tasks_are_named_by_index_or_name_each_once_in_their_order() -> None:
    name = "pick_up_the_ketchup_and_place_it_in_the_basket"
    env = EnvConfig(tasks=(4, 0, name, 0))
    assert [(one.task, task_key(one)) for one in env.of_each_task()] == [(4, "task_04"), (0, "task_00")]
    assert [one.task for one in EnvConfig(tasks=("all",)).of_each_task()] == list(range(10))
    whole = EnvConfig(suite="libero_90", tasks="all")  # type: ignore[arg-type] # as the command line gives it
    assert len(whole.of_each_task()) == 90
    with pytest.raises(UnknownNameError, match="Unknown libero_object task '10'"):
        EnvConfig(tasks=(0, 10)).of_each_task()
    with pytest.raises(ConfigError, match=r"mine\.json holds the stages of one task"):
        EnvConfig(tasks=(0, 1), reward="mine.json").of_each_task()
    with pytest.raises(ConfigError, match="libero_object tasks 0, 1 are several"):
        EnvConfig(tasks=(0, 1)).task  # noqa: B018
