"""Binds a spec to a scene: names become snapshot rows, and each quantity that the spec asks for is computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tgrpo_envs.errors import SpecError
from tgrpo_envs.rewards.entities import Moment, Place, resolve
from tgrpo_envs.rewards.measures import Measure, MeasureTable, Readings
from tgrpo_envs.rewards.predicates import Goal, Predicate
from tgrpo_envs.rewards.spec import StageSpec
from tgrpo_envs.rewards.vocabulary import AllOf, Condition, Not, children, predicates_of
from tgrpo_envs.rewards.words import Word
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, SnapshotLayout

MIN_SPAN_M = 0.01  # a ramp that starts (almost) at its end would otherwise divide by (almost) zero

_Operator: TypeAlias = Callable[[BoolArray], BoolArray]


@dataclass(frozen=True, slots=True)
class Observation:
    """What a spec asks of one moment; P predicates, K stages, J `maintain` rules, N environments.

    Attributes:
        readings: The numbers behind predicates and ramps; `BoundSpec.readings_of` finds a word's.
        truth_PN: Whether each predicate holds.
        holds_KN: Whether each stage's `done` condition holds, before order and debouncing.
        allowed_KN: Whether each stage's `while` holds.
        maintained_JN: Whether each `maintain` condition holds.
        remaining_KN: What is left of each ramp, in its own unit (1 where a stage has no ramp).
        kept_N: Share of the progress that `maintain` leaves.
    """

    readings: Readings
    truth_PN: BoolArray
    holds_KN: BoolArray
    allowed_KN: BoolArray
    maintained_JN: BoolArray
    remaining_KN: FloatArray
    kept_N: FloatArray


class BoundSpec:
    """The conditions and ramps of a spec over one scene's snapshots.

    Attributes:
        predicates: The distinct predicates of the spec, in the order of `Observation.truth_PN`.
        goals: Goal conjuncts that the spec refers to.
    """

    def __init__(self, spec: StageSpec, layout: SnapshotLayout) -> None:
        """Resolve every name.

        Raises:
            UnknownNameError: The scene has no entity of a name the spec uses.
            SpecError: An entity is of the wrong kind for its op.
        """
        self._task, self._layout = spec.task.name, layout
        self._named: dict[str, Place] = {}
        self._measures: dict[Word, tuple[Measure, ...]] = {}
        self._rows: dict[Predicate, int] = {}
        stages = [(k, stage, f"stage {stage.id!r}") for k, stage in enumerate(spec.stages)]
        conditions = [(stage.done, where) for _, stage, where in stages]
        conditions += [(each, where) for _, stage, where in stages for each in stage.while_]
        conditions += [(rule.holds, f"maintain[{j}]") for j, rule in enumerate(spec.maintain)]
        for condition, where in conditions:
            for predicate in predicates_of(condition):
                self._measure(predicate, where)
                self._rows.setdefault(predicate, len(self._rows))
        self.predicates = tuple(self._rows)
        self._joins: dict[tuple[_Operator, tuple[int, ...]], int] = {}
        self._done_K = np.array([self._row(stage.done) for stage in spec.stages])
        self._while_K = np.array([self._join(_all, stage.while_) for stage in spec.stages])
        self._maintain_J = np.array([self._row(rule.holds) for rule in spec.maintain], dtype=np.int64)
        self._cost_J1 = np.array([[rule.cost_frac] for rule in spec.maintain]).reshape(-1, 1)
        self._steps = [(operator, np.array(rows, dtype=np.int64), row) for (operator, rows), row in self._joins.items()]
        self.goals = tuple(sorted(each.index for each in self.predicates if isinstance(each, Goal)))

        ramps = [(k, stage.ramp, where) for k, stage, where in stages if stage.ramp is not None]
        self._ramp_stages = [k for k, _, _ in ramps]
        self._ramp_spans = [ramp.span for _, ramp, _ in ramps]
        lists = [self._measures[each] for each in self.predicates]
        self._first_P = np.cumsum([0, *map(len, lists)])
        lists += [self._measure(ramp, where) for _, ramp, where in ramps]
        self._table = MeasureTable([measure for measures in lists for measure in measures])

    def measures(self, word: Word) -> tuple[Measure, ...]:
        """What a predicate or a ramp of the spec compares with what."""
        return self._measures[word]

    def rows(self, predicate: Predicate) -> slice:
        """Rows of a predicate's measures in `Observation.readings`."""
        row = self._rows[predicate]
        return slice(int(self._first_P[row]), int(self._first_P[row + 1]))

    def observe(self, moment: Moment) -> Observation:
        """Everything the spec asks of one moment.

        Raises:
            SpecError: The spec refers to a goal conjunct that the task does not have.
        """
        self.check_goal(moment.goal_NC.shape[1])
        readings = self._table.read(moment)
        num_measures, num_predicates = self._first_P[-1], len(self.predicates)
        truth_RN = np.empty((num_predicates + len(self._joins), len(moment.goal_NC)), dtype=bool)
        np.logical_and.reduceat(
            readings.holds_MN[:num_measures], self._first_P[:-1], axis=0, out=truth_RN[:num_predicates]
        )
        for operator, rows, row in self._steps:
            truth_RN[row] = operator(truth_RN.take(rows, axis=0))
        maintained_JN = truth_RN.take(self._maintain_J, axis=0)
        kept_N = np.ones(len(moment.goal_NC))
        if len(maintained_JN):
            kept_N = np.multiply.reduce(np.where(maintained_JN, 1.0, 1.0 - self._cost_J1))
        remaining_KN = np.ones((len(self._done_K), len(moment.goal_NC)))
        remaining_KN[self._ramp_stages] = np.maximum(-readings.room_MN[num_measures:], 0.0)
        return Observation(
            readings,
            truth_PN=truth_RN[:num_predicates],
            holds_KN=truth_RN.take(self._done_K, axis=0),
            allowed_KN=truth_RN.take(self._while_K, axis=0),
            maintained_JN=maintained_JN,
            remaining_KN=remaining_KN,
            kept_N=kept_N,
        )

    def check_goal(self, num_conjuncts: int) -> None:
        """Make sure that a task has the conjuncts that the spec refers to.

        Raises:
            SpecError: It has fewer.
        """
        if self.goals and self.goals[-1] >= num_conjuncts:
            missing = next(index for index in self.goals if index >= num_conjuncts)
            raise SpecError(
                f"The spec asks for goal conjunct {missing}, but the task {self._task!r} has "
                f"{num_conjuncts}, counted from 0; use an index below {num_conjuncts}."
            )

    def spans(self, remaining_KN: FloatArray) -> FloatArray:
        """Each ramp's full length in its own unit: its fixed span, or what remained at reset."""
        span_KN = np.ones_like(remaining_KN)
        for k, span in zip(self._ramp_stages, self._ramp_spans, strict=True):
            span_KN[k] = np.maximum(remaining_KN[k], MIN_SPAN_M) if span is None else span
        return span_KN

    def _row(self, condition: Condition) -> int:
        """Row of a condition in the table of truths: predicates, then what connectives make of earlier rows."""
        if isinstance(condition, Predicate):
            return self._rows[condition]
        operator = _not if isinstance(condition, Not) else _all if isinstance(condition, AllOf) else _any
        return self._join(operator, children(condition))

    def _join(self, operator: _Operator, conditions: Sequence[Condition]) -> int:
        rows = tuple(self._row(condition) for condition in conditions)
        if len(rows) == 1 and operator is not _not:
            return rows[0]
        return self._joins.setdefault((operator, rows), len(self._rows) + len(self._joins))

    def _measure(self, word: Word, where: str) -> tuple[Measure, ...]:
        if word not in self._measures:
            self._measures[word] = word.measures(dict(self._entities(word, where)))
        return self._measures[word]

    def _entities(self, word: Word, where: str) -> Iterator[tuple[str, Place]]:
        for field, allowed in word.entity_fields().items():
            name = getattr(word, field)
            if name not in self._named:
                self._named[name] = resolve(name, self._layout, where)
            place = self._named[name]
            if place.kind not in allowed.kinds:
                expected = " or ".join(sorted(allowed.kinds))
                raise SpecError(
                    f"In {where}, `{word.op}` needs a {expected} as {field!r}, but {name!r} is a {place.kind}; "
                    f"name a {expected} or use another op."
                )
            if allowed.jointed and len(place.joints) != 1:
                raise SpecError(
                    f"In {where}, `{word.op}` needs a part with one joint, but {name!r} has {len(place.joints)}; "
                    "name a drawer's region, a microwave or a stove."
                )
            yield field, place


def _all(truth_RN: BoolArray) -> BoolArray:
    """Whether all rows hold; true without any."""
    all_N: BoolArray = np.logical_and.reduce(truth_RN)
    return all_N


def _any(truth_RN: BoolArray) -> BoolArray:
    any_N: BoolArray = np.logical_or.reduce(truth_RN)
    return any_N


def _not(truth_RN: BoolArray) -> BoolArray:
    """Whether the one row does not hold."""
    not_N: BoolArray = ~truth_RN[0]
    return not_N
