"""Mutation testing of reward checks: specs with one deliberate fault each, and the share of them that is noticed.

`mutants` breaks a good spec in every way it knows, one at a time. What changes nothing that matters is left out by
construction: thresholds move by a factor of three and only where they are not one alternative among several, an edge
goes only if nothing else keeps the order, a stage only if the plan needs it, a latch only where it can be told from
its opposite. `docs/reference/checks.md`, section "Mutation testing", says why each is a fault.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from tests.helpers.edits import (
    Document,
    Edit,
    lopsided,
    renaming,
    reversed_edge,
    setting,
    without_edge,
    without_rule,
    without_stage,
)
from tgrpo_envs.bddl import Problem
from tgrpo_envs.reward_tools.lint import lint_spec
from tgrpo_envs.reward_tools.lint.case import Case
from tgrpo_envs.rewards.entities import GRIPPER, REGION
from tgrpo_envs.rewards.handles import find_handle
from tgrpo_envs.rewards.predicates import Actuated, Goal, Grasped
from tgrpo_envs.rewards.spec import StageSpec, predecessors, spec_id
from tgrpo_envs.rewards.vocabulary import MODELS
from tgrpo_envs.rewards.words import SpecModel
from tgrpo_envs.tasks import Task

FACTOR = 3.0
MIN_EFFECT = 2.0  # a threshold that its range does not let move by this factor is left alone
TIGHTENED = ("within_m", "xy_within_m", "by_m", "to_m", "min_frac")
"""Thresholds of where an object is or a joint goes; tolerances of lean, speed and margins are matters of taste."""
MIN_CHANGE_M = 0.03  # the end of a ramp may move by less without harm: finishing pays a tenth of the stage anyway
OPPOSITE = {"open": "close", "close": "open", "on": "off", "off": "on"}
COUNTERPARTS = {"grasped": "released", "touching": "released"}


@dataclass(frozen=True)
class Mutant:
    """A spec with one fault.

    Attributes:
        kind: One of `OPERATORS`.
        where: The place and the change, in words.
        spec: The faulty spec.
        original: The spec it was made from.
    """

    kind: str
    where: str
    spec: StageSpec
    original: StageSpec


def mutants(spec: StageSpec, problem: Problem, task: Task) -> Iterator[Mutant]:
    """Every mutant of a spec, always the same ones in the same order; those that the schema refuses do not exist."""
    case = Case(spec, problem, task)
    seen = {spec_id(spec)}
    for kind, operator in OPERATORS.items():
        for where, edit in operator(case):
            document = json.loads(spec.model_dump_json(by_alias=True))
            edit(document)
            mutant = _read(document)
            if mutant is not None and spec_id(mutant) not in seen:
                seen.add(spec_id(mutant))
                yield Mutant(kind, where, mutant, spec)


def killed_by_lint(mutant: Mutant, problem: Problem, task: Task, *, warnings: bool = True) -> bool:
    """Whether lint says something about the mutant that it does not say about the original.

    Args:
        mutant: The faulty spec.
        problem: The task's parsed BDDL file.
        task: The task.
        warnings: Warnings count, too; else only errors, which forbid a spec.
    """
    known = {(finding.code, finding.path) for finding in lint_spec(mutant.original, problem, task)}
    return any(
        (finding.code, finding.path) not in known and (warnings or finding.is_error)
        for finding in lint_spec(mutant.spec, problem, task)
    )


def _read(document: Document) -> StageSpec | None:
    try:
        return StageSpec.model_validate_json(json.dumps(document))
    except ValidationError:
        return None


# --- Operators: pairs of a description and an edit -----------------------------------------------------------------


Edits = Iterator[tuple[str, Edit]]


def _goals(case: Case) -> Edits:
    """Another conjunct of the goal, where there is one."""
    for use in case.uses:
        if isinstance(use.word, Goal):
            for index in range(len(case.goal)):
                if index != use.word.index:
                    yield f"{use.path}.index: {use.word.index} -> {index}", setting(f"{use.path}.index", index)


def _instances(case: Case) -> Edits:
    """Another thing of the same kind: in one place, and throughout."""
    everywhere: dict[str, str] = {}
    for use in case.uses:
        for field, name in use.names.items():
            for other in _substitutes(case, name):
                everywhere.setdefault(name, other)
                yield f"{use.path}.{field}: {name} -> {other}", setting(f"{use.path}.{field}", other)
    for name, other in everywhere.items():
        yield f"everywhere: {name} -> {other}", renaming(name, other)


def _substitutes(case: Case, name: str) -> list[str]:
    """The instance most easily taken for this one, and the first other one of its kind."""
    kinds = case.entities.kinds
    alike = sorted(case.entities.siblings(name) - {GRIPPER})
    others = sorted(other for other, kind in kinds.items() if kind == kinds[name] and other != name)
    if kinds[name] == REGION:  # a drawer is one only among drawers
        others = [other for other in others if bool(find_handle(other)) == bool(find_handle(name))]
    return list(dict.fromkeys([*alike[:1], *[other for other in others if other not in alike][:1]]))


def _signs(case: Case) -> Edits:
    """The opposite: other direction, other truth, the opposite word."""
    for use in case.uses:
        op, toward = use.word.op, getattr(use.word, "toward", None)
        if toward is not None:
            yield f"{use.path}.toward: {toward} -> {OPPOSITE[toward]}", setting(f"{use.path}.toward", OPPOSITE[toward])
        if use.role != "ramp" and not use.optional:
            negated = {"not": use.word.model_dump(mode="json", by_alias=True)}
            yield f"{use.path}: not {op}", setting(use.path, negated)
        if op in COUNTERPARTS and not use.optional:
            word = {"op": COUNTERPARTS[op], "a": use.names["a"]}
            yield f"{use.path}: {op} -> {COUNTERPARTS[op]}", setting(use.path, word)


def _thresholds(case: Case) -> Edits:
    """Three times as much and a third of it, within the word's range; of alternatives only more, which weakens."""
    for use in case.uses:
        for field in TIGHTENED:
            value = getattr(use.word, field, None)
            for factor in (FACTOR, 1 / FACTOR):
                if not value or (use.optional and factor < 1):
                    continue
                low, high = _range(MODELS[use.word.op], field)
                moved = round(min(max(value * factor, low), high), 4)
                harmless = use.role == "ramp" and abs(moved - value) < MIN_CHANGE_M
                if not harmless and max(moved, value) >= MIN_EFFECT * min(moved, value):
                    yield f"{use.path}.{field}: {value:g} -> {moved:g}", setting(f"{use.path}.{field}", moved)


