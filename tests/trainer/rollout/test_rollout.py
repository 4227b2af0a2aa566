"""Rollouts on a task whose answers are known: who runs when, what is recorded, where groups are cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.made_up import tiny_nano
from tests.helpers.scripted_policy import SpeedByMember, StraightPolicy
from tests.helpers.toy_env import ToyReach
from tgrpo_envs.errors import TrainingError
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.rollout.rollout import (
    RolloutResult,
    Sampling,
    collect_groups,
    control_steps_run,
    play,
    trainable_groups,
)
from tgrpo_trainer.run.rng import Stream, make_generators
from tgrpo_trainer.types import EpisodeEnd

GREEDY = Sampling(greedy=True)
# A straight walk from distance 0.8 enters the goal radius 0.15 after ceil(0.65 / 0.1) = 7 control steps at full speed:
# 4 decisions of 2 control steps, the last of which runs only its first.
STEPS_TO_GOAL = math.ceil((0.8 - 0.15) / 0.1 - 1e-9)


def play_heldout(
    envs: ToyReach, policy: Policy, ids: Sequence[int], sampling: Sampling = GREEDY, **kwargs: Any
) -> RolloutResult:
    observation, _ = envs.reset(options={"init_states": "heldout", "init_state_ids": np.array(ids)})
    return play(policy, envs, observation, sampling, **kwargs)


def test_a_straight_walk_is_recorded_step_by_step() -> None:
    envs = ToyReach(num_envs=1)
    member = play_heldout(envs, StraightPolicy(), [0]).members[0]
    trajectory = member.trajectory
    assert STEPS_TO_GOAL == 7
    assert (len(trajectory), trajectory.control_steps, trajectory.end) == (4, 7, EpisodeEnd.SUCCESS)
    # near (0.5) at control step 4 (0.8 - 4 * 0.1 < 0.5), in decision 1; reached in decision 3
    assert trajectory.rewards_T.tolist() == [0.0, 0.5, 0.0, 0.5]
    assert trajectory.stage_T.tolist() == [0, 0, 1, 1]
    assert member.stages_TK.tolist() == [[False, False], [True, False], [True, False], [True, True]]
    assert trajectory.executed_TK.sum(1).tolist() == [14, 14, 14, 7]
    assert trajectory.progress == 1.0
    np.testing.assert_allclose(trajectory.observations.proprio_NP[:, 0], [0.8, 0.6, 0.4, 0.2], atol=1e-6)
    np.testing.assert_allclose(trajectory.logp_TK[:, 0], [-0.8, -0.6, -0.4, -0.2], atol=1e-6)


def test_without_pictures_the_record_is_the_same_but_for_them() -> None:
    with_pictures, without = (
        play_heldout(ToyReach(3, diverge_at={1: 5}), StraightPolicy(), [0, 7, 9], keep_pictures=keep).members
        for keep in (True, False)
    )
    for one, other in zip(with_pictures, without, strict=True):
        whole, bare = vars(one.trajectory).copy(), vars(other.trajectory).copy()
        seen, rest = vars(whole.pop("observations")), vars(bare.pop("observations"))
        for name, value in {**whole, **seen, "actions": one.actions_TCA, "stages": one.stages_TK}.items():
            mine = {**bare, **rest, "actions": other.actions_TCA, "stages": other.stages_TK}[name]
            if name in ("agentview_NHWC", "wrist_NHWC"):
                assert value.shape[1:] == (16, 16, 3) and mine.shape == (len(value), 0, 0, 3)
            else:
                assert torch.equal(mine, value) if isinstance(value, torch.Tensor) else mine == value


def test_a_policy_whose_numbers_have_left_float32_plays_nothing() -> None:
    policy = tiny_nano(action_chunk=2)
    torch.nn.init.constant_(policy.head.weight, 3e38)  # finite, and no logit is
    with pytest.raises(TrainingError, match="log-probabilities that are NaN or infinite"):
        play_heldout(ToyReach(num_envs=2), policy, [0, 1])


def test_only_running_members_are_shown_to_the_policy() -> None:
    envs = ToyReach(num_envs=3)
    policy = SpeedByMember(envs, [1.0, 0.0, 1.0])
    played = play_heldout(envs, policy, [0, 10, 20])
    assert [member.trajectory.end for member in played.members] == ["success", "horizon", "success"]
    assert [len(member.trajectory) for member in played.members] == [4, 12, 4]
    assert policy.batch_sizes == [3] * 4 + [1] * 8
    assert played.env_s > 0
    assert played.policy_s > 0


def test_any_success_cuts_its_group_at_that_decision_and_no_other() -> None:
    envs = ToyReach(num_envs=6)
    policy = SpeedByMember(envs, [1.0, 0.0, 0.5, 0.0, 0.0, 0.0])
    played = play_heldout(envs, policy, [0, 5, 10, 15, 20, 25], cut_group_size=3)
    ends = [member.trajectory.end for member in played.members]
    assert ends == ["success", "group_cut", "group_cut", "horizon", "horizon", "horizon"]
    assert [len(member.trajectory) for member in played.members] == [4, 4, 4, 12, 12, 12]
    # A cut member's record stops at the cut although the environment goes on simulating it.
    assert played.members[2].trajectory.control_steps == 8
    assert played.members[2].trajectory.progress == 0.5


def test_a_diverged_decision_is_left_out_and_a_member_without_decisions_leaves_its_group() -> None:
    envs = ToyReach(num_envs=6, diverge_at={0: 5, 3: 1, 4: 1, 5: 1})
    groups, _ = collect_groups(StraightPolicy(), envs, Sampling(), seeds=range(6), num_generations=2, end="each")
    first = groups[0][0].trajectory
    assert first.end is EpisodeEnd.DIVERGED
    assert len(first) == 2  # the third decision held control step 5
    assert not first.success
    assert [[len(member.trajectory) for member in group] for group in groups] == [[2, 4], [4, 0], [0, 0]]
    learnt = trainable_groups(groups)
    assert len(learnt) == 1  # one member has nothing to be compared with
    assert learnt[0].mask_GT.sum(1).tolist() == [2, 4]


def test_members_of_a_group_start_alike_and_groups_apart() -> None:
    envs = ToyReach(num_envs=6)
    groups, _ = collect_groups(
        StraightPolicy(noise=0.5), envs, Sampling(), seeds=range(6), num_generations=3, end="each"
    )
    starts = np.array([[m.trajectory.observations.proprio_NP[0].numpy() for m in group] for group in groups])
    assert (starts == starts[:, :1]).all()
    assert not np.allclose(starts[0, 0], starts[1, 0])


def test_equal_generators_give_equal_rollouts() -> None:
    returns = []
    for _ in range(2):
        groups, _ = collect_groups(
            StraightPolicy(speed=0.3, noise=0.8),
            ToyReach(num_envs=4),
            Sampling(generators=make_generators(3, Stream.ACTIONS, count=4)),
            seeds=range(4),
            num_generations=2,
            end="each",
        )
        returns.append([member.actions_TCA for group in groups for member in group])
    assert all(torch.equal(a, b) for a, b in zip(*returns, strict=True))


def test_what_a_member_does_depends_on_its_own_generator_only() -> None:
    torch.manual_seed(0)
    policy = NanoPolicy(NanoConfig(image_size=16, action_chunk=2))
    generators = [make_generators(3, Stream.ACTIONS, count=4) for _ in range(2)]
    together = play_heldout(ToyReach(4), policy, range(4), Sampling(generators=generators[0]))
    for i, own in enumerate(generators[1]):
        alone = play_heldout(ToyReach(1), policy, [i], Sampling(generators=[own]))
        assert torch.equal(alone.members[0].actions_TCA, together.members[i].actions_TCA)


@pytest.mark.parametrize(
    ("steps_per_token", "ran", "expected"),
    [(1, 0, [0] * 4), (1, 1, [1, 0, 0, 0]), (1, 4, [1] * 4)]
    + [(2, ran, expected) for ran, expected in enumerate([[0, 0], [1, 0], [1, 0], [1, 1], [1, 1]])],
)
def test_a_token_counts_when_its_first_control_step_ran(steps_per_token: int, ran: int, expected: list[int]) -> None:
    policy = tiny_nano(action_chunk=4, steps_per_token=steps_per_token)
    counted_NK = policy.counted(control_steps_run(np.array([ran]), chunk=4))
    assert counted_NK.tolist() == [[bool(step) for step in expected for _ in range(7)]]
