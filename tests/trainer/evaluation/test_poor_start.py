"""A start that hardly succeeds is called poor, with what to do; one that nobody can judge is not."""

from __future__ import annotations

import pytest

from tests.helpers.synthetic_run import make_evaluation
from tgrpo_trainer.config import SftConfig
from tgrpo_trainer.evaluation.poor_start import poor_start


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
def test_where_the_line_is(iteration, states, counts, is_poor):
    said = poor_start([make_evaluation(iteration, states, "greedy", *counts)], SftConfig())
    assert (said is not None) == is_poor


def test_the_lower_of_greedy_and_sampled_counts():
    greedy, sampled = make_evaluation(0, "heldout", "greedy", 30, 60), make_evaluation(0, "heldout", "sampled", 1, 60)
    assert "heldout, sampled: 1/60 = 2% [0%, 9%], below 10%" in poor_start([greedy, sampled], SftConfig())


@pytest.mark.parametrize(
    ("settings", "cure"),
    [
        ({}, "more demonstrations (--sft.num-demos, now 10) or more cloning steps (--sft.max-steps, now 600)"),
        ({"demonstrations": "a.hdf5"}, "a file of more demonstrations (--sft.demonstrations) or more cloning steps"),
        ({"max_steps": 0}, "from a better policy (--policy.checkpoint)."),
    ],
)
def test_what_to_do_depends_on_where_the_start_came_from(settings, cure):
    assert cure in poor_start([make_evaluation(0, "heldout", "greedy", 0, 60)], SftConfig(**settings))
