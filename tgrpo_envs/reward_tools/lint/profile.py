"""Lint error E12: the operator's profile keeps every success above every failure, for a learner that discounts too."""

from __future__ import annotations

from tgrpo_envs.reward_tools.lint.finding import Fault, Faults
from tgrpo_envs.rewards.credit import CreditProfile, largest_beta


def too_much_for_failures(profile: CreditProfile, horizon: int) -> Faults:
    """`beta` is below discount^(horizon - 1); in mode `pbrs`, which orders nothing, it may be anything below 1.

    Catches: a discounting learner for whom a long success is worth less than a good failure.
    Example: `beta` 0.5 with discount 0.99 and 280 control steps, where the bound is 0.06.
    """
    bound = largest_beta(profile.discount, horizon)
    if profile.mode != "pbrs" and profile.pay >= bound:
        yield Fault(
            "profile.beta",
            f"{profile.pay:g}",
            f"below {bound:.3g}",
            f"discounted by {profile.discount:g} over {horizon} steps a success may be worth less than a failure",
            "lower beta or raise the discount",
        )
