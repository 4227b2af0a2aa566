"""Binds a spec to a scene: names become snapshot rows, conditions become functions, each atom is computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tgrpo_envs.errors import SpecError, UnknownNameError
from tgrpo_envs.rewards.handles import HANDLE_SUFFIX, handle_names, part_joints
from tgrpo_envs.rewards.predicates import (
    ATOMS,
    FIXTURE,
    GRIPPER,
    HANDLE,
    KINDS,
    MIN_SPAN_M,
    MOVABLE,
    RAMPS,
    REGION,
    BoundRamp,
    Moment,
    Place,
    Truth,
)
from tgrpo_envs.rewards.spec import StageSpec
from tgrpo_envs.rewards.vocabulary import AllOf, AnyOf, Atom, Condition, Goal, Not, Ramp
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, SnapshotLayout

JOINTED_OPS = ("actuated", "actuate")

Judgement = Callable[[list[BoolArray]], BoolArray]


class BoundSpec:
    """The conditions and ramps of a spec over one scene's snapshots; K stages, N environments.

    Attributes:
        entities: What the names in each atom and ramp refer to.
    """

    def __init__(self, spec: StageSpec, layout: SnapshotLayout) -> None:
        """Resolve every name.

        Raises:
            UnknownNameError: The scene has no entity of a name the spec uses.
            SpecError: An entity is of the wrong kind for its op.
        """
        self.entities: dict[Atom | Ramp, dict[str, Place]] = {}
        self._atoms: dict[Atom, int] = {}
        self._truths: list[Truth] = []
        self._places: dict[str, Place] = {}
        self._layout = layout
        self._done = [self._condition(stage.done, f"stage {stage.id!r}") for stage in spec.stages]
        self._while = [
            (k, self._condition(condition, f"stage {stage.id!r}"))
            for k, stage in enumerate(spec.stages)
            for condition in stage.while_
        ]
        self._maintain = [
            (self._condition(maintain.holds, f"maintain[{j}]"), maintain.cost_frac)
            for j, maintain in enumerate(spec.maintain)
        ]
        self._ramps = [
            (k, self._ramp(stage.ramp, f"stage {stage.id!r}"))
            for k, stage in enumerate(spec.stages)
            if stage.ramp is not None
        ]
        self._num_stages = len(spec.stages)

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """The distinct atoms of the spec, in the order of `truth`."""
        return tuple(self._atoms)

    @property
    def goals(self) -> tuple[int, ...]:
        """Goal conjuncts that the spec refers to."""
        return tuple(sorted(atom.index for atom in self._atoms if isinstance(atom, Goal)))

    def observe(self, moment: Moment) -> tuple[BoolArray, BoolArray, FloatArray, FloatArray | float]:
        """Everything the spec asks of one moment.

        Returns:
            done_KN: Each stage's `done` condition, before order and debouncing.
            allowed_KN: Whether each stage's `while` holds.
            remaining_KN: What is left of each ramp, metres or radians (1 where a stage has no ramp).
            kept_N: Share of the progress that `maintain` leaves.
        """
        num_envs = len(moment.goal_NC)
        truth = self.truth(moment)
        done_KN = np.empty((self._num_stages, num_envs), dtype=bool)
        for k, done in enumerate(self._done):
            done_KN[k] = done(truth)
        allowed_KN = np.ones((self._num_stages, num_envs), dtype=bool)
        for k, allowed in self._while:
            allowed_KN[k] &= allowed(truth)
        remaining_KN = np.ones((self._num_stages, num_envs))
        for k, ramp in self._ramps:
            remaining_KN[k] = ramp.remaining(moment)
        kept_N: FloatArray | float = 1.0
        for holds, cost_frac in self._maintain:
            kept_N = kept_N * np.where(holds(truth), 1.0, 1.0 - cost_frac)
        return done_KN, allowed_KN, remaining_KN, kept_N

    def truth(self, moment: Moment) -> list[BoolArray]:
        """Whether each atom holds, (N,) each."""
        return [atom(moment) for atom in self._truths]

    def maintained(self, moment: Moment) -> list[BoolArray]:
        """Whether each `maintain` condition holds, (N,) each."""
        truth = self.truth(moment)
        return [holds(truth) for holds, _ in self._maintain]

    def spans(self, remaining_KN: FloatArray) -> FloatArray:
        """Each ramp's full length, metres: its fixed span, or what remained at reset."""
        span_KN = np.ones_like(remaining_KN)
        for k, ramp in self._ramps:
            span_KN[k] = np.maximum(remaining_KN[k], MIN_SPAN_M) if ramp.span_m is None else ramp.span_m
        return span_KN

    def _condition(self, condition: Condition, where: str) -> Judgement:
        if isinstance(condition, AllOf):
            parts = [self._condition(part, where) for part in condition.all_of]
            return lambda truth: _join(np.logical_and, parts, truth)
        if isinstance(condition, AnyOf):
            parts = [self._condition(part, where) for part in condition.any_of]
            return lambda truth: _join(np.logical_or, parts, truth)
        if isinstance(condition, Not):
            inner = self._condition(condition.negated, where)
            return lambda truth: ~inner(truth)
        if condition not in self._atoms:
            self._atoms[condition] = len(self._truths)
            self._truths.append(ATOMS[condition.op](condition, self._entities(condition, where)))
        row = self._atoms[condition]
        return lambda truth: truth[row]

    def _ramp(self, ramp: Ramp, where: str) -> BoundRamp:
        return RAMPS[ramp.op](ramp, self._entities(ramp, where))

    def _entities(self, word: Atom | Ramp, where: str) -> dict[str, Place]:
        places = {}
        for field, kinds in KINDS[word.op].items():
            name = getattr(word, field)
            if name not in self._places:
                self._places[name] = _resolve(name, self._layout, where)
            place = self._places[name]
            if place.kind not in kinds:
                expected = " or ".join(sorted(kinds))
                raise SpecError(
                    f"In {where}, `{word.op}` needs a {expected} as {field!r}, but {name!r} is a {place.kind}; "
                    f"name a {expected} or use another op."
                )
            if word.op in JOINTED_OPS and len(place.joints) != 1:
                raise SpecError(
                    f"In {where}, `{word.op}` needs a part with one joint, but {name!r} has {len(place.joints)}; "
                    "name a drawer's region, a microwave or a stove."
                )
            places[field] = place
        self.entities[word] = places
        return places


def _join(operator: np.ufunc, parts: Sequence[Judgement], truth: list[BoolArray]) -> BoolArray:
    joined = parts[0](truth)
    for part in parts[1:]:
        joined = operator(joined, part(truth))
    return joined


def _resolve(name: str, layout: SnapshotLayout, where: str) -> Place:
    joints = part_joints(name, layout)
    if name == GRIPPER:
        return Place(GRIPPER, 0)
    if name in layout.objects:
        row = layout.object_row(name)
        return Place(MOVABLE if row < layout.num_movables else FIXTURE, row, joints=joints, part=name)
    if name in layout.sites:
        row = layout.site_row(name)
        return Place(REGION, row, layout.site_half_sizes_S3[row], joints, part=name)
    handles = handle_names(layout)
    if name in handles:
        part = name.removesuffix(HANDLE_SUFFIX)
        joints = part_joints(part, layout)
        return Place(HANDLE, int(layout.joint_objects_J[joints[0]]), joints=joints, part=part)
    raise UnknownNameError(f"entity in {where}:", name, (*layout.objects, *layout.sites, *handles, GRIPPER))
