"""Counts how many mutants of good specs the checks notice: lint errors, a dynamic check of the caller's, warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.helpers.mutate import Mutant, killed_by_lint, mutants
from tgrpo_envs.bddl import Problem
from tgrpo_envs.rewards.spec import StageSpec
from tgrpo_envs.tasks import Task
from tgrpo_envs.text_table import markdown

Passes = Callable[[StageSpec], bool]
"""A dynamic check: whether a spec passes, for instance whether its certificate does."""


@dataclass
class KillCount:
    """What became of the mutants of one kind.

    Attributes:
        total: Mutants made.
        by_error: Refused by a lint error.
        by_check: Without an error, but failed by the dynamic check.
        by_warning: Neither refused nor failed, but lint warns as it did not of the original: the spec may be used.
        survivors: Noticed by nothing: suite, task and change.
    """

    total: int = 0
    by_error: int = 0
    by_check: int = 0
    by_warning: int = 0
    survivors: list[str] = field(default_factory=list)

    @property
    def forbidden_frac(self) -> float:
        """Share of the mutants that may not be used, by an error or by the dynamic check; 1 of none."""
        return (self.by_error + self.by_check) / self.total if self.total else 1.0

    @property
    def noticed_frac(self) -> float:
        """Share of the mutants that were noticed, warnings included; 1 of none."""
        return 1.0 - len(self.survivors) / self.total if self.total else 1.0

    def add(self, other: KillCount) -> None:
        """Counts another lot into this one."""
        self.total += other.total
        self.by_error += other.by_error
        self.by_check += other.by_check
        self.by_warning += other.by_warning
        self.survivors += other.survivors


KillTable = dict[str, KillCount]


def kill_table(spec: StageSpec, problem: Problem, task: Task, passes: Passes | None = None) -> KillTable:
    """Try all mutants of one spec.

    Args:
        spec: A good spec.
        problem: The task's parsed BDDL file.
        task: The task.
        passes: The dynamic check, asked about every mutant that lint does not forbid; without it lint stands alone.
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
    rows = [("fault", "mutants", "lint error", "dynamic", "forbidden", "warning only", "survive", "noticed")]
    for kind, count in [*sorted(table.items()), ("all", every)]:
        caught = f"{count.total:,}", f"{count.by_error:,}", f"{count.by_check:,}", f"{count.forbidden_frac:.1%}"
        rows.append((kind, *caught, f"{count.by_warning:,}", f"{len(count.survivors):,}", f"{count.noticed_frac:.1%}"))
    return markdown(rows)


def _try(mutant: Mutant, problem: Problem, task: Task, passes: Passes | None) -> KillCount:
    if killed_by_lint(mutant, problem, task, warnings=False):
        return KillCount(total=1, by_error=1)
    if passes is not None and not passes(mutant.spec):
        return KillCount(total=1, by_check=1)
    if killed_by_lint(mutant, problem, task):
        return KillCount(total=1, by_warning=1)
    return KillCount(total=1, survivors=[f"{task.suite}/{task.name}: {mutant.kind} {mutant.where}"])
