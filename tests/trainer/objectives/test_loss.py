"""The clipped objective: numbers worked out by hand, an independent float64 version, and micro-batches that add up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tgrpo_trainer.objectives.loss import Ratio, clipped_loss

Table = list[list[float]] | NDArray[Any]
Row = list[float] | NDArray[Any]
"""A number for each token of each decision, and for each decision."""


def loss_of(
    logp: Table,
    old: Table,
    advantages: Row,
    *,
    ref: Table | None = None,
    mask: Table | None = None,
    weights: Row | None = None,
    denominator: float = 1.0,
    **options: Any,
) -> tuple[float, Tensor, dict[str, float]]:
    logp_NK = torch.tensor(logp, dtype=torch.float64, requires_grad=True)
    mask_NK = torch.ones_like(logp_NK, dtype=torch.bool) if mask is None else torch.tensor(mask)
    weights_N = torch.full((len(logp),), 1.0 / len(logp)) if weights is None else torch.tensor(weights)
    loss, metrics = clipped_loss(
        logp_NK,
        torch.tensor(old, dtype=torch.float64),
        None if ref is None else torch.tensor(ref, dtype=torch.float64),
        torch.tensor(advantages, dtype=torch.float64),
        mask_NK,
        weights_N.double(),
        denominator=denominator,
        entropy_NK=torch.full_like(logp_NK, 0.5),
        **options,
    )
    loss.backward()
    assert logp_NK.grad is not None
    return loss.item(), logp_NK.grad, {key: value.item() for key, value in metrics.items()}


def reference_loss(
    logp: NDArray[np.float64],
    old: NDArray[np.float64],
    ref: NDArray[np.float64],
    advantages: NDArray[np.float64],
    mask: NDArray[np.bool_],
    weights: NDArray[np.float64],
    denominator: float,
    *,
    low: float,
    high: float,
    beta: float,
    per_action: bool,
) -> float:
    """The same objective in numpy, one decision and one token at a time."""
    total = 0.0
    for n in range(len(logp)):
        tokens = [k for k in range(logp.shape[1]) if mask[n, k]]
        if not tokens:
            continue
        units = [tokens] if per_action else [[k] for k in tokens]
        row = 0.0
        for unit in units:
            rho = math.exp(sum(logp[n, k] - old[n, k] for k in unit))
            clipped = min(max(rho, 1 - low), 1 + high)
            row += min(rho * advantages[n], clipped * advantages[n])
            log_ratio = sum(ref[n, k] - logp[n, k] for k in unit)
            row -= beta * (math.exp(log_ratio) - log_ratio - 1)
        total += weights[n] / denominator * row / len(units)
    return -total


def test_known_answer_inside_the_clip_range() -> None:
    # rho = 1.1 and A = 2 -> J = 2.2; d(-J)/d logp = -rho A = -2.2.
    loss, gradient, metrics = loss_of([[math.log(0.55)]], [[math.log(0.5)]], [2.0])
    assert loss == pytest.approx(-2.2) and gradient.item() == pytest.approx(-2.2)
    assert metrics["clip_ratio/high"] == 0.0 and metrics["ratio_max"] == pytest.approx(1.1)
    assert metrics["entropy"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("rho", "advantage", "objective", "gradient", "low", "high"),
    [
        (1.5, 2.0, 1.2 * 2.0, 0.0, 0.0, 1.0),  # already likelier by half: clipped, no gradient
        (0.5, -2.0, 0.8 * -2.0, 0.0, 1.0, 0.0),  # already rarer by half: clipped, no gradient
        (0.5, 2.0, 0.5 * 2.0, -1.0, 0.0, 0.0),  # a good action made rarer is pulled back in full
        (1.5, -2.0, 1.5 * -2.0, 3.0, 0.0, 0.0),  # a bad action made likelier is pushed back in full
    ],
)
def test_known_answers_of_clipping(
    rho: float, advantage: float, objective: float, gradient: float, low: float, high: float
) -> None:
    loss, slope, metrics = loss_of([[math.log(rho) - 1.0]], [[-1.0]], [advantage], epsilon=0.2)
    assert loss == pytest.approx(-objective) and slope.item() == pytest.approx(gradient)
    assert (metrics["clip_ratio/low"], metrics["clip_ratio/high"]) == (low, high)


def test_the_upper_bound_can_be_wider() -> None:
    loss, _, metrics = loss_of([[math.log(1.5)]], [[0.0]], [2.0], epsilon=0.2, epsilon_high=0.28)
    assert loss == pytest.approx(-1.28 * 2.0) and metrics["clip_ratio/high"] == 1.0


def test_known_answer_of_the_kl_term() -> None:
    # pi_ref / pi = 2: k3 = 2 - log 2 - 1. At rho = 1 and A = 0 the loss is beta times that;
    # d k3 / d logp = 1 - pi_ref / pi = -1.
    loss, gradient, metrics = loss_of([[math.log(0.25)]], [[math.log(0.25)]], [0.0], ref=[[math.log(0.5)]], beta=0.1)
    assert metrics["kl"] == pytest.approx(1.0 - math.log(2.0))
    assert loss == pytest.approx(0.1 * (1.0 - math.log(2.0))) and gradient.item() == pytest.approx(-0.1)


def test_the_trust_region_is_the_divergence_from_the_policy_that_drew() -> None:
    """Of ten tokens drawn with (0.9, 0.1), nine are the first; k3's mean over them is the divergence itself."""
    for new in (0.6, 0.99, 0.9999):
        first, second = math.log(new), math.log(1 - new)
        logp, old = [[first]] * 9 + [[second]], [[math.log(0.9)]] * 9 + [[math.log(0.1)]]
        _, _, metrics = loss_of(logp, old, [0.0] * 10, beta=0.0)
        exact = 0.9 * (math.log(0.9) - first) + 0.1 * (math.log(0.1) - second)
        assert metrics["approx_kl"] == pytest.approx(exact)


