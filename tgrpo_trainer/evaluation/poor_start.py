"""Warns when a run starts from a policy that hardly ever succeeds, and says what to do."""

from __future__ import annotations

from collections.abc import Sequence

from tgrpo_trainer.config import SftConfig
from tgrpo_trainer.evaluation.result import Evaluation, pool

POOR_RATE = 0.10
"""Held-out success before TGRPO below which the start is called poor."""
MIN_EPISODES = 10
"""Fewer episodes say too little about it."""


def poor_start(evaluations: Sequence[Evaluation], config: SftConfig) -> str | None:
    """A warning, if the evaluation before the first iteration calls for one.

    Args:
        evaluations: Of the run; only held-out ones of iteration 0 count, over all tasks, and of greedy and sampled the
            lower.
        config: How the start was cloned.
    """
    first = [
        one
        for one in pool(evaluations)
        if one.iteration == 0 and one.states == "heldout" and one.num_episodes >= MIN_EPISODES
    ]
    lowest = min(first, key=lambda one: one.success_rate, default=None)
    if lowest is None or lowest.success_rate >= POOR_RATE:
        return None
    if config.max_steps == 0:
        cure = "from a better policy (--policy.checkpoint)"
    elif config.demonstrations:
        cure = "from a file of more demonstrations (--sft.demonstrations)"
    else:
        cure = f"with more demonstrations (--sft.num-demos, now {config.num_demos})"
    if config.max_steps:
        cure += f" or more cloning steps (--sft.max-steps, now {config.max_steps})"
    return (
        f"The start is poor: {lowest.states}, {lowest.mode}: {lowest}, below {POOR_RATE:.0%}. TGRPO learns from "
        f"successes beside failures, and will see few; rather start anew {cure}."
    )
