"""One task for each skill of the expert, in the simulator; all the tasks it does, where time is no matter."""

from __future__ import annotations

import pytest

from tgrpo_envs.expert.measure import measure_expert

# Pull a drawer; push a door about its hinge; take a mug by its rim; stand a book in a compartment; turn a knob.
SKILLS = [("libero_goal", 0), ("libero_90", 33), ("libero_90", 65), ("libero_90", 77), ("libero_goal", 7)]
# Of the 121 tasks with a skill, at least so many are solved in four fifths of their episodes.
FEWEST_SOLVED = {"libero_spatial": 10, "libero_object": 10, "libero_goal": 8, "libero_10": 8, "libero_90": 78}


@pytest.mark.parametrize(("suite", "task"), SKILLS)
def test_each_skill_solves_a_task(suite: str, task: int) -> None:
    table = measure_expert(suite, [task], episodes=2, assets="primitive", progress=False)
    assert table.scores[0].successes == 2, str(table)


@pytest.mark.slow
@pytest.mark.parametrize("suite", list(FEWEST_SOLVED))
def test_it_solves_most_tasks(suite: str) -> None:
    table = measure_expert(suite, episodes=10, assets="primitive", progress=False)
    assert len(table.solved) >= FEWEST_SOLVED[suite], str(table)
