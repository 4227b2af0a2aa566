"""Fused advantages: numbers worked out by hand, an independent numpy version, and what must not matter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from tests.helpers.made_up import step_term
from tgrpo_trainer.objectives.advantages import AdvantageResult, returns_to_go
from tgrpo_trainer.objectives.tgrpo import tgrpo_advantages

Arrays = tuple[NDArray[np.float64], NDArray[np.bool_]]
"""Rewards and mask of a group."""


def advantages(rewards: list[list[float]], mask: list[list[bool]] | None = None, **options: Any) -> AdvantageResult:
    rewards_GT = torch.tensor(rewards, dtype=torch.float64)
    mask_GT = torch.ones_like(rewards_GT, dtype=torch.bool) if mask is None else torch.tensor(mask)
    return tgrpo_advantages(rewards_GT, mask_GT, **options)


def trajectory_term(result: AdvantageResult) -> Tensor:
    assert result.trajectory_G is not None
    return result.trajectory_G


def reference(
    rewards_GT: NDArray[np.float64],
    mask_GT: NDArray[np.bool_],
    alpha_step: float,
    alpha_trajectory: float,
    *,
    divide: bool = True,
    floor: float = 0.0,
) -> NDArray[np.float64]:
    """The paper's equations, one member and one step at a time."""

    def normalise(values: list[float], value: float) -> float:
        mean = sum(values) / len(values)
        std = math.sqrt(sum((other - mean) ** 2 for other in values) / (len(values) - 1))
        if std < 1e-12:
            return 0.0
        return (value - mean) / max(std, floor) if divide else value - mean

    members, steps = rewards_GT.shape
    returns = [sum(rewards_GT[i, t] for t in range(steps) if mask_GT[i, t]) for i in range(members)]
    fused = np.zeros((members, steps))
    for t in range(steps):
        alive = [i for i in range(members) if mask_GT[i, t]]
        for i in alive:
            values = [rewards_GT[j, t] for j in alive]
            step = normalise(values, rewards_GT[i, t]) if len(alive) >= 2 else 0.0
            fused[i, t] = alpha_step * step + alpha_trajectory * normalise(returns, returns[i])
    return fused


