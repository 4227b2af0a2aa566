"""A spec laid out for the rules: every word with its path and its stage, and which goals each stage leads to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from tgrpo_envs.bddl import Conjunct, Problem
from tgrpo_envs.reward_tools.lint.entities import Entities
from tgrpo_envs.rewards.predicates import Goal, Predicate
from tgrpo_envs.rewards.ramps import Ramp
from tgrpo_envs.rewards.spec import StageSpec, predecessors, topological_order
from tgrpo_envs.rewards.vocabulary import KINDS, AllOf, AnyOf, Condition, Not, children
from tgrpo_envs.tasks import Task


@dataclass(frozen=True)
class Use:
    """One atom or ramp in a spec.

    Attributes:
        word: The atom or ramp.
        path: Its place in the file.
        role: ``done``, ``while``, ``ramp`` or ``maintain``.
        stage: Row of its stage, -1 in `maintain`.
        negated: Under an odd number of `not`.
        optional: One of several alternatives of an `any`.
    """

    word: Predicate | Ramp
    path: str
    role: str
    stage: int
    negated: bool = False
    optional: bool = False

    @property
    def names(self) -> dict[str, str]:
        """Entities by field, ``a`` and ``b``."""
        return {field: getattr(self.word, field) for field in KINDS[self.word.op]}

    @property
    def is_demanded(self) -> bool:
        """The word must hold for its condition to hold."""
        return not self.negated and not self.optional


@dataclass(frozen=True)
class Case:
    """A spec with the task it was written for."""

    spec: StageSpec
    problem: Problem
    task: Task

    @cached_property
    def entities(self) -> Entities:
        """The names of the task's scene."""
        return Entities(self.problem)

    @property
    def goal(self) -> tuple[Conjunct, ...]:
        """The goal's conjuncts."""
        return self.problem.goal

    @cached_property
    def uses(self) -> tuple[Use, ...]:
        """Every atom and ramp, in the file's order."""
        found: list[Use] = []
        for k, stage in enumerate(self.spec.stages):
            where = f"stages[{k}]"
            for i, condition in enumerate(stage.while_):
                found += _walk(condition, f"{where}.while[{i}]", "while", k)
            if stage.ramp is not None:
                found.append(Use(stage.ramp, f"{where}.ramp", "ramp", k))
            found += _walk(stage.done, f"{where}.done", "done", k)
        for j, maintain in enumerate(self.spec.maintain):
            found += _walk(maintain.holds, f"maintain[{j}].holds", "maintain", -1)
        return tuple(found)

    def demanded(self, stage: int, role: str = "done") -> Iterator[Use]:
        """Atoms that must hold for a stage's `done` or `while` to hold."""
        return (use for use in self.uses if use.stage == stage and use.role == role and use.is_demanded)

    @cached_property
    def before(self) -> tuple[frozenset[int], ...]:
        """All stages that must be completed before each stage, near and far."""
        direct = predecessors(self.spec)
        found: list[frozenset[int]] = [frozenset()] * len(direct)
        for k in topological_order(self.spec):
            found[k] = frozenset(direct[k]).union(*(found[p] for p in direct[k]))
        return tuple(found)

    @cached_property
    def goal_stages(self) -> dict[int, list[int]]:
        """Stages by the goal conjunct that is their whole `done`."""
        found: dict[int, list[int]] = {}
        for k, stage in enumerate(self.spec.stages):
            if isinstance(stage.done, Goal):
                found.setdefault(stage.done.index, []).append(k)
        return found

    @cached_property
    def serves(self) -> tuple[frozenset[int], ...]:
        """The goal conjuncts each stage leads to first: ways on from a goal's stage belong to the next goal."""
        direct = predecessors(self.spec)
        found: list[set[int]] = [set() for _ in direct]
        for k in reversed(topological_order(self.spec)):
            done = self.spec.stages[k].done
            if isinstance(done, Goal):
                found[k] = {done.index} if done.index < len(self.goal) else set()
            for p in direct[k]:
                found[p] |= found[k]
        return tuple(map(frozenset, found))

    def conjuncts(self, stage: int) -> tuple[Conjunct, ...]:
        """The goals that a stage leads to; all goals for `maintain` and for stages that lead nowhere."""
        indices = self.serves[stage] if stage >= 0 else frozenset[int]()
        return tuple(self.goal[i] for i in sorted(indices)) if indices else self.goal


def _walk(
    condition: Condition, path: str, role: str, stage: int, *, negated: bool = False, optional: bool = False
) -> Iterator[Use]:
    """The atoms of a condition, each with the connectives it stands under."""
    if isinstance(condition, Not):
        yield from _walk(condition.negated, f"{path}.not", role, stage, negated=not negated, optional=optional)
    elif isinstance(condition, AllOf | AnyOf):
        word, parts = ("all" if isinstance(condition, AllOf) else "any"), children(condition)
        # Under `not`, all and any change places.
        optional = optional or (len(parts) > 1 and (word == "any") != negated)
        for i, part in enumerate(parts):
            yield from _walk(part, f"{path}.{word}[{i}]", role, stage, negated=negated, optional=optional)
    else:
        yield Use(condition, path, role, stage, negated, optional)
