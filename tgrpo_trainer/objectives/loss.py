"""The clipped surrogate with a KL term as a loss: token log-probabilities in, one scalar and its measurements out.

    J = 1/N sum_i 1/T_i sum_t ( min(rho A, clip(rho, 1 - epsilon, 1 + epsilon_high) A) - beta * k3(pi_ref, pi) )
    rho = pi / pi_old         k3 = pi_ref / pi - log(pi_ref / pi) - 1            loss = -J

The row weights 1/(N T_i) and the sum they are divided by are arguments, never computed from the rows at hand. So a
minibatch may be cut into micro-batches (or spread over machines) of any size: their losses and metrics add up to the
whole's, and so do the gradients.

TGRPO's epsilon and beta are unknown. Its ratio is one per time step; whether that means one per action token or one
per action is open, so both are here.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Ratio = Literal["token", "action"]

MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped to this magnitude, so that exp cannot overflow; clipping has long stopped the gradient there
wherever it limits at all."""


def clipped_loss(
    logp_NK: Tensor,
    old_logp_NK: Tensor,
    ref_logp_NK: Tensor | None,
    advantages_N: Tensor,
    mask_NK: Tensor,
    weights_N: Tensor,
    *,
    denominator: float,
    entropy_NK: Tensor,
    epsilon: float = 0.2,
    epsilon_high: float | None = None,
    beta: float = 0.0,
    ratio: Ratio = "token",
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of some rows of a minibatch.

    Args:
        logp_NK: Log-probabilities under the policy being optimised, with gradients.
        old_logp_NK: The same tokens under the policy that drew them.
        ref_logp_NK: The same tokens under the reference policy; None exactly when beta is 0.
        advantages_N: Advantage of each decision, shared by its tokens.
        mask_NK: Bool, tokens that count; each row averages over its own.
        weights_N: Share of each decision in the objective, 1 / (N T_i).
        denominator: Sum of the weights of the whole minibatch, over all micro-batches and machines.
        entropy_NK: Entropy of each token's distribution; only measured.
        epsilon: Lower clip range.
        epsilon_high: Upper clip range; None takes epsilon.
        beta: Weight of the KL term.
        ratio: "token": one ratio per token, averaged over the row's tokens. "action": one ratio per decision, the
            product over its tokens; the KL term then compares whole decisions too.

    Returns:
        The loss, and detached metrics. All but `ratio_max` (a maximum) are weighted sums that add up over
        micro-batches: `policy_loss`, `kl` (to the reference), `entropy`, `approx_kl` (from the policy that drew),
        `clip_ratio/low` and `clip_ratio/high` (shares held back by the lower and the upper bound).

    Raises:
        ValueError: ref_logp_NK is missing although beta is above 0, or given although it is 0.
    """
    if (ref_logp_NK is None) != (beta == 0.0):
        needed = "left out" if beta == 0.0 else "given"
        raise ValueError(f"beta is {beta}, so reference log-probabilities must be {needed}.")
    mask_NU = mask_NK if ratio == "token" else mask_NK.any(1, keepdim=True)
    share_NU = _share(mask_NU, weights_N, denominator).to(logp_NK.dtype)

    log_ratio_NU = _log_ratio(logp_NK, old_logp_NK, mask_NK, ratio)
    ratio_NU = log_ratio_NU.exp()
    upper = 1.0 + (epsilon if epsilon_high is None else epsilon_high)
    advantages_N1 = advantages_N[:, None].to(logp_NK.dtype)
    surrogate_NU = torch.minimum(ratio_NU * advantages_N1, ratio_NU.clamp(1.0 - epsilon, upper) * advantages_N1)
    policy_loss = -(share_NU * surrogate_NU).sum()
    kl = torch.zeros_like(policy_loss)
    if ref_logp_NK is not None:
        kl = (share_NU * _k3(_log_ratio(ref_logp_NK, logp_NK, mask_NK, ratio))).sum()

    with torch.no_grad():
        token_share_NK = _share(mask_NK, weights_N, denominator)
        metrics = {
            "policy_loss": policy_loss.detach(),
            "kl": kl.detach(),
            "entropy": (token_share_NK * entropy_NK).sum(),
            # The tokens are the drawing policy's, so that one comes first: KL(old, new).
            "approx_kl": (share_NU * _k3(log_ratio_NU)).sum(),
            "clip_ratio/low": (share_NU * ((ratio_NU < 1.0 - epsilon) & (advantages_N1 < 0))).sum(),
            "clip_ratio/high": (share_NU * ((ratio_NU > upper) & (advantages_N1 > 0))).sum(),
            "ratio_max": ratio_NU[mask_NU].max() if mask_NU.any() else ratio_NU.new_zeros(()),
        }
    return policy_loss + beta * kl, metrics


def sampling_gap(
    logp_NK: Tensor, sampled_logp_NK: Tensor, mask_NK: Tensor, weights_N: Tensor, *, denominator: float
) -> dict[str, Tensor]:
    """How far two scores of the same tokens under one policy are apart: when drawn, and in the pass that learns.

    Args:
        logp_NK: In the pass that learns, without gradients.
        sampled_logp_NK: When they were drawn.
        mask_NK: Bool, tokens that count.
        weights_N: As of `clipped_loss`.
        denominator: As of `clipped_loss`.

    Returns:
        `sampling_logp_gap`, the mean absolute difference, which adds up over micro-batches; `sampling_ratio_min` and
        `sampling_ratio_max`, the extremes of learning over drawing probability (without tokens infinity and 0).
    """
    difference_NK = logp_NK - sampled_logp_NK
    ratio = difference_NK[mask_NK].exp()
    some = len(ratio) > 0
    return {
        "sampling_logp_gap": (_share(mask_NK, weights_N, denominator) * difference_NK.abs()).sum(),
        "sampling_ratio_min": ratio.min() if some else ratio.new_full((), torch.inf),
        "sampling_ratio_max": ratio.max() if some else ratio.new_zeros(()),
    }


def _share(mask_NU: Tensor, weights_N: Tensor, denominator: float) -> Tensor:
    """Each unit's part of its row's share of the objective."""
    return mask_NU * (weights_N / denominator / mask_NU.sum(1).clamp(min=1))[:, None]


def _log_ratio(numerator_NK: Tensor, denominator_NK: Tensor, mask_NK: Tensor, ratio: Ratio) -> Tensor:
    """log(numerator / denominator) per unit: each token (N, K), or the whole decision (N, 1)."""
    difference_NK = (numerator_NK - denominator_NK).masked_fill(~mask_NK, 0.0)
    difference_NU = difference_NK if ratio == "token" else difference_NK.sum(1, keepdim=True)
    return difference_NU.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def _k3(log_ratio: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(pi, other) from log(other / pi) at samples of pi: never negative, low variance."""
    return log_ratio.exp() - log_ratio - 1.0
