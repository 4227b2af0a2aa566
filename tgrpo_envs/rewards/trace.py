"""Follows a spec through a recorded episode and keeps everything the tracker saw: the ground for explanations.

Stages and credit are the tracker's own verdicts, atoms and ramps its own bound functions; nothing is judged twice.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.rewards.binding import BoundSpec
from tgrpo_envs.rewards.credit import CreditProfile, paid_progress
from tgrpo_envs.rewards.measures import Relation, measures, ramp_unit
from tgrpo_envs.rewards.predicates import Moment
from tgrpo_envs.rewards.rescore import follow
from tgrpo_envs.rewards.spec import StageSpec
from tgrpo_envs.rewards.tracker import StageReport, StageTracker, Verdict
from tgrpo_envs.rewards.vocabulary import Atom
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout


@dataclass(frozen=True, slots=True)
class Reading:
    """One number behind an atom, at each of M moments; see `measures.Measure`."""

    name: str
    unit: str
    relation: Relation
    limit_M: FloatArray
    value_M: FloatArray


@dataclass(frozen=True, slots=True)
class AtomTrace:
    """An atom of the spec, whether it held, and the numbers behind it."""

    atom: Atom
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
        held_KM: Control steps in a row that `done` has held.
        completed_KM: Which stages were completed at some time.
        done_KM: Which stages count as done.
        credit_KM: Share of each stage that is earned.
        open_KM: Whether the predecessors have completed.
        allowed_KM: Whether `while` holds.
        implied_KM: Which stages count as done because a goal conjunct they lead to holds.
        remaining_KM: What is left of each ramp, in its unit.
        ramp_KM: Filled share of each ramp.
        kept_M: Share of the progress that `maintain` leaves.
        atoms: The distinct atoms, in order of first use.
        maintained_JM: Whether each `maintain` condition holds.
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
    held_KM: NDArray[np.int64]
    completed_KM: BoolArray
    done_KM: BoolArray
    credit_KM: FloatArray
    open_KM: BoolArray
    allowed_KM: BoolArray
    implied_KM: BoolArray
    remaining_KM: FloatArray
    ramp_KM: FloatArray
    kept_M: FloatArray
    atoms: tuple[AtomTrace, ...]
    maintained_JM: BoolArray
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
    for report in follow(tracker, snapshots, goal_MC):
        verdicts.append(tracker.verdict)
        if report is not None:
            reports.append(report)

    progress_M = _after_reset(reports, "progress_N")
    best_M = _after_reset(reports, "best_N")
    moments = Moment(snapshots, _repeated(snapshots, len(goal_MC)), goal_MC)
    seen = tracker.bound.observe(moments)
    per_stage = {
        f"{name}_KM": np.concatenate([getattr(verdict, f"{name}_KN") for verdict in verdicts], axis=1)
        for name in _PER_STAGE
    }
    return Trace(
        spec=spec,
        profile=profile,
        horizon=horizon,
        share_K=tracker.share_KN[:, 0],
        span_K=tracker.span_KN[:, 0],
        ramp_units=tuple(
            "" if stage.ramp is None else ramp_unit(stage.ramp, tracker.bound.entities[stage.ramp])
            for stage in spec.stages
        ),
        **per_stage,
        kept_M=np.array([verdict.kept_N[0] for verdict in verdicts]),
        atoms=_atoms(tracker.bound, moments, seen.truth_AN),
        maintained_JM=seen.maintained_JN,
        progress_M=progress_M,
        best_M=best_M,
        psi_M=paid_progress(best_M, progress_M, profile),
        reward_M=_after_reset(reports, "reward_N"),
        goal_MC=goal_MC,
    )


_PER_STAGE = tuple(field.name.removesuffix("_KN") for field in fields(Verdict) if field.name.endswith("_KN"))


def _after_reset(reports: list[StageReport], name: str) -> FloatArray:
    """A column of the reports, with the 0 that every episode starts from."""
    return np.array([0.0, *(getattr(report, name)[0] for report in reports)])


def _repeated(snapshots: Snapshot, times: int) -> Snapshot:
    """The first row for every moment: what atoms that look back compare with."""
    first = {field.name: getattr(snapshots, field.name)[:1] for field in fields(Snapshot)}
    return Snapshot(**{name: np.repeat(array, times, axis=0) for name, array in first.items()})


def _atoms(bound: BoundSpec, moments: Moment, truth_AM: BoolArray) -> tuple[AtomTrace, ...]:
    return tuple(
        AtomTrace(
            atom,
            truth_M,
            tuple(
                Reading(one.name, one.unit, one.relation, one.limit(moments), one.value(moments))
                for one in measures(atom, bound.entities[atom])
            ),
        )
        for atom, truth_M in zip(bound.atoms, truth_AM, strict=True)
    )
