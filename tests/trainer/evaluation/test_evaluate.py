"""Evaluation: exact counts on a known task, whoever plays which episode beside how many others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.scripted_policy import StraightPolicy
from tests.helpers.toy_env import ToyReach
from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_envs.intervals import wilson_interval
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.evaluation.evaluate import ALONE, EpisodeSplit, Request, evaluate, evaluate_part
from tgrpo_trainer.evaluation.result import (
    Evaluation,
    EvaluationPart,
    Mode,
    load_evaluations,
    merge_evaluations,
    save_evaluations,
)
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy


def evaluate_toy(
    policy: Policy, num_envs: int, ids: Sequence[int], mode: Mode = "greedy", shard: EpisodeSplit = ALONE, **toy: Any
) -> Evaluation:
    envs = ToyReach(num_envs=num_envs, **toy)
    return evaluate(policy, envs, env=EnvConfig(), states="heldout", state_ids=ids, mode=mode, shard=shard)


def decisive_nano() -> NanoPolicy:
    """A random policy hardly moves: make it decisive, so that episodes differ."""
    torch.manual_seed(7)
    policy = NanoPolicy(NanoConfig(image_size=16, action_chunk=2))
    with torch.no_grad():
        policy.head.weight.mul_(30)
    return policy


def test_every_state_is_counted_once_with_length_return_and_stages() -> None:
    told: list[int] = []
    result = evaluate(
        StraightPolicy(),
        ToyReach(num_envs=4),
        env=EnvConfig(),
        states="official",
        state_ids=range(10),
        mode="greedy",
        on_progress=told.append,
    )
    assert (result.num_successes, result.num_episodes) == (10, 10)
    assert result.interval == wilson_interval(10, 10)
    assert [one.state for one in result.episodes] == list(range(10))
    assert {(one.control_steps, one.total_reward, one.num_stages) for one in result.episodes} == {(7, 1.0, 2)}
    assert result.stage_histogram() == [0, 0, 10]
    assert told == [4, 8, 10]
    assert str(result) == "10/10 = 100% [72%, 100%]"


def test_greedy_results_do_not_depend_on_the_number_of_environments() -> None:
    policy = decisive_nano()
    few, many = (evaluate_toy(policy, num_envs, range(24), horizon=40) for num_envs in (3, 16))
    assert few.episodes == many.episodes
    assert {one.total_reward for one in few.episodes} == {0.0, 0.5, 1.0}


def test_members_beyond_a_short_last_batch_stay_frozen() -> None:
    envs = ToyReach(num_envs=4)
    evaluate(StraightPolicy(), envs, env=EnvConfig(), states="official", state_ids=range(10), mode="greedy")
    assert envs.live_counts == [4] * 4 + [4] * 4 + [2] * 4  # 7 control steps, two a decision


def test_a_diverged_simulation_is_no_success_and_visible() -> None:
    result = evaluate_toy(StraightPolicy(), 2, [0, 1], diverge_at={1: 1})
    assert [one.end for one in result.episodes] == ["success", "diverged"]
    assert result.num_successes == 1
    assert result.stage_histogram() == [1, 0, 1]


def test_sampled_evaluations_repeat_with_their_seed() -> None:
    first, second = (evaluate_toy(StraightPolicy(speed=0.3, noise=1.0), 4, range(8), "sampled") for _ in range(2))
    assert first == second


def test_sampled_results_do_not_depend_on_the_number_of_environments() -> None:
    policy = StraightPolicy(speed=0.5, noise=0.5)
    few, many = (evaluate_toy(policy, num_envs, [*range(12), *[5] * 7], "sampled") for num_envs in (3, 16))
    assert few.episodes == many.episodes
    again = [one for one in few.episodes if one.state == 5]
    assert len({one.control_steps for one in again}) > 1  # a state given again is another trial


IDS = [*range(0, 30, 3), 9, 9, 27]  # 13 episodes: no multiple of the numbers of ranks


@pytest.mark.parametrize("mode", ["greedy", "sampled"])
@pytest.mark.parametrize("size", [1, 2, 3, 15])
def test_parts_of_any_number_of_ranks_merge_to_the_whole(mode: Mode, size: int) -> None:
    policy = decisive_nano()
    whole = evaluate_toy(policy, 4, IDS, mode, horizon=40)
    parts: list[EvaluationPart] = []

    def keep(part: EvaluationPart) -> list[EvaluationPart]:
        parts.append(part)
        return [part] if size == 1 else parts

    for rank in reversed(range(size)):  # the last rank finishes first; with 15 ranks two have nothing to play
        share = EpisodeSplit(rank, size, keep)
        if rank == 0:
            merged = evaluate_toy(policy, 1 + size % 4, IDS, mode, share, horizon=40)
        else:
            with pytest.raises(ConfigError, match="was played 0 times"):
                evaluate_toy(policy, 1 + size % 4, IDS, mode, share, horizon=40)
    assert merged == whole
    assert sum(len(part.episodes) for part in parts) == len(IDS)
    assert len({one.total_reward for one in whole.episodes}) > 1


def part_of(positions: Sequence[int], seed: int = 0) -> EvaluationPart:
    envs = ToyReach(num_envs=2)
    facts: Request = {"env": EnvConfig(), "states": "heldout", "state_ids": [0, 1, 2], "mode": "greedy", "seed": seed}
    return evaluate_part(StraightPolicy(), envs, **facts, positions=positions)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (list, "at least one"),
        (lambda: [part_of([0, 1]), part_of([1, 2])], "Episode 1 of 3 was played 2 times"),
        (lambda: [part_of([0]), part_of([2])], "Episode 1 of 3 was played 0 times"),
        (lambda: [part_of([0, 1]), part_of([2], seed=1)], "differ in seed"),
    ],
)
def test_parts_that_are_not_one_evaluation_are_refused(parts: Callable[[], list[EvaluationPart]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        merge_evaluations(parts())


def test_every_counted_episode_is_shown_once_with_its_state() -> None:
    seen: list[tuple[int, int]] = []
    envs = ToyReach(num_envs=4)  # batches of 4 and 3: the repeat that fills the second is not shown
    evaluate(
        StraightPolicy(),
        envs,
        env=EnvConfig(),
        states="heldout",
        state_ids=[7, 1, 1, 0, 9, 2, 3],
        mode="greedy",
        on_episode=lambda state, member: seen.append((state, member.trajectory.control_steps)),
    )
    assert seen == [(state, 7) for state in (7, 1, 1, 0, 9, 2, 3)]


@pytest.mark.parametrize("ids", [[], [40], [-1]])
def test_states_outside_the_set_are_refused(ids: list[int]) -> None:
    with pytest.raises(ConfigError, match="rows 0 to 39"):
        evaluate_toy(StraightPolicy(), 2, ids)


def test_results_come_back_from_disk(tmp_path: Path) -> None:
    result = evaluate_toy(StraightPolicy(), 2, [0, 1, 2])
    path = tmp_path / "evaluations" / "iteration_000000.json"
    save_evaluations(path, [result])
    assert load_evaluations(path) == (result,)
    path.write_text("[{}]")
    with pytest.raises(CheckpointError, match="iteration_000000"):
        load_evaluations(path)