def test_ratio_per_token_averages_and_per_action_multiplies() -> None:
    logp, old = [[math.log(1.1), math.log(0.9)]], [[0.0, 0.0]]
    assert loss_of(logp, old, [1.0], ratio="token")[0] == pytest.approx(-(1.1 + 0.9) / 2)
    assert loss_of(logp, old, [1.0], ratio="action")[0] == pytest.approx(-(1.1 * 0.9))


def test_tokens_that_never_ran_do_not_count() -> None:
    for ratio in ("token", "action"):
        loss, gradient, metrics = loss_of([[0.1, 9.0]], [[0.0, 0.0]], [1.0], mask=[[True, False]], ratio=ratio)
        assert loss == pytest.approx(-math.exp(0.1)) and gradient[0, 1] == 0.0
        assert metrics["ratio_max"] == pytest.approx(math.exp(0.1))


def test_a_reference_without_beta_is_refused_and_the_other_way_round() -> None:
    with pytest.raises(ValueError, match="left out"):
        loss_of([[0.0]], [[0.0]], [1.0], ref=[[0.0]])
    with pytest.raises(ValueError, match="given"):
        loss_of([[0.0]], [[0.0]], [1.0], beta=0.1)


def random_case(seed: int, rows: int = 9, tokens: int = 6) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    old = -rng.uniform(0.1, 2.0, (rows, tokens))
    mask = rng.random((rows, tokens)) < 0.8
    return {
        "logp": old + rng.normal(0, 0.3, old.shape),
        "old": old,
        "ref": old + rng.normal(0, 0.3, old.shape),
        "advantages": rng.normal(0, 1, rows),
        "mask": mask,
        "weights": rng.uniform(0.1, 1.0, rows),
    }


@pytest.mark.parametrize("ratio", ["token", "action"])
@pytest.mark.parametrize("seed", range(5))
def test_equals_an_independent_implementation(seed: int, ratio: Ratio) -> None:
    case = random_case(seed)
    options: dict[str, Any] = {"epsilon": 0.2, "epsilon_high": 0.28, "beta": 0.07, "ratio": ratio}
    loss, gradient, _ = loss_of(**case, denominator=3.0, **options)

    def at(logp: NDArray[np.float64]) -> float:
        values = {**case, "logp": logp}
        return reference_loss(**values, denominator=3.0, low=0.2, high=0.28, beta=0.07, per_action=ratio == "action")

    assert loss == pytest.approx(at(case["logp"]), rel=1e-12)
    slopes = np.zeros_like(case["logp"])
    for place in np.ndindex(slopes.shape):
        nudge = np.zeros_like(slopes)
        nudge[place] = 1e-6
        slopes[place] = (at(case["logp"] + nudge) - at(case["logp"] - nudge)) / 2e-6
    np.testing.assert_allclose(gradient.numpy(), slopes, atol=1e-8)


@pytest.mark.parametrize("ratio", ["token", "action"])
def test_micro_batches_of_any_size_add_up(ratio: Ratio) -> None:
    case = random_case(11)
    options = {"denominator": case["weights"].sum(), "beta": 0.07, "ratio": ratio}
    whole, gradient, metrics = loss_of(**case, **options)
    for cuts in ([1, 2], [4], [1, 2, 3, 4, 5, 6, 7, 8]):
        pieces = [
            loss_of(**{key: value[rows] for key, value in case.items()}, **options)
            for rows in np.split(np.arange(9), cuts)
        ]
        assert sum(piece[0] for piece in pieces) == pytest.approx(whole)
        torch.testing.assert_close(torch.cat([piece[1] for piece in pieces]), gradient)
        for key in metrics.keys() - {"ratio_max"}:
            assert sum(piece[2][key] for piece in pieces) == pytest.approx(metrics[key])
        assert max(piece[2]["ratio_max"] for piece in pieces) == pytest.approx(metrics["ratio_max"])


def test_an_absurd_ratio_stays_finite() -> None:
    loss, gradient, _ = loss_of([[300.0]], [[0.0]], [-1.0])
    assert math.isfinite(loss) and torch.isfinite(gradient).all()
