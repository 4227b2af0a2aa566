"""Evaluation: exact counts on a known task, whoever plays which episode beside how many others."""

from __future__ import annotations

import os
import weakref
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.scripted_policy import StraightPolicy
from tests.helpers.toy_env import ToyReach
from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_envs.intervals import wilson_interval
from tgrpo_envs.vector import LiberoVectorEnv
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.evaluation.evaluate import ALONE, EpisodeSplit, Request, evaluate, evaluate_part
from tgrpo_trainer.evaluation.failures import write_failures
from tgrpo_trainer.evaluation.result import (
    Evaluation,
    EvaluationPart,
    Mode,
    load_evaluations,
    merge_evaluations,
    save_evaluations,
)
from tgrpo_trainer.evaluation.tasks import Plan, evaluate_tasks
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.rollout.environment import make_envs
from tgrpo_trainer.types import ActionSample, PolicyInput


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


class CountsPictures(StraightPolicy):
    """Never succeeds, and counts at each decision the pictures it was shown that are still in memory."""

    def __init__(self) -> None:
        super().__init__(speed=0.0)
        self._shown: list[weakref.ref[Tensor]] = []
        self.alive: list[int] = []

    def sample(self, obs: PolicyInput, **how: Any) -> ActionSample:
        self._shown.append(weakref.ref(obs.agentview_NHWC))
        self.alive.append(sum(one() is not None for one in self._shown))
        return super().sample(obs, **how)


def test_an_evaluation_forgets_pictures_on_the_way() -> None:
    policy = CountsPictures()
    evaluate_toy(policy, 4, range(8))
    assert len(policy.alive) == 2 * 12  # two batches of 24 control steps
    assert max(policy.alive) <= 2  # those of this decision, and of the one before until they are replaced


def test_drawn_fixtures_stand_where_they_stand_in_every_evaluation_and_on_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LIBERO-Goal 0 has a cabinet and a stove. One member or three, first mode or second, seed 0 or 1, played again."""
    stood: dict[int, list[bytes]] = defaultdict(list)
    reset = LiberoVectorEnv.reset

    def keep(envs: LiberoVectorEnv, *, seed: Any = None, options: Any = None) -> Any:
        result = reset(envs, seed=seed, options=options)
        for row, state in enumerate(options["init_state_ids"]):
            if "reset_mask" not in options or options["reset_mask"][row]:
                stood[int(state)].append(envs.episodes.simulator.init_states.fixtures_NF7[row].tobytes())
        return result

    monkeypatch.setattr(LiberoVectorEnv, "reset", keep)
    env = EnvConfig(
        suite="libero_goal", assets="primitive", fixture_poses="per_episode", image_size=16, action_chunk=2, horizon=2
    )
    for num_envs, seed in ((1, 0), (3, 1)):
        plan = Plan((env,), {"official": 4}, ("greedy", "sampled"), temperature=1.0, seed=seed, iteration=0)
        lend = lambda task, num_envs: closing(make_envs(task, num_envs))  # noqa: E731
        _, failures = evaluate_tasks(StraightPolicy(), plan, lend, num_envs=num_envs, num_failures=2)
    assert len(write_failures(tmp_path, failures, make_envs)) == 2
    assert len(stood[0]) >= 5 and {len(set(poses)) for poses in stood.values()} == {1}
    assert len({poses[0] for poses in stood.values()}) == 4  # drawn anew for every episode


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
    for damaged in ("[{}]", ""):
        path.write_text(damaged)
        with pytest.raises(CheckpointError, match=r"iteration_000000.*delete it: a run that is resumed plays those"):
            load_evaluations(path)


def test_results_are_on_the_disk_before_they_take_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut may leave an empty file with the name of the whole one."""
    path, flushed = tmp_path / "iteration_000000.json", list[bytes]()
    result = evaluate_toy(StraightPolicy(), 2, [0])

    def flush(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").read_bytes())
        assert not path.exists()

    monkeypatch.setattr(os, "fsync", flush)
    save_evaluations(path, [result])
    assert flushed == [path.read_bytes()]
