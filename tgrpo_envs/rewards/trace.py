"""Follows a spec through a recorded episode and keeps everything the tracker saw: the ground for explanations.

Everything is the tracker's own verdict of each moment; nothing is judged or measured twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import numpy as np

from tgrpo_envs.rewards.bind import BoundSpec, Observation
from tgrpo_envs.rewards.credit import CreditProfile
from tgrpo_envs.rewards.measures import Readings, Relation, Unit
from tgrpo_envs.rewards.predicates import Predicate
from tgrpo_envs.rewards.rescore import follow
from tgrpo_envs.rewards.spec import StageSpec
from tgrpo_envs.rewards.stages import Verdict
from tgrpo_envs.rewards.tracker import StageReport, StageTracker
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout

_Record = TypeVar("_Record", Verdict, Observation, Readings)


@dataclass(frozen=True, slots=True)
class Reading:
    """One number behind a predicate, at each of M moments; see `measures.Measure`."""

    name: str
    unit: Unit
    relation: Relation
    limit_M: FloatArray
    value_M: FloatArray


@dataclass(frozen=True, slots=True)
class PredicateTrace:
    """A predicate of the spec, whether it held, and the numbers behind it."""

    predicate: Predicate
    truth_M: BoolArray
    readings: tuple[Reading, ...]


@dataclass(frozen=True)
class Trace:
    """All that a spec made of an episode's M = T + 1 moments; moment 0 is the reset.

    Attributes:
        spec: The K stages.
        profile: How progress was paid.
        horizon: Most control steps of the episode.
        share_K: Progress each stage is worth; 0 for those done at reset.
        span_K: Full length of each ramp, in its unit.
        ramp_units: Unit of each stage's ramp, empty where it has none.
        verdict: The tracker's verdicts, with the moments on the axis N.
        predicates: The distinct predicates, in order of first use.
        progress_M: Progress phi.
        best_M: Best progress so far, M.
        psi_M: Paid progress psi.
        reward_M: Reward; 0 at reset.
        goal_MC: Truth of each conjunct of the goal.
    """

    spec: StageSpec
    profile: CreditProfile
    horizon: int
    share_K: FloatArray
    span_K: FloatArray
    ramp_units: tuple[str, ...]
    verdict: Verdict
    predicates: tuple[PredicateTrace, ...]
    progress_M: FloatArray
    best_M: FloatArray
    psi_M: FloatArray
    reward_M: FloatArray
    goal_MC: BoolArray

    def __len__(self) -> int:
        """Control steps, T."""
        return len(self.reward_M) - 1

    @property
    def success(self) -> bool:
        """Whether the whole goal held at the last moment."""
        return bool(self.goal_MC[-1].all())


def trace(
    spec: StageSpec,
    layout: SnapshotLayout,
    snapshots: Snapshot,
    goal_MC: BoolArray,
    *,
    horizon: int,
    profile: CreditProfile,
) -> Trace:
    """Follow a spec through the M moments of one episode, the first being its reset.

    Args:
        spec: The stages.
        layout: Names of the snapshots' rows.
        snapshots: One row for each moment.
        goal_MC: Truth of the goal's conjuncts at each moment.
        horizon: Most control steps of the episode.
        profile: How progress is paid.

    Raises:
        UnknownNameError: The spec names an entity that the scene lacks.
        SpecError: The spec does not fit the scene or the goal.
    """
    tracker = StageTracker(spec, profile, layout, 1, horizon)
    verdicts: list[Verdict] = []
    reports: list[StageReport] = []
    psis: list[FloatArray] = []
    for report in follow(tracker, snapshots, goal_MC):
        verdicts.append(tracker.verdict)
        psis.append(tracker.psi_N)
        if report is not None:
            reports.append(report)

    verdict = _joined(verdicts)
    return Trace(
        spec=spec,
        profile=profile,
        horizon=horizon,
        share_K=tracker.share_KN[:, 0],
        span_K=tracker.span_KN[:, 0],
        ramp_units=tuple(
            "" if stage.ramp is None else tracker.bound.measures(stage.ramp)[0].unit for stage in spec.stages
        ),
        verdict=verdict,
        predicates=_predicates(tracker.bound, verdict.seen),
        progress_M=_after_reset(reports, "progress_N"),
        best_M=_after_reset(reports, "best_N"),
        psi_M=np.concatenate(psis),
        reward_M=_after_reset(reports, "reward_N"),
        goal_MC=goal_MC,
    )


def _after_reset(reports: list[StageReport], name: str) -> FloatArray:
    """A column of the reports, with the 0 that every episode starts from."""
    return np.array([0.0, *(getattr(report, name)[0] for report in reports)])


def _joined(records: Sequence[_Record]) -> _Record:
    """Records of one moment each as one record of all, joined along their last axis."""
    joined: dict[str, Any] = {}
    for field in fields(records[0]):
        parts = [getattr(record, field.name) for record in records]
        joined[field.name] = _joined(parts) if is_dataclass(parts[0]) else np.concatenate(parts, axis=-1)
    return type(records[0])(**joined)


def _predicates(bound: BoundSpec, seen: Observation) -> tuple[PredicateTrace, ...]:
    return tuple(
        PredicateTrace(predicate, truth_M, tuple(_readings(bound, predicate, seen.readings)))
        for predicate, truth_M in zip(bound.predicates, seen.truth_PN, strict=True)
    )


def _readings(bound: BoundSpec, predicate: Predicate, readings: Readings) -> Iterator[Reading]:
    rows = bound.rows(predicate)
    for measure, limit_M, value_M in zip(
        bound.measures(predicate), readings.limit_MN[rows], readings.value_MN[rows], strict=True
    ):
        yield Reading(measure.name, measure.unit, measure.relation, limit_M, value_M)
