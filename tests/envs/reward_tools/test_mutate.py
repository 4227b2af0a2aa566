"""Mutation testing of the reward checks: the operators make the faults they name, and lint notices them."""

from __future__ import annotations

import collections

import pytest

from tests.helpers.kills import add_tables, format_table, kill_table
from tests.helpers.mutate import OPERATORS, killed_by_lint, mutants
from tgrpo_envs.bddl import Problem, read_problem
from tgrpo_envs.rewards import StageSpec, spec_from_goal
from tgrpo_envs.rewards.spec import spec_id
from tgrpo_envs.tasks import Task, bddl_path, get_task, list_tasks


def given(suite: str, index: int) -> tuple[StageSpec, Problem, Task]:
    task = get_task(suite, index)
    problem = read_problem(bddl_path(task))
    return spec_from_goal(problem, task), problem, task


def changed(kind: str, suite: str = "libero_object", index: int = 0) -> list[str]:
    return [mutant.where for mutant in mutants(*given(suite, index)) if mutant.kind == kind]


def test_mutants_are_distinct_valid_and_always_the_same() -> None:
    spec, problem, task = given("libero_10", 9)
    made = list(mutants(spec, problem, task))
    ids = [spec_id(mutant.spec) for mutant in made]
    assert len(set(ids)) == len(ids) and spec_id(spec) not in ids
    assert ids == [spec_id(mutant.spec) for mutant in mutants(spec, problem, task)]
    assert {mutant.kind for mutant in made} == set(OPERATORS) - {"maintain"}


def test_every_operator_makes_the_faults_it_names() -> None:
    """The compiled chain reach, grasp, lift, carry, place of one object, counted by hand."""
    assert changed("hold") == ["stages[1].hold_steps: 3 -> 1"]
    assert len(changed("effort")) == 5
    assert len([where for where in changed("order") if "dropped" in where]) == 2  # grasp and goal
    assert len([where for where in changed("order") if "reversed" in where]) == 4
    assert [where.split(":")[0] for where in changed("latch")] == [f"stages[{k}].latch" for k in range(4)]
    assert "stages[2].done.by_m: 0.05 -> 0.15" in changed("threshold")
    assert "stages[0].done.any[0].within_m: 0.05 -> 0.0167" not in changed("threshold"), "touching will do as well"
    assert "stages[1].done: grasped -> released" in changed("sign")
    assert changed("goal") == [] and changed("goal", "libero_10", 0) != []
    assert any(where.startswith("everywhere: alphabet_soup_1") for where in changed("instance"))
    assert changed("maintain", "libero_10", 8) == ["maintain[0]: dropped"]


def test_siblings_are_taken_first() -> None:
    assert any("akita_black_bowl_1 -> akita_black_bowl_2" in where for where in changed("instance", "libero_spatial"))


def test_what_lint_does_not_forbid_is_shown_to_the_dynamic_check() -> None:
    """A check that refuses all forbids all, warned of or not; one that accepts all leaves what lint passes over."""
    good = given("libero_goal", 3)
    lenient, strict = kill_table(*good, passes=lambda _: True), kill_table(*good, passes=lambda _: False)
    alone = kill_table(*good)
    for kind, count in lenient.items():
        assert count.survivors == alone[kind].survivors and count.by_check == 0
        assert strict[kind].by_check == count.by_warning + len(count.survivors)
        assert strict[kind].forbidden_frac == strict[kind].noticed_frac == 1.0
        assert count.total == count.by_error + count.by_warning + len(count.survivors)
        assert count.forbidden_frac == count.by_error / count.total
        assert count.noticed_frac == (count.by_error + count.by_warning) / count.total
    assert sum(count.by_warning for count in lenient.values()) > 0
    assert sum(len(count.survivors) for count in lenient.values()) > 0


def test_a_mutant_is_killed_by_what_the_original_does_not_have() -> None:
    spec, problem, task = given("libero_object", 0)
    by_kind = collections.defaultdict(list)
    for mutant in mutants(spec, problem, task):
        by_kind[mutant.kind].append(mutant)
    assert all(killed_by_lint(mutant, problem, task, warnings=False) for mutant in by_kind["sign"])
    assert not any(killed_by_lint(mutant, problem, task, warnings=False) for mutant in by_kind["hold"])
    assert all(killed_by_lint(mutant, problem, task) for mutant in by_kind["hold"])


def test_the_table_adds_up() -> None:
    table = add_tables(kill_table(*given("libero_object", index)) for index in range(2))
    last = format_table(table).splitlines()[-1].split("|")
    assert int(last[2].replace(",", "")) == sum(count.total for count in table.values())


@pytest.mark.slow
def test_lint_alone_notices_nearly_all_faults_of_the_compiled_specs() -> None:
    table = add_tables(kill_table(*given(task.suite, task.index)) for task in list_tasks())
    print(f"\n{format_table(table)}")
    survivors = sum(len(count.survivors) for count in table.values())
    assert survivors <= 0.05 * sum(count.total for count in table.values())
