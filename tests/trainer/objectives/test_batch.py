"""Groups become rows: order, weights, and groups that say nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.helpers.made_up import make_group, tiny_nano
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.config import TgrpoConfig
from tgrpo_trainer.objectives.batch import build_batch, flatten

RAGGED = [[3.0, 1.0], [1.0], [2.0, 3.0]]
UNIFORM = [[0.25, 0.5], [0.25, 0.5]]


def test_rows_follow_groups_members_and_time():
    policy = tiny_nano()
    groups = [make_group(policy, RAGGED, seed=1), make_group(policy, [[0.0], [1.0]], seed=2)]
    batch, _ = build_batch(groups, TgrpoConfig())
    members = [member for group in groups for member in group.trajectories]
    assert len(batch) == 7
    assert torch.equal(batch.choices_NK, torch.cat([member.choices_TK for member in members]))
    assert torch.equal(batch.observations.proprio_NP, torch.cat([m.observations.proprio_NP for m in members]))
    assert batch.observations.agentview_NHWC.dtype == torch.uint8
    # Second group: returns 0 and 1, mean 1/2, std sqrt(1/2): both terms are -+ sqrt(1/2).
    torch.testing.assert_close(batch.advantages_N[-2:], torch.tensor([-1.0, 1.0]) * 0.5**0.5)


def test_every_member_weighs_the_same_whatever_its_length():
    batch, _ = build_batch([make_group(tiny_nano(), RAGGED)], TgrpoConfig())
    expected = [1 / 6, 1 / 6, 1 / 3, 1 / 6, 1 / 6]
    torch.testing.assert_close(batch.weights_N, torch.tensor(expected, dtype=torch.float64))
    # J's policy term at rho = 1 is the weighted sum of the advantages: 1/N sum_i 1/T_i sum_t A[i,t].
    means = [batch.advantages_N[rows].double().mean() for rows in ([0, 1], [2], [3, 4])]
    torch.testing.assert_close((batch.weights_N * batch.advantages_N).sum(), sum(means) / 3)


def test_uniform_groups_are_dropped_and_counted():
    policy = tiny_nano()
    groups = [make_group(policy, RAGGED), make_group(policy, UNIFORM)]
    batch, metrics = build_batch(groups, TgrpoConfig())
    assert len(batch) == 5 and metrics["groups/uniform"] == 0.5
    assert batch.weights_N.sum() == pytest.approx(1.0)
    kept, _ = build_batch(groups, TgrpoConfig(), drop_uniform=False)
    assert len(kept) == 9 and not kept.advantages_N[5:].any()


def test_nothing_to_learn_from_gives_no_batch():
    batch, metrics = build_batch([make_group(tiny_nano(), UNIFORM)], TgrpoConfig())
    assert batch is None and metrics["groups/uniform"] == 1.0
    with pytest.raises(ConfigError, match="skip the update"):
        flatten([])


def test_step_comparisons_are_counted():
    # Four comparisons: t = 0 and 1 of each group. Ragged: t = 0 spreads; t = 1 spreads. Cut: t = 1 has one member left.
    groups = [make_group(tiny_nano(), RAGGED), make_group(tiny_nano(), [[1.0, 1.0], [1.0]])]
    _, metrics = build_batch(groups, TgrpoConfig())
    assert metrics["step_term/lonely"] == 0.25 and metrics["step_term/flat"] == 0.25


def test_settings_reach_the_advantages():
    group = make_group(tiny_nano(), [[0.0, 1.0], [4.0, 0.0], [2.0, 2.0]])
    batch, _ = build_batch([group], TgrpoConfig(alpha_step=1.0, alpha_trajectory=0.0, scale_rewards="none"))
    assert batch.advantages_N.tolist() == [-2.0, 0.0, 2.0, -1.0, 0.0, 1.0]
    staged = dataclasses.replace(
        group, trajectories=tuple(dataclasses.replace(t, stage_T=torch.tensor([0, 0])) for t in group.trajectories)
    )
    batch, _ = build_batch(
        [staged], TgrpoConfig(alpha_step=1.0, alpha_trajectory=0.0, scale_rewards="none", step_group="stage")
    )
    assert batch.advantages_N.tolist() == [-1.5, -0.5, 2.5, -1.5, 0.5, 0.5]
