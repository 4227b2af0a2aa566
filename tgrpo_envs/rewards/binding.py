"""Binds a spec to a scene: names become snapshot rows, conditions become programs, each atom is computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgrpo_envs.errors import SpecError, UnknownNameError
from tgrpo_envs.rewards.columns import Columns
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
    Instruction,
    Moment,
    Place,
)
from tgrpo_envs.rewards.spec import StageSpec
from tgrpo_envs.rewards.vocabulary import AllOf, AnyOf, Atom, Condition, Goal, Not, Ramp
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout

if TYPE_CHECKING:
    from tgrpo_envs.rewards.observing import Seen

JOINTED_OPS = ("actuated", "actuate")


class BoundSpec:
    """The conditions and ramps of a spec over one scene's snapshots; K stages, N environments.

    Attributes:
        entities: What the names in each atom and ramp refer to.
        atoms: The distinct atoms of the spec, in the order of `truth`.
        goals: Goal conjuncts that the spec refers to.
    """

    def __init__(self, spec: StageSpec, layout: SnapshotLayout) -> None:
        """Resolve every name.

        Raises:
            UnknownNameError: The scene has no entity of a name the spec uses.
            SpecError: An entity is of the wrong kind for its op.
        """
        from tgrpo_envs.rewards import observing  # brings numba, which importing this package must not

        self.entities: dict[Atom | Ramp, dict[str, Place]] = {}
        self._task = spec.task.name
        self._rows: dict[Atom, int] = {}
        self._instructions: list[Instruction] = []
        self._named: dict[str, Place] = {}
        self._layout, self._columns = layout, Columns(layout)
        stages = [(k, stage, f"stage {stage.id!r}") for k, stage in enumerate(spec.stages)]
        whiles = [(k, condition, where) for k, stage, where in stages for condition in stage.while_]
        conditions = [(stage.done, where) for _, stage, where in stages]
        conditions += [(condition, where) for _, condition, where in whiles]
        conditions += [(maintain.holds, f"maintain[{j}]") for j, maintain in enumerate(spec.maintain)]
        codes = [self._postfix(condition, where) for condition, where in conditions]
        self.atoms = tuple(self._rows)
        self.goals = tuple(sorted(atom.index for atom in self.atoms if isinstance(atom, Goal)))
        ramps = [(k, stage.ramp, where) for k, stage, where in stages if stage.ramp is not None]
        self._ramps = [
            (k, RAMPS[ramp.op](ramp, self._entities(ramp, where), self._columns)) for k, ramp, where in ramps
        ]
        words = self._instructions + [ramp for _, ramp in self._ramps]
        self._execute = observing.observe
        self._program = observing.Program(
            words_W7=np.array([(word.code, word.a, word.b, word.box, word.flag, *word.axes) for word in words]),
            limits_W3=np.array([(word.limit, word.second, word.bound) for word in words]),
            ramps_R=np.array([k for k, _ in self._ramps], dtype=np.int64),
            code=np.array([number for code in codes for number in code]),
            ends_C=np.cumsum([len(code) for code in codes]),
            whiles_X=np.array([k for k, _, _ in whiles], dtype=np.int64),
            costs_J=np.array([maintain.cost_frac for maintain in spec.maintain], dtype=np.float64),
            num_stages=len(spec.stages),
        )

    def observe(self, moment: Moment) -> Seen:
        """Everything the spec asks of one moment.

        Returns:
            truth_AN: Whether each atom holds.
            done_KN: Each stage's `done` condition, before order and debouncing.
            allowed_KN: Whether each stage's `while` holds.
            maintained_JN: Whether each `maintain` condition holds.
            remaining_KN: What is left of each ramp, metres or radians (1 where a stage has no ramp).
            kept_N: Share of the progress that `maintain` leaves.

        Raises:
            SpecError: The spec refers to a goal conjunct that the task does not have.
        """
        return self.observe_since(self.start(moment.start), moment.now, moment.goal_NC)

    def start(self, snapshot: Snapshot) -> FloatArray:
        """What `observe_since` needs of the snapshot at reset, a copy."""
        return self._columns.numbers(snapshot)

    def observe_since(self, start_NF: FloatArray, snapshot: Snapshot, goal_NC: BoolArray) -> Seen:
        """`observe` with the reset's part prepared, for those who observe at every step."""
        self.check_goal(goal_NC.shape[1])
        now_NF, flags_NB = self._columns.numbers(snapshot), self._columns.flags(snapshot, goal_NC)
        return self._execute(self._program, now_NF, start_NF, flags_NB)

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
        """Each ramp's full length, metres: its fixed span, or what remained at reset."""
        span_KN = np.ones_like(remaining_KN)
        for k, ramp in self._ramps:
            span_KN[k] = np.maximum(remaining_KN[k], MIN_SPAN_M) if ramp.span_m is None else ramp.span_m
        return span_KN

    def _postfix(self, condition: Condition, where: str) -> list[int]:
        """Rows of atoms and `observing`'s operators, in the order in which a stack takes them."""
        from tgrpo_envs.rewards.observing import AND, NOT, OR

        if isinstance(condition, (AllOf, AnyOf)):
            parts, operator = (condition.all_of, AND) if isinstance(condition, AllOf) else (condition.any_of, OR)
            first, *others = [self._postfix(part, where) for part in parts]
            return first + [number for other in others for number in (*other, operator)]
        if isinstance(condition, Not):
            return [*self._postfix(condition.negated, where), NOT]
        if condition not in self._rows:
            self._rows[condition] = len(self._instructions)
            self._instructions.append(ATOMS[condition.op](condition, self._entities(condition, where), self._columns))
        return [self._rows[condition]]

    def _entities(self, word: Atom | Ramp, where: str) -> dict[str, Place]:
        places = {}
        for field, kinds in KINDS[word.op].items():
            name = getattr(word, field)
            if name not in self._named:
                self._named[name] = _resolve(name, self._layout, where)
            place = self._named[name]
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
