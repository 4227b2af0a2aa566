"""Groups become rows: order, weights, and groups that say nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.helpers.made_up import build_batch, make_group, tiny_nano
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.config import RolloutConfig
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.objectives import Tgrpo
from tgrpo_trainer.optim.batch import flatten, group_metrics, keep_groups, limit_decisions, score_groups
from tgrpo_trainer.types import EpisodeEnd, TrajectoryGroup

RAGGED = [[3.0, 1.0], [1.0], [2.0, 3.0]]
ALIKE = [[0.25, 0.5], [0.25, 0.5]]


def test_rows_follow_groups_members_and_time() -> None:
    policy = tiny_nano()
    groups = [make_group(policy, RAGGED, seed=1), make_group(policy, [[0.0], [1.0]], seed=2)]
    batch, _ = build_batch(groups, Tgrpo())
    members = [member for group in groups for member in group.trajectories]
    assert batch is not None
    assert len(batch) == 7
    assert torch.equal(batch.choices_NK, torch.cat([member.choices_TK for member in members]))
    assert torch.equal(batch.observations.proprio_NP, torch.cat([m.observations.proprio_NP for m in members]))
    assert batch.observations.agentview_NHWC.dtype == torch.uint8
    # Second group: returns 0 and 1, mean 1/2, std sqrt(1/2): both terms are -+ sqrt(1/2).
    torch.testing.assert_close(batch.advantages_N[-2:], torch.tensor([-1.0, 1.0]) * 0.5**0.5)


def test_every_member_weighs_the_same_whatever_its_length() -> None:
    batch, _ = build_batch([make_group(tiny_nano(), RAGGED)], Tgrpo())
    assert batch is not None
    expected = [1 / 6, 1 / 6, 1 / 3, 1 / 6, 1 / 6]
    torch.testing.assert_close(batch.weights_N, torch.tensor(expected, dtype=torch.float64))
    # J's policy term at rho = 1 is the weighted sum of the advantages: 1/N sum_i 1/T_i sum_t A[i,t].
    means = [batch.advantages_N[rows].double().mean() for rows in ([0, 1], [2], [3, 4])]
    torch.testing.assert_close((batch.weights_N * batch.advantages_N).sum(), sum(means) / 3)


def test_groups_of_equal_members_are_dropped_and_counted() -> None:
    policy = tiny_nano()
    groups = [make_group(policy, RAGGED), make_group(policy, ALIKE)]
    batch, metrics = build_batch(groups, Tgrpo())
    assert batch is not None and len(batch) == 5 and metrics["groups/zero_advantage"] == 0.5
    assert batch.weights_N.sum() == pytest.approx(1.0)
    kept, _ = build_batch(groups, Tgrpo(), kept="all")
    assert kept is not None and len(kept) == 9 and not kept.advantages_N[5:].any()


def succeeded(group: TrajectoryGroup, num: int) -> TrajectoryGroup:
    """The group with its first `num` members successful."""
    ends = [EpisodeEnd.SUCCESS] * num + [EpisodeEnd.HORIZON] * (len(group) - num)
    members = zip(group.trajectories, ends, strict=True)
    return dataclasses.replace(group, trajectories=tuple(dataclasses.replace(one, end=end) for one, end in members))


@pytest.mark.parametrize(
    ("kept", "successes"),
    [("spread", [0, 1, 2, 3]), ("0.1..0.9", [1, 2]), ("0..0.4", [0, 1]), ("1..1", [3]), ("all", [0, 1, 2, 3, 2])],
)
def test_groups_are_kept_by_their_share_of_successes(kept: str, successes: list[int]) -> None:
    policy = tiny_nano()
    groups = [succeeded(make_group(policy, RAGGED, seed=num), num) for num in range(4)]
    groups.append(succeeded(make_group(policy, [[0.5]] * 3), 2))  # between, but all advantages are 0
    scored = score_groups(groups, Tgrpo())
    chosen = keep_groups(scored, RolloutConfig(filter=kept))
    assert [round(3 * each.success_share) for each in chosen] == successes
    assert group_metrics(scored, chosen, World())["groups/kept"] == len(successes) / 5


def test_nothing_to_learn_from_gives_no_batch() -> None:
    batch, metrics = build_batch([make_group(tiny_nano(), ALIKE)], Tgrpo())
    assert batch is None and metrics["groups/zero_advantage"] == 1.0
    with pytest.raises(ConfigError, match="skip the update"):
        flatten([])


def test_without_spread_only_a_kl_term_learns_and_from_groups_that_are_kept() -> None:
    groups = [make_group(tiny_nano(), ALIKE)]
    batch, _ = build_batch(groups, Tgrpo(beta=0.05), kept="all")
    assert batch is not None and len(batch) == 4 and not batch.advantages_N.any()
    assert build_batch(groups, Tgrpo(beta=0.0), kept="all")[0] is None
    assert build_batch(groups, Tgrpo(beta=0.05))[0] is None


def test_step_comparisons_are_counted() -> None:
    # Four comparisons: t = 0 and 1 of each group. Ragged: t = 0 spreads; t = 1 spreads. Cut: t = 1 has one member left.
    groups = [make_group(tiny_nano(), RAGGED), make_group(tiny_nano(), [[1.0, 1.0], [1.0]])]
    _, metrics = build_batch(groups, Tgrpo())
    assert metrics["step_term/singleton"] == 0.25 and metrics["step_term/zero_std"] == 0.25


def test_settings_reach_the_advantages() -> None:
    group = make_group(tiny_nano(), [[0.0, 1.0], [4.0, 0.0], [2.0, 2.0]])
    batch, _ = build_batch([group], Tgrpo(alpha_step=1.0, alpha_trajectory=0.0, scale_rewards="none"))
    assert batch is not None and batch.advantages_N.tolist() == [-2.0, 0.0, 2.0, -1.0, 0.0, 1.0]


def test_a_budget_leaves_rows_out_and_keeps_the_weight_of_their_stage() -> None:
    group = make_group(tiny_nano(), [[1.0, 0.0, 2.0, 0.0], [0.0, 3.0, 0.0, 1.0]])
    scored = score_groups([group], Tgrpo())
    all_rows = flatten(scored)
    half = flatten(limit_decisions(scored, 0.5, torch.Generator().manual_seed(0)))
    assert len(half) == 4 and half.weights_N.tolist() == [0.25] * 4
    chosen = [int((all_rows.observations.proprio_NP == row).all(1).nonzero()) for row in half.observations.proprio_NP]
    assert chosen in ([0, 2, 4, 6], [1, 3, 5, 7])  # one stage: every second decision
    assert torch.equal(half.advantages_N, all_rows.advantages_N[chosen])
    again = flatten(limit_decisions(scored, 0.5, torch.Generator().manual_seed(0)))
    assert torch.equal(again.choices_NK, half.choices_NK)
