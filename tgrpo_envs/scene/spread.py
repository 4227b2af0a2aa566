"""How much the initial states of a set differ: the spread of each object's position and of fixture joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tgrpo_envs.scene.scene import Scene, load_scene
from tgrpo_envs.scene.states import heldout_states, official_states, sample_train_states
from tgrpo_envs.sim.init_states import InitStates
from tgrpo_envs.tasks import Task

NEARLY_ONE_STATE_MM = 10.0  # a set in which no goal object's place varies by more than a centimetre is called so
TRAIN_DRAWS = 200  # as many as there are held-out states
TRAIN_SEED = 0

_MM = 1000.0


@dataclass(frozen=True)
class Spread:
    """Spread of one thing over the states of a set; positions in mm on the table's plane, joints as MuJoCo has them.

    Attributes:
        name: Object, fixture or joint.
        in_goal: Whether the goal says where it must be: ``in`` or ``on`` something, open, closed, on or off.
        std: Standard deviation: of a position, the root of the sum of both axes' variances.
        ptp: Largest minus smallest: of a position, along the axis where that is larger.
    """

    name: str
    in_goal: bool
    std: float
    ptp: float


@dataclass(frozen=True)
class SetSpread:
    """Spread of everything that moves, over one set of initial states.

    Attributes:
        name: ``official``, ``train`` or ``heldout``.
        count: States in the set.
        objects: Movable objects, millimetres.
        fixtures: Fixtures, millimetres.
        joints: Joints of fixtures, metres or radians.
    """

    name: str
    count: int
    objects: tuple[Spread, ...]
    fixtures: tuple[Spread, ...]
    joints: tuple[Spread, ...]

    @property
    def widest_goal_object(self) -> Spread | None:
        """Of the objects that the task asks to move, the one whose place varies most; None where it asks for none."""
        return max((entry for entry in self.objects if entry.in_goal), key=lambda entry: entry.ptp, default=None)

    @property
    def nearly_one_state(self) -> bool:
        """Whether no object that the task asks to move varies by more than `NEARLY_ONE_STATE_MM`."""
        widest = self.widest_goal_object
        return widest is not None and widest.ptp < NEARLY_ONE_STATE_MM


def measure_spread(scene: Scene, name: str, states: InitStates) -> SetSpread:
    """The spread of a set of states, before they settle.

    Args:
        scene: The scene.
        name: What to call the set.
        states: Its states.
    """
    qpos_NQ = states.states_NX[:, 1 : 1 + scene.model.nq]
    goal_names = {conjunct[1] for conjunct in scene.task.goal}
    objects = tuple(
        _of_positions(entry.name, goal_names, qpos_NQ[:, entry.qpos_address : entry.qpos_address + 2])
        for entry in scene.record.objects
        if entry.qpos_address is not None
    )
    fixture_names = [entry.name for entry in scene.record.objects if entry.qpos_address is None]
    fixtures = tuple(
        _of_positions(fixture, goal_names, states.fixtures_NF7[:, f, :2]) for f, fixture in enumerate(fixture_names)
    )
    joints = tuple(
        Spread(entry.name, _names(goal_names, entry.object), float(np.std(values_N)), float(np.ptp(values_N)))
        for entry in scene.record.joints
        for values_N in (qpos_NQ[:, entry.qpos_address],)
    )
    return SetSpread(name, len(states), objects, fixtures, joints)


def task_spread(task: Task, assets: str) -> tuple[SetSpread, ...]:
    """The spread of a task's official, training and held-out states.

    Raises:
        AssetError: The pack is missing or incomplete.
        SceneError: The scene could not be built.
    """
    scene = load_scene(task, assets)
    sets = {
        "official": official_states(scene),
        "train": sample_train_states(scene, np.random.default_rng(TRAIN_SEED), TRAIN_DRAWS),
        "heldout": heldout_states(scene),
    }
    return tuple(measure_spread(scene, name, states) for name, states in sets.items())


def detail_rows(spreads: Sequence[SetSpread]) -> list[tuple[str, ...]]:
    """A heading and one row for each object, fixture and joint of a task, with std / ptp in each set."""
    rows = [("what", "in goal", *(f"{spread.name} ({spread.count})" for spread in spreads))]
    for kind, unit, digits in (("objects", "mm", 1), ("fixtures", "mm", 1), ("joints", "m or rad", 3)):
        for entries in zip(*(getattr(spread, kind) for spread in spreads), strict=True):
            cells = (f"{entry.std:.{digits}f} / {entry.ptp:.{digits}f} {unit}" for entry in entries)
            rows.append((entries[0].name, "yes" if entries[0].in_goal else "", *cells))
    return rows


SUMMARY_HEADING = (
    "suite",
    "task",
    "official",
    "train",
    "heldout",
    "widest other object",
    "fixtures",
    "joints",
    "official 50 are",
)


def summary_row(task: Task, spreads: Sequence[SetSpread]) -> tuple[str, ...]:
    """A task in one row, see `SUMMARY_HEADING`: the object to move in each set, then the widest of the others."""
    widest = [spread.widest_goal_object for spread in spreads]
    others = (_widest([entry for entry in spread.objects if not entry.in_goal]) for spread in spreads)
    return (
        task.suite,
        str(task.index),
        *(f"{entry.std:.1f} / {entry.ptp:.1f}" if entry else "-" for entry in widest),
        " ".join(others),
        " ".join(_widest(spread.fixtures) for spread in spreads),
        " ".join(_widest(spread.joints, digits=2) for spread in spreads),
        "nearly one state" if spreads[0].nearly_one_state else "",
    )


def _widest(entries: Sequence[Spread], digits: int = 0) -> str:
    return f"{max(entry.ptp for entry in entries):.{digits}f}" if entries else "-"


def _of_positions(name: str, goal_names: set[str], xy_N2: np.ndarray) -> Spread:
    std = float(np.sqrt(xy_N2.var(axis=0).sum())) * _MM
    return Spread(name, _names(goal_names, name), std, float(np.ptp(xy_N2, axis=0).max()) * _MM)


def _names(goal_names: set[str], name: str) -> bool:
    """Whether a goal names an object, or one of its regions, which start with its name."""
    return any(part == name or part.startswith(f"{name}_") for part in goal_names)
