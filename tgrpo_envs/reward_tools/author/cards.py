"""Task cards: what a prompt says about a task's scene, measured once and shipped, so that prompting needs no simulator.

`scripts/make_task_cards.py` writes ``data/task_cards.json`` from built scenes. Lengths in metres, angles in radians,
world frame (x away from the robot, y to its left, z up); "at reset" is after the ten settling steps of an episode,
over LIBERO's 50 official initial states.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any, Literal

from tgrpo_envs.base_settings import Frozen
from tgrpo_envs.bddl import Problem, parse_problem
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.tasks import CUSTOM, Task

CARDS_FILE = "data/task_cards.json"

Vector = tuple[float, float, float]


class ObjectFact(Frozen):
    """A movable object or a fixture.

    Attributes:
        name: BDDL instance.
        kind: Whether it can be moved.
        category: BDDL category.
        size_m: Edges of its axis-aligned box at reset.
        origin_height_m: Height of its origin over its lowest point at reset.
        at_m: Mean position of its origin at reset.
        std_m: Standard deviation of the same.
    """

    name: str
    kind: Literal["movable", "fixture"]
    category: str
    size_m: Vector
    origin_height_m: float
    at_m: Vector
    std_m: Vector


class RegionFact(Frozen):
    """A region that belongs to something, or a zone of the table that the goal names.

    Attributes:
        name: Full BDDL region name.
        carrier: The object or fixture that carries it; None for a zone.
        half_size_m: Half extents of LIBERO's box at reset, along the world's axes (its quirk |R s| included).
        at_m: Mean centre at reset.
    """

    name: str
    carrier: str | None
    half_size_m: Vector
    at_m: Vector


class PartFact(Frozen):
    """A drawer, door or knob.

    Attributes:
        name: Entity that `actuated` and `actuate` take: a drawer's region, or a fixture with one joint.
        handle: Entity where a hand takes hold of it.
        handle_at_m: Mean position of the handle at reset.
        unit: ``m`` for slides, ``rad`` for hinges.
        low: Lower limit of the joint.
        high: Upper limit of the joint.
        start: Mean joint position at reset.
        start_std: Standard deviation of the same.
        tests: LIBERO's thresholds, such as ``{"open": "< -0.14", "close": "> 0"}``.
    """

    name: str
    handle: str
    handle_at_m: Vector
    unit: Literal["m", "rad"]
    low: float
    high: float
    start: float
    start_std: float
    tests: dict[str, str]


class TaskCard(Frozen):
    """Everything a prompt says about one task.

    Attributes:
        suite: The task's suite.
        name: The task's name.
        bddl: The task file's text.
        support_height_m: Height of the table's top, or of the floor.
        gripper_at_m: Grip site at reset.
        goal_true_at_reset: Share of the initial states in which each goal conjunct already holds.
        objects: Movables, then fixtures.
        regions: Regions a spec may name.
        parts: Drawers, doors and knobs.
    """

    suite: str
    name: str
    bddl: str
    support_height_m: float
    gripper_at_m: Vector
    goal_true_at_reset: tuple[float, ...]
    objects: tuple[ObjectFact, ...]
    regions: tuple[RegionFact, ...]
    parts: tuple[PartFact, ...]

    @functools.cached_property
    def problem(self) -> Problem:
        """The parsed task file."""
        return parse_problem(self.bddl)

    def entities(self) -> dict[str, str]:
        """Every name a spec of this task may use, with its kind: gripper, movable, fixture, region or handle."""
        return {
            "gripper": "gripper",
            **{entry.name: entry.kind for entry in self.objects},
            **{entry.name: "region" for entry in self.regions},
            **{entry.handle: "handle" for entry in self.parts},
        }


def load_card(task: Task) -> TaskCard:
    """The card of a task: LIBERO's from the shipped table, that of a user's own file measured now, in its scene.

    Raises:
        ConfigError: The shipped table has no card of this task.
        AssetError: See `tgrpo_envs.reward_tools.author.measure_card`.
        SceneError: Likewise.
    """
    if task.suite == CUSTOM:
        from tgrpo_envs.reward_tools.author.measure_card import measure_card  # which loads MuJoCo

        return measure_card(task)
    row = _table().get(f"{task.suite}/{task.name}")
    if row is None:
        raise ConfigError(
            f"{task.suite}/{task.name} has no card in tgrpo_envs/{CARDS_FILE}; run scripts/make_task_cards.py."
        )
    return TaskCard.model_validate(row)


@functools.cache
def _table() -> dict[str, Any]:
    rows = json.loads(resources.files("tgrpo_envs").joinpath(CARDS_FILE).read_text(encoding="utf-8"))
    return {f"{row['suite']}/{row['name']}": row for row in rows}
