"""A start that hardly succeeds is called poor, with what to do; one that nobody can judge is not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.synthetic_run import make_evaluation
from tgrpo_trainer.config import SftConfig
from tgrpo_trainer.evaluation.poor_start import poor_start
from tgrpo_trainer.evaluation.result import StateSet


@pytest.mark.parametrize(
    ("iteration", "states", "counts", "is_poor"),
    [
        (0, "heldout", (1, 60), True),
        (0, "heldout", (5, 60), True),
        (0, "heldout", (6, 60), False),  # 10 % is not below 10 %
        (0, "heldout", (0, 9), False),  # too few to tell
        (0, "heldout", (0, 10), True),
        (0, "official", (0, 50), False),
        (10, "heldout", (0, 60), False),
    ],
)
def test_where_the_line_is(iteration: int, states: StateSet, counts: tuple[int, int], is_poor: bool) -> None:
    said = poor_start([make_evaluation(iteration, states, "greedy", *counts)], SftConfig())
    assert (said is not None) == is_poor


def test_the_lower_of_greedy_and_sampled_counts() -> None:
    greedy, sampled = make_evaluation(0, "heldout", "greedy", 30, 60), make_evaluation(0, "heldout", "sampled", 1, 60)
    said = poor_start([greedy, sampled], SftConfig())
    assert said is not None and "heldout, sampled: 1/60 = 2% [0%, 9%], below 10%" in said


@pytest.mark.parametrize(
    ("settings", "cure"),
    [
        ({}, "more demonstrations (--sft.num-demos, now 10) or more cloning steps (--sft.max-steps, now 600)"),
        ({"demonstrations": "a.hdf5"}, "a file of more demonstrations (--sft.demonstrations) or more cloning steps"),
        ({"max_steps": 0}, "from a better policy (--policy.checkpoint)."),
    ],
)
def test_what_to_do_depends_on_where_the_start_came_from(settings: dict[str, Any], cure: str) -> None:
    said = poor_start([make_evaluation(0, "heldout", "greedy", 0, 60)], SftConfig(**settings))
    assert said is not None and cure in said
