"""A gradient budget: learn from some decisions of a group, drawn evenly over the stages of the task.

Gradients take most of an iteration of a large policy, and most decisions of an episode lie in its longest stages. So
the budget is shared out by stage, and every decision drawn counts for those of its stage that were not: a stage of M
decisions, K of them drawn, gives each of the K a factor M / K. Each decision is drawn with probability K / M, so the
expected gradient is that of all decisions of the stages that got a part.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def draw_decisions(advantages_GT: Tensor, mask_GT: Tensor, stage_GT: Tensor, *, budget: float, offset: float) -> Tensor:
    """Which decisions of one group to learn from, as factors of their weights: M / K where drawn, 0 elsewhere.

    Args:
        advantages_GT: Advantage of each decision.
        mask_GT: Bool, True where the member took a decision.
        stage_GT: int64 stage in which each decision was taken.
        budget: Share of the group's decisions, in (0, 1]; rounded up.
        offset: In [0, 1), random. A stage's decisions, member after member, are taken at equal distances from it on, so
            that members and times have their shares too.
    """
    factor_GT = torch.zeros_like(advantages_GT)
    stages = sorted(set(stage_GT[mask_GT].tolist()))
    members = [torch.nonzero(mask_GT & (stage_GT == stage)) for stage in stages]
    spread = [float(advantages_GT[tuple(rows.T)].std(correction=0)) for rows in members]
    sizes = [len(rows) for rows in members]
    quotas = share_out(sizes, spread, math.ceil(budget * sum(sizes)))
    for rows, size, quota in zip(members, sizes, quotas, strict=True):
        drawn = ((torch.arange(quota, dtype=torch.float64) + offset) * size / max(1, quota)).long().clamp(max=size - 1)
        factor_GT[tuple(rows[drawn].T)] = size / max(1, quota)
    return factor_GT


def share_out(sizes: list[int], spread: list[float], total: int) -> list[int]:
    """How many of a total each stage gets: one at a time in turn, those whose advantages spread most first.

    Args:
        sizes: Decisions of each stage, the most it can get.
        spread: Standard deviation of its advantages.
        total: At most the sum of the sizes.
    """
    quotas = [0] * len(sizes)
    in_turn = sorted(range(len(sizes)), key=lambda i: -spread[i])
    while sum(quotas) < total:
        for i in in_turn:
            if quotas[i] < sizes[i] and sum(quotas) < total:
                quotas[i] += 1
    return quotas