def test_known_answer() -> None:
    # t = 0: values 3 1 2, mean 2, std 1 -> 1 -1 0.  t = 1: all equal -> 0.  R = 4 2 3, mean 3, std 1 -> 1 -1 0.
    result = advantages([[3.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    assert step_term(result).values_GT.tolist() == [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]
    assert trajectory_term(result).tolist() == [1.0, -1.0, 0.0]
    assert result.advantages_GT.tolist() == [[1.0, 0.7], [-1.0, -0.7], [0.0, 0.0]]
    assert (step_term(result).num_sets, step_term(result).num_singleton, step_term(result).num_zero_std) == (2, 0, 1)


def test_known_answer_with_a_ragged_end() -> None:
    # t = 1 is reached by members 0 and 2 only: values 1 3, mean 2, std sqrt 2. R = 4 1 5, mean 10/3, std sqrt(13/3).
    result = advantages([[3.0, 1.0], [1.0, 99.0], [2.0, 3.0]], [[True, True], [True, False], [True, True]])
    half = math.sqrt(0.5)
    trajectory = [(value - 10 / 3) / math.sqrt(13 / 3) for value in (4, 1, 5)]
    expected = [
        [0.3 + 0.7 * trajectory[0], -0.3 * half + 0.7 * trajectory[0]],
        [-0.3 + 0.7 * trajectory[1], 0.0],
        [0.0 + 0.7 * trajectory[2], 0.3 * half + 0.7 * trajectory[2]],
    ]
    np.testing.assert_allclose(result.advantages_GT.numpy(), expected, rtol=1e-14)


def test_known_returns_from_a_decision_on() -> None:
    # From the end: 4; 2 + 0.5 * 4 = 4; 1 + 0.5 * 4 = 3. The second member ended after one decision.
    rewards_GT = torch.tensor([[1.0, 2.0, 4.0], [3.0, 0.0, 0.0]], dtype=torch.float64)
    assert returns_to_go(rewards_GT, 0.5).tolist() == [[3.0, 4.0, 4.0], [3.0, 0.0, 0.0]]
    assert torch.equal(returns_to_go(rewards_GT, 0.0), rewards_GT)
    assert returns_to_go(rewards_GT, 1.0)[:, 0].tolist() == [7.0, 3.0]


def test_a_lone_survivor_has_no_step_term() -> None:
    result = advantages([[1.0, 5.0], [0.0, 0.0]], [[True, True], [True, False]])
    assert step_term(result).values_GT[0, 1] == 0.0 and step_term(result).num_singleton == 1
    assert result.advantages_GT[0, 1] == pytest.approx(0.7 * math.sqrt(0.5))


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 1e8])
def test_equal_rewards_give_exactly_zero_not_normalised_rounding_error(value: float) -> None:
    result = advantages([[value, value / 3, value / 7]] * 7)
    assert result.zero_advantage and step_term(result).num_zero_std == 3
    # Equal returns reached in another order differ in the last bit: 0.1 + 0.2 + 0.3 against 0.3 + 0.2 + 0.1.
    assert trajectory_term(advantages([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])).tolist() == [0.0, 0.0]


def test_what_was_paid_and_taken_back_leaves_no_signal() -> None:
    # 0.1 + 0.2 - 0.3 is 5.6e-17: beside zeros it had an advantage of 1.5.
    returns = advantages([[0.1, 0.2, -0.3], *[[0.0] * 3] * 3], alpha_step=0.0)
    assert returns.zero_advantage and trajectory_term(returns).tolist() == [0.0] * 4
    # Within one decision likewise, where others are paid at another time.
    steps = step_term(advantages([[0.1 + 0.2 - 0.3, 0.0], [0.0, 0.25], [0.0, 0.25]]))
    assert steps.values_GT[:, 0].tolist() == [0.0] * 3 and steps.num_zero_std == 1
    # Nor in what follows a decision.
    to_go = returns_to_go(torch.tensor([[0.3, -0.1, -0.2], [0.5, 0.25, 0.0]], dtype=torch.float64), 1.0)
    assert to_go[0, 0] == 0.0 and to_go[0, 1] == pytest.approx(-0.3) and to_go[1].tolist() == [0.75, 0.25, 0.0]
    # What is left of much that was taken back still counts.
    assert trajectory_term(advantages([[0.3, -0.25], [0.3, -0.3], [0.0, 0.0]])).tolist() == pytest.approx(
        [2 / math.sqrt(3), -1 / math.sqrt(3), -1 / math.sqrt(3)]
    )


def test_switches() -> None:
    rewards = [[0.0, 1.0], [4.0, 0.0], [2.0, 2.0]]
    fused = advantages(rewards)
    assert torch.equal(
        advantages(rewards, alpha_step=0.0).advantages_GT, 0.7 * trajectory_term(fused)[:, None].expand(3, 2)
    )
    assert torch.equal(advantages(rewards, alpha_trajectory=0.0).advantages_GT, 0.3 * step_term(fused).values_GT)
    # Without scaling only means go: t = 0 mean 2, t = 1 mean 1.
    assert step_term(advantages(rewards, scale="none")).values_GT.tolist() == [[-2.0, 0.0], [2.0, -1.0], [0.0, 1.0]]
    # std of column 0 is 2, of column 1 is 1: a floor of 2 leaves the first and halves the second.
    assert step_term(advantages(rewards, std_floor=2.0)).values_GT.tolist() == [[-1.0, 0.0], [1.0, -0.5], [0.0, 0.5]]


def test_impossible_input_is_refused() -> None:
    with pytest.raises(ValueError, match="G >= 2"):
        advantages([[1.0, 2.0]])


@st.composite
def groups(draw: st.DrawFn) -> Arrays:
    members, steps = draw(st.integers(2, 6)), draw(st.integers(1, 8))
    lengths = draw(st.lists(st.integers(1, steps), min_size=members, max_size=members))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    # Multiples of 1/64, as the stage rewards are, with many ties.
    rewards_GT = rng.integers(-4, 5, (members, steps)) / 64
    return rewards_GT, np.arange(steps) < np.array(lengths)[:, None]


@settings(max_examples=100, deadline=None)
@given(groups(), st.sampled_from([(0.3, 0.7), (1.0, 0.0), (0.0, 1.0)]), st.booleans(), st.sampled_from([0.0, 0.05]))
def test_equals_an_independent_implementation(
    group: Arrays, alphas: tuple[float, float], divide: bool, floor: float
) -> None:
    rewards_GT, mask_GT = group
    ours = tgrpo_advantages(
        torch.from_numpy(rewards_GT),
        torch.from_numpy(mask_GT),
        alpha_step=alphas[0],
        alpha_trajectory=alphas[1],
        scale="std" if divide else "none",
        std_floor=floor,
    )
    expected = reference(rewards_GT, mask_GT, *alphas, divide=divide, floor=floor)
    np.testing.assert_allclose(ours.advantages_GT.numpy(), expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(groups(), st.integers(0, 2**32 - 1))
def test_order_of_members_padding_and_affine_rewards_do_not_matter(group: Arrays, seed: int) -> None:
    rewards_GT, mask_GT = torch.from_numpy(group[0]), torch.from_numpy(group[1])
    base = tgrpo_advantages(rewards_GT, mask_GT).advantages_GT
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(rewards_GT)))
    shuffled = tgrpo_advantages(rewards_GT[order], mask_GT[order]).advantages_GT
    torch.testing.assert_close(shuffled, base[order])

    garbage = torch.full((len(rewards_GT), 3), float("nan"), dtype=torch.float64)
    padded = tgrpo_advantages(
        torch.cat([rewards_GT, garbage], 1), torch.cat([mask_GT, torch.zeros_like(garbage, dtype=torch.bool)], 1)
    ).advantages_GT
    assert torch.equal(padded[:, : base.shape[1]], base) and not padded[:, base.shape[1] :].any()

    # Scaling all rewards changes nothing; adding a constant changes nothing between members of equal length.
    torch.testing.assert_close(tgrpo_advantages(8.0 * rewards_GT, mask_GT).advantages_GT, base)
    if mask_GT.all():
        torch.testing.assert_close(tgrpo_advantages(rewards_GT + 2.0, mask_GT).advantages_GT, base)


