"""Objectives beside the paper's: advantages worked out by hand, and what all of them have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.made_up import build_batch, make_group, step_term, tiny_nano
from tgrpo_trainer.objectives import OBJECTIVES, Grpo, Objective, ReinforceLeaveOneOut, StageReturn, Tgrpo
from tgrpo_trainer.objectives.advantages import AdvantageResult
from tgrpo_trainer.objectives.stage_return import stage_return_advantages
from tgrpo_trainer.types import LogProbs, TrajectoryGroup

HALF = math.sqrt(0.5)
REWARDS = [[3.0, 1.0], [1.0], [2.0, 3.0]]
"""Returns 4 1 5: mean 10/3, std sqrt(13/3)."""


def stage_return(rewards: list[list[float]], stages: list[list[int]], **options: Any) -> AdvantageResult:
    """Advantages of members that may end at different times."""
    pad = torch.nn.utils.rnn.pad_sequence
    rewards_GT = pad([torch.tensor(row, dtype=torch.float64) for row in rewards], batch_first=True)
    mask_GT = pad([torch.ones(len(row), dtype=torch.bool) for row in rewards], batch_first=True)
    stage_GT = pad([torch.tensor(row) for row in stages], batch_first=True)
    return stage_return_advantages(rewards_GT, mask_GT, stage_GT, **options)


def group_of(rewards: list[list[float]]) -> TrajectoryGroup:
    return make_group(tiny_nano(), rewards)


def test_grpo_gives_every_decision_its_trajectory_s_advantage() -> None:
    first, second, third = ((value - 10 / 3) / math.sqrt(13 / 3) for value in (4, 1, 5))
    result = Grpo().advantages(group_of(REWARDS))
    expected = [[first, first], [second, 0.0], [third, third]]
    np.testing.assert_allclose(result.advantages_GT.numpy(), expected, rtol=1e-14)
    assert result.step is None
    # The paper's objective with its step term off.
    fused = Tgrpo(alpha_step=0.0, alpha_trajectory=1.0).advantages(group_of(REWARDS))
    assert torch.equal(fused.advantages_GT, result.advantages_GT)
    floored = Grpo(std_floor=10.0).advantages(group_of(REWARDS))
    assert floored.advantages_GT[0, 0] == pytest.approx((4 - 10 / 3) / 10)


def test_leave_one_out_compares_with_the_mean_of_the_others() -> None:
    # Returns 4 1 5: 4 - (1 + 5) / 2 = 1, 1 - (4 + 5) / 2 = -3.5, 5 - (4 + 1) / 2 = 2.5.
    result = ReinforceLeaveOneOut().advantages(group_of(REWARDS))
    np.testing.assert_allclose(result.advantages_GT.numpy(), [[1.0, 1.0], [-3.5, 0.0], [2.5, 2.5]], rtol=1e-14)
    # Rounding is no advantage: 0.1 + 0.2 + 0.3 against 0.3 + 0.2 + 0.1.
    assert ReinforceLeaveOneOut().advantages(group_of([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])).zero_advantage


def test_by_the_clock_a_decision_is_credited_with_what_followed() -> None:
    # Returns 3 4 4 and 1 2 4: at t = 0 they are 3 and 1, at t = 1 4 and 2, at t = 2 equal. Each pair differs by
    # sqrt 2 standard deviations. Raw rewards 1 2 4 and 0 0 4 would say the same of t = 0 and 1, but by 1 and 2.
    stages = [[0, 0, 0]] * 2
    result = stage_return([[1.0, 2.0, 4.0], [0.0, 0.0, 4.0]], stages, anchor="clock", discount=0.5)
    np.testing.assert_allclose(result.advantages_GT.numpy(), [[HALF, HALF, 0.0], [-HALF, -HALF, 0.0]], rtol=1e-14)
    assert (step_term(result).num_sets, step_term(result).num_singleton, step_term(result).num_zero_std) == (3, 0, 1)
    # A reward that comes late reaches the decision before it, which raw rewards leave without a comparison.
    late = [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    assert stage_return(late, stages, anchor="clock").advantages_GT[:, 0].tolist() == pytest.approx([HALF, -HALF])
    assert stage_return(late, stages, anchor="clock", discount=0.0).advantages_GT[:, 0].tolist() == [0.0, 0.0]


def test_by_the_stage_decisions_are_compared_across_time() -> None:
    # discount 0: stage 0 holds 1 (member 0), 3, 2 (member 1): mean 2, std 1. Stage 1 holds only member 0.
    result = stage_return([[1.0, 7.0], [3.0, 2.0]], [[0, 1], [0, 0]], discount=0.0)
    assert result.advantages_GT.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert (step_term(result).num_sets, step_term(result).num_singleton) == (2, 1)
    # discount 1/2: returns 1 + 7/2 = 4.5, 7 and 3 + 2/2 = 4, 2. Stage 0: 4.5 4 2, mean 3.5, std sqrt(1.75).
    result = stage_return([[1.0, 7.0], [3.0, 2.0]], [[0, 1], [0, 0]], discount=0.5)
    expected = [[1 / math.sqrt(1.75), 0.0], [0.5 / math.sqrt(1.75), -1.5 / math.sqrt(1.75)]]
    np.testing.assert_allclose(result.advantages_GT.numpy(), expected, rtol=1e-14)


def test_by_entry_members_are_compared_once_and_only_those_that_entered() -> None:
    # discount 1/2. Returns: 0 + (4 + 0/2)/2 = 2, 4, 0; member 1 ends after 1 + 0/2 = 1, 0; member 2 enters stage 1 at
    # once: 3 = 2 + 2/2, 2, which is left for stage 0 again at t = 1.
    rewards = [[0.0, 4.0, 0.0], [1.0, 0.0], [2.0, 2.0]]
    stages = [[0, 1, 1], [0, 0], [1, 0]]
    result = stage_return(rewards, stages, anchor="entry", discount=0.5)
    # Stage 0 is entered with 2, 1 and 2: mean 5/3, std sqrt(1/3). Stage 1 with 4 and 3: -+ sqrt(1/2); member 1 never.
    stage_0 = [(value - 5 / 3) / math.sqrt(1 / 3) for value in (2, 1, 2)]
    expected = [[stage_0[0], HALF, HALF], [stage_0[1], stage_0[1], 0.0], [-HALF, stage_0[2], 0.0]]
    np.testing.assert_allclose(result.advantages_GT.numpy(), expected, rtol=1e-13)
    assert (step_term(result).num_sets, step_term(result).num_singleton, step_term(result).num_zero_std) == (2, 0, 0)
    # A stage that one member entered says nothing, however often it decided there.
    alone = stage_return([[0.0, 1.0, 2.0], [0.0, 0.0]], [[0, 1, 1], [0, 0]], anchor="entry")
    assert alone.advantages_GT[0, 1:].tolist() == [0.0, 0.0] and step_term(alone).num_singleton == 1


def test_the_trajectory_term_is_added_with_its_weight() -> None:
    stages = [[0, 0], [0, 0], [0, 0]]
    rewards = [[3.0, 1.0], [1.0, 1.0], [2.0, 1.0]]
    without = stage_return(rewards, stages, discount=0.9, std_floor=0.1)
    with_it = stage_return(rewards, stages, discount=0.9, std_floor=0.1, trajectory_weight=0.3)
    # Returns of trajectories 4 2 3: mean 3, std 1.
    expected_GT = without.advantages_GT + 0.3 * torch.tensor([[1.0], [-1.0], [0.0]], dtype=torch.float64)
    torch.testing.assert_close(with_it.advantages_GT, expected_GT)


def test_by_the_clock_without_a_discount_it_is_the_paper_s_with_weights_1() -> None:
    group = group_of([[0.0, 1.0], [4.0, 0.0, 2.0], [2.0]])
    ours = StageReturn(anchor="clock", discount=0.0, trajectory_weight=0.7).advantages(group)
    papers = Tgrpo(alpha_step=1.0, alpha_trajectory=0.7).advantages(group)
    assert torch.equal(ours.advantages_GT, papers.advantages_GT)


def test_stages_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"stages \(2, 1\)"):
        stage_return_advantages(torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool), torch.zeros(2, 1))


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_every_objective_gives_finite_advantages_and_a_loss_whose_parts_add_up(kind: str) -> None:
    policy = tiny_nano()
    group = make_group(policy, REWARDS)
    make: Callable[..., Objective] = OBJECTIVES[kind]
    objective = make(beta=0.0)
    assert objective.kind == kind and not objective.needs_reference and make().needs_reference
    result = objective.advantages(group)
    assert result.advantages_GT.isfinite().all() and not result.advantages_GT[~group.mask_GT].any()
    assert not result.zero_advantage
    assert objective.advantages(group_of([[0.5]] * 3)).zero_advantage
    batch, _ = build_batch([group], objective)
    assert batch is not None
    scored = policy(batch.observations, batch.choices_NK, 1.0)

    def loss(rows: slice) -> tuple[Tensor, dict[str, Tensor]]:
        part = batch.rows(rows)
        of_rows = LogProbs(*(each[rows] for each in scored))
        return objective.loss(of_rows, part, old_logp_NK=part.old_logp_NK, ref_logp_NK=None, denominator=1.0)

    whole, metrics = loss(slice(None))
    parts = [loss(rows) for rows in (slice(0, 2), slice(2, None))]
    torch.testing.assert_close(sum(each for each, _ in parts), whole)
    assert float(sum(measured["approx_kl"] for _, measured in parts)) == pytest.approx(float(metrics["approx_kl"]))
    assert whole.requires_grad