def _orders(case: Case) -> Edits:
    """An edge removed or reversed; a stage dropped that the plan cannot do without."""
    direct = predecessors(case.spec)
    for k, before in enumerate(direct):
        for p in before:
            others = [q for q in before if q != p]
            if any(p in case.before[q] for q in others):
                continue
            names = f"{case.spec.stages[p].id} -> {case.spec.stages[k].id}"
            yield f"stages[{k}].after: without {names}", without_edge(k, p)
            yield f"stages[{k}].after: reversed {names}", reversed_edge(k, p)
    for k, stage in enumerate(case.spec.stages):
        needed = isinstance(stage.done, Goal | Grasped | Actuated)
        if needed and len(case.spec.stages) > 1:
            yield f"stages[{k}]: dropped {stage.id}", without_stage(k)


def _latches(case: Case) -> Edits:
    """The other latch; not of a lone goal, at which the episode ends, nor of a first touch or an opened door."""
    for k, stage in enumerate(case.spec.stages):
        lone_goal = isinstance(stage.done, Goal) and len(case.goal) == 1
        by_touch = all(use.word.op == "touching" for use in case.demanded(k)) and any(case.demanded(k))
        if not lone_goal and not isinstance(stage.done, Actuated) and not by_touch:
            other = "live" if stage.latch == "once" else "once"
            yield f"stages[{k}].latch: {stage.latch} -> {other}", setting(f"stages[{k}].latch", other)


def _holds(case: Case) -> Edits:
    """No debouncing."""
    for k, stage in enumerate(case.spec.stages):
        if stage.hold_steps > 1:
            yield f"stages[{k}].hold_steps: {stage.hold_steps} -> 1", setting(f"stages[{k}].hold_steps", 1)


def _efforts(case: Case) -> Edits:
    """One stage weighs as much as it can, all others as little as they can."""
    for k, stage in enumerate(case.spec.stages):
        if len(case.spec.stages) > 1:
            yield f"stages[{k}].effort: 5, all others 1 ({stage.id})", lopsided(k)


def _maintains(case: Case) -> Edits:
    """A rule less."""
    for j in range(len(case.spec.maintain)):
        yield f"maintain[{j}]: dropped", without_rule(j)


OPERATORS: dict[str, Callable[[Case], Edits]] = {
    "goal": _goals,
    "instance": _instances,
    "sign": _signs,
    "threshold": _thresholds,
    "order": _orders,
    "latch": _latches,
    "hold": _holds,
    "effort": _efforts,
    "maintain": _maintains,
}


def _range(model: type[SpecModel], field: str) -> tuple[float, float]:
    """The range of a number, from the vocabulary itself."""
    bounds = model.model_fields[field].metadata
    return (
        next(bound.ge for bound in bounds if hasattr(bound, "ge")),
        next(bound.le for bound in bounds if hasattr(bound, "le")),
    )
