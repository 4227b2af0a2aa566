"""Decisions drawn under a budget: shares of stages worked out by hand, and that the draw favours nobody."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tgrpo_trainer.optim.gradient_budget import draw_decisions, share_out


@pytest.mark.parametrize(
    ("sizes", "spread", "total", "expected"),
    [
        ([6, 2, 4], [0.1, 0.3, 0.2], 6, [2, 2, 2]),  # evenly
        ([6, 2, 4], [0.1, 0.3, 0.2], 8, [3, 2, 3]),  # the small stage is exhausted
        ([6, 2, 4], [0.1, 0.3, 0.2], 2, [0, 1, 1]),  # not enough for all: the widest spread first
        ([6, 2, 4], [0.2, 0.3, 0.1], 2, [1, 1, 0]),
        ([6, 2, 4], [0.1, 0.3, 0.2], 12, [6, 2, 4]),
        ([3, 3], [0.0, 0.0], 3, [2, 1]),  # equal spreads: the earlier stage
    ],
)
def test_stages_share_the_budget(sizes: list[int], spread: list[float], total: int, expected: list[int]) -> None:
    assert share_out(sizes, spread, total) == expected


def test_known_draw() -> None:
    # Stage 0: five decisions, stage 1: one, in all 6; half of them is 3: stage 1 (spread 0) gets one, stage 0 two.
    mask_GT = torch.tensor([[True, True, True, True], [True, True, False, False]])
    stage_GT = torch.tensor([[0, 0, 0, 1], [0, 0, 9, 9]])
    advantages_GT = torch.tensor([[1.0, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    # Positions 0 and 5/2 of stage 0, rounded down: the first and the third; each stands for 5/2.
    drawn = draw_decisions(advantages_GT, mask_GT, stage_GT, budget=0.5, offset=0.0)
    assert drawn.tolist() == [[2.5, 0.0, 2.5, 1.0], [0.0, 0.0, 0.0, 0.0]]
    # With an offset of 0.9: 2.25 and 4.75, the third and the fifth.
    drawn = draw_decisions(advantages_GT, mask_GT, stage_GT, budget=0.5, offset=0.9)
    assert drawn.tolist() == [[0.0, 0.0, 2.5, 1.0], [0.0, 2.5, 0.0, 0.0]]
    everything = draw_decisions(advantages_GT, mask_GT, stage_GT, budget=1.0, offset=0.7)
    assert torch.equal(everything, mask_GT.double())


def test_on_average_over_offsets_every_decision_counts_once() -> None:
    rng = np.random.default_rng(0)
    lengths = np.array([7, 5, 9])
    mask_GT = torch.from_numpy(np.arange(9) < lengths[:, None])
    stage_GT = torch.from_numpy(np.sort(rng.integers(0, 3, (3, 9)), axis=1))
    advantages_GT = torch.from_numpy(rng.normal(size=(3, 9))) * mask_GT
    offsets = (np.arange(840) + 0.5) / 840
    draws = [
        draw_decisions(advantages_GT, mask_GT, stage_GT, budget=0.3, offset=float(offset)).numpy() for offset in offsets
    ]
    assert {int((draw > 0).sum()) for draw in draws} == {7}  # 0.3 * 21 = 6.3, rounded up
    np.testing.assert_allclose(np.mean(draws, axis=0), mask_GT.double().numpy(), atol=0.02)
