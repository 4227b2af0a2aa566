"""Counts how many mutants of good specs the checks notice: lint first, then a dynamic check of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tgrpo_envs.bddl import Problem
from tgrpo_envs.rewards.mutate import Mutant, killed_by_lint, mutants
from tgrpo_envs.rewards.spec import StageSpec
from tgrpo_envs.tasks import Task

Passes = Callable[[StageSpec], bool]
"""A dynamic check: whether a spec passes, for instance whether its certificate does."""


@dataclass
class KillCount:
    """What became of the mutants of one kind.

    Attributes:
        total: Mutants made.
        by_error: Refused by a lint error.
        by_warning: Not refused, but lint warns as it did not of the original.
        by_check: Passed over by lint, failed by the dynamic check.
        survivors: Noticed by nothing: suite, task and change.
    """

    total: int = 0
    by_error: int = 0
    by_warning: int = 0
    by_check: int = 0
    survivors: list[str] = field(default_factory=list)

    @property
    def killed_frac(self) -> float:
        """Share of the mutants that were noticed; 1 of none."""
        return 1.0 - len(self.survivors) / self.total if self.total else 1.0

    def add(self, other: KillCount) -> None:
        """Counts another lot into this one."""
        self.total += other.total
        self.by_error += other.by_error
        self.by_warning += other.by_warning
        self.by_check += other.by_check
        self.survivors += other.survivors


KillTable = dict[str, KillCount]


def kill_table(spec: StageSpec, problem: Problem, task: Task, passes: Passes | None = None) -> KillTable:
    """Try all mutants of one spec.

    Args:
        spec: A good spec.
        problem: The task's parsed BDDL file.
        task: The task.
        passes: The dynamic check, asked only about mutants that lint passes over; without it lint stands alone.
    """
    table: KillTable = {}
    for mutant in mutants(spec, problem, task):
        table.setdefault(mutant.kind, KillCount()).add(_try(mutant, problem, task, passes))
    return table


def add_tables(tables: Iterable[KillTable]) -> KillTable:
    """The sum over several specs."""
    total: KillTable = {}
    for table in tables:
        for kind, count in table.items():
            total.setdefault(kind, KillCount()).add(count)
    return total


def format_table(table: KillTable) -> str:
    """A Markdown table, one row per kind and one for all."""
    every = KillCount()
    for count in table.values():
        every.add(count)
    lines = [
        "| fault | mutants | lint error | lint warning | dynamic | survive | killed |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, count in [*sorted(table.items()), ("all", every)]:
        numbers = (count.total, count.by_error, count.by_warning, count.by_check, len(count.survivors))
        lines.append(f"| {kind} | {' | '.join(f'{n:,}' for n in numbers)} | {count.killed_frac:.1%} |")
    return "\n".join(lines)


def _try(mutant: Mutant, problem: Problem, task: Task, passes: Passes | None) -> KillCount:
    if killed_by_lint(mutant, problem, task, warnings=False):
        return KillCount(total=1, by_error=1)
    if killed_by_lint(mutant, problem, task):
        return KillCount(total=1, by_warning=1)
    if passes is not None and not passes(mutant.spec):
        return KillCount(total=1, by_check=1)
    return KillCount(total=1, survivors=[f"{task.suite}/{task.name}: {mutant.kind} {mutant.where}"])
