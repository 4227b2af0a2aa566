"""How many faults in the shipped specs lint and certificate notice together; slow: it needs all tasks' evidence."""

from __future__ import annotations

import json
from functools import cache

import pytest

from tests.helpers.kills import KillTable, add_tables, format_table, kill_table
from tgrpo_envs.bddl import read_problem
from tgrpo_envs.reward_tools.certify.checks import quick_check
from tgrpo_envs.reward_tools.certify.record import load_evidence
from tgrpo_envs.rewards.shipped import certificate_path, shipped_spec
from tgrpo_envs.scene import load_scene
from tgrpo_envs.tasks import Task, bddl_path, list_tasks


def kills(task: Task, draw: int) -> KillTable:
    evidence = cache(lambda: load_evidence(load_scene(task, "primitive"), draw=draw))
    return kill_table(
        shipped_spec(task, "llm"), read_problem(bddl_path(task)), task, lambda spec: quick_check(spec, evidence())
    )


@pytest.mark.slow
def test_lint_and_certificate_notice_nearly_all_faults_of_the_certified_specs() -> None:
    papers = [(task, json.loads(certificate_path(task, "llm").read_text())) for task in list_tasks()]
    certified = [(task, paper["evidence"].get("draw", 0)) for task, paper in papers if paper["verdict"] == "passed"]
    table = add_tables(kills(task, draw) for task, draw in certified)
    print(f"\n{len(certified)} specs\n{format_table(table)}")
    survivors = sum(len(count.survivors) for count in table.values())
    assert survivors <= 0.05 * sum(count.total for count in table.values())