def test_rewards_of_any_library_give_the_same_advantages() -> None:
    rewards, mask = [[1.0, 0.0], [0.5, 2.0]], [[True, True], [True, False]]
    expected = tgrpo_advantages(torch.tensor(rewards), torch.tensor(mask)).advantages_GT
    for own in (rewards, np.array(rewards), torch.tensor(rewards, dtype=torch.bfloat16, requires_grad=True)):
        advantages_GT = tgrpo_advantages(own, np.array(mask)).advantages_GT
        assert torch.equal(advantages_GT, expected)
        assert not advantages_GT.requires_grad


@pytest.mark.parametrize(
    ("rewards", "mask"),
    [
        ([[1.0], [float("nan")]], [[True], [True]]),
        ([[1.0], [float("inf")]], [[True], [True]]),
        ([["1"], ["2"]], [[True], [True]]),
        ([[True], [False]], [[True], [True]]),
        ([[1.0], [2.0]], [[1], [1]]),
        ([[1j], [2.0]], [[True], [True]]),
        ([[1.0], [2.0, 3.0]], [[True], [True]]),
    ],
)
def test_rewards_that_are_none_are_refused(rewards: list[list[Any]], mask: list[list[Any]]) -> None:
    with pytest.raises(ValueError, match=r"rewards_GT|mask_GT"):
        tgrpo_advantages(rewards, mask)
