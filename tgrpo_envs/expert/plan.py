"""From a goal to an ordered list of skills: where each thing goes, how each fixture moves, and what comes first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.expert.articulate import Articulate, Motion
from tgrpo_envs.expert.motion import Skill
from tgrpo_envs.expert.pick_place import PickAndPlace, Place
from tgrpo_envs.expert.shapes import SHAPES, X, Z, category_of
from tgrpo_envs.sim.snapshot import SnapshotLayout

Goal = tuple[tuple[str, ...], ...]

# Where things go, by the category of what they are put on.
ON_OBJECTS: dict[str, Place] = {
    "plate": Place("", rim=0.016, rest=0.007),
    "akita_black_bowl": Place("", rim=0.055, rest=0.020, release=0.045),
}
# By the ending of a region's name.
CADDY_OVER_M = 0.006
DRAWER = Place("", rim=0.029, rest=-0.0265, offset=(0.0, -0.015, 0.0), align=Z)
# Pans go into a shelf from its front, the handle last.
SHELF = Place(
    "", rim=0.030, rest=None, offset=(0.0, -0.040, 0.0), via=(0.0, -0.220, 0.0),
    align=(0.0, -1.0, 0.0), axis=X, whole_turn=True,
)  # fmt: skip
REGIONS: dict[str, Place] = {
    "basket_contain_region": Place("", rim=0.079, rest=-0.060, release=0.079, over=0.045),
    "wooden_tray_contain_region": Place("", rim=0.039, rest=-0.035, over=0.020),
    "flat_stove_cook_region": Place("", rim=0.030, rest=0.0255),
    "wooden_cabinet_top_side": Place("", rim=-0.005, rest=0.0015),
    "white_cabinet_top_side": Place("", rim=-0.005, rest=0.0015),
    "wooden_two_layer_shelf_top_region": replace(SHELF, rest=-0.060),
    "wooden_two_layer_shelf_bottom_region": replace(SHELF, rest=-0.030),
    "wooden_two_layer_shelf_top_side": Place("", rim=-0.005, rest=0.0035),
    **{
        f"{colour}_cabinet_{level}_region": DRAWER
        for colour in ("wooden", "white")
        for level in ("top", "middle", "bottom")
    },
    "desk_caddy_left_contain_region": Place("", rim=0.105, rest=-0.051, over=CADDY_OVER_M, align=X, axis=X),
    "desk_caddy_right_contain_region": Place("", rim=0.105, rest=-0.051, over=CADDY_OVER_M, align=X, axis=X),
    "desk_caddy_front_contain_region": Place("", rim=0.130, rest=-0.026, over=CADDY_OVER_M, align=X, axis=X),
    "desk_caddy_back_contain_region": Place("", rim=0.085, rest=-0.071, over=CADDY_OVER_M, align=X, axis=X),
}
# Two pots on one burner stand this far from its middle.
STOVE_SHARE_M = 0.042
# Zones of a table lie below its top; things keep the height they came from.
ZONE = Place("", rim=0.050, rest=None)


def _tilted(degrees: float) -> tuple[float, float, float]:
    """Pointing down and, by this angle from it, towards +y: into a fixture whose front faces -y."""
    angle = math.radians(degrees)
    return 0.0, math.sin(angle), -math.cos(angle)


# Height of a cabinet's handles.
HANDLES_M = {"top": 0.184, "middle": 0.110, "bottom": 0.041}


def _drawer_open(level: str) -> Motion:
    return Motion(
        f"{level}_level", -0.150, -0.140, -0.035, (-0.003, -0.099, HANDLES_M[level]), (0.0, -0.08, 0.0),
        _tilted(75), Z, grips=True, slide=(0.0, 1.0, 0.0),
    )  # fmt: skip


def _drawer_close(level: str) -> Motion:
    return Motion(
        f"{level}_level", 0.001, 0.0, 0.04, (-0.003, -0.122, HANDLES_M[level]), (0.0, -0.06, 0.05),
        _tilted(45), X, grips=False, slide=(0.0, 1.0, 0.0),
    )  # fmt: skip


HINGE = (-0.1725, -0.088, 0.0)
KNOB_POINT, ABOVE_KNOB = (0.0, 0.0, 0.038), (0.0, 0.0, 0.07)
MOTIONS: dict[tuple[str, str], Motion] = {
    ("turnon", "flat_stove"): Motion(
        "button", 0.55, 0.50, 0.4, KNOB_POINT, ABOVE_KNOB, _tilted(0), (0.0, 1.0, 0.0), grips=True
    ),
    ("turnoff", "flat_stove"): Motion(
        "button", -0.001, 0.0, -0.4, KNOB_POINT, ABOVE_KNOB, _tilted(0), (0.0, 1.0, 0.0), grips=True
    ),
    ("close", "microwave"): Motion(
        "microjoint", -0.004, -0.005, 0.25, (0.065, -0.168, 0.12), (0.0, -0.06, 0.10), _tilted(0), X, grips=False, pivot=HINGE
    ),
    ("open", "microwave"): Motion(
        "microjoint", -1.35, -1.30, -0.25, (0.065, -0.145, 0.150), (0.0, 0.0, 0.08), _tilted(12), X, grips=True, pivot=HINGE
    ),
    **{
        (verb, f"{colour}_cabinet_{level}_region"): make(level)
        for verb, make in (("open", _drawer_open), ("close", _drawer_close))
        for colour in ("wooden", "white")
        for level in HANDLES_M
    },
}


@dataclass(frozen=True)
class Step:
    """One entry of a plan: an object and its place, or a fixture and its motion."""

    name: str
    how: Place | Motion


def plan(goal: Goal) -> tuple[Step, ...]:
    """The steps that reach a goal, in order.

    First what must be shut and stays empty, then what must be open or turned, then objects, supports first, and at
    last what is shut over them.

    Raises:
        ConfigError: The goal has a conjunct for which there is no skill.
    """
    filled = {names[1] for predicate, *names in goal if predicate == "in"}
    covered = {name for name in filled | {_owner(name) for name in filled}}
    early = [entry for entry in goal if entry[0] == "close" and entry[1] not in covered]
    late = [entry for entry in goal if entry[0] == "close" and entry[1] in covered]
    moved = [entry for entry in goal if entry[0] in ("open", "turnon", "turnoff")]
    opened = [("open", name) for name in sorted(filled) if _motion("open", name) and ("open", name) not in moved]
    placed = [entry for entry in goal if entry[0] in ("in", "on")]
    in_order = sorted(placed, key=lambda entry: _depth(entry, placed))
    return _side_by_side(tuple(_step(entry) for entry in (*early, *moved, *opened, *in_order, *late)))


def can_do(goal: Goal) -> bool:
    """Whether the expert has a skill for every conjunct of a goal."""
    try:
        plan(goal)
    except ConfigError:
        return False
    return True


def make_skills(goal: Goal, layout: SnapshotLayout, num_envs: int) -> list[Skill]:
    """The plan's skills for N environments of a scene.

    Raises:
        ConfigError: See `plan`.
        UnknownNameError: The scene lacks an entity of the goal, or has an object without a row in the tables.
    """
    skills: list[Skill] = []
    for step in plan(goal):
        if isinstance(step.how, Place):
            skills.append(PickAndPlace(layout, step.name, step.how, num_envs))
        else:
            skills.append(Articulate(layout, step.name, step.how, num_envs))
    return skills


def _side_by_side(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Two objects that share a stove stand beside each other, not upon each other."""
    sharing = [step for step in steps if isinstance(step.how, Place) and step.how.reference.endswith("cook_region")]
    if len(sharing) < 2:
        return steps
    sides = {step.name: side for step, side in zip(sharing, (1.0, -1.0), strict=True)}
    return tuple(
        replace(step, how=replace(step.how, offset=(sides[step.name] * STOVE_SHARE_M, 0.0, 0.0)))
        if isinstance(step.how, Place) and step.name in sides
        else step
        for step in steps
    )


def _depth(entry: tuple[str, ...], placed: Sequence[tuple[str, ...]]) -> int:
    """How many objects of the goal lie under this one."""
    under = [other for other in placed if other[1] == entry[2]]
    return 1 + _depth(under[0], placed) if under else 0


def _step(entry: tuple[str, ...]) -> Step:
    predicate, *names = entry
    if predicate in ("in", "on"):
        place = _place(names[1])
        if category_of(names[0]) in SHAPES and place is not None:
            return Step(names[0], replace(place, reference=names[1]))
    else:
        motion = _motion(predicate, names[0])
        if motion is not None:
            return Step(_owner(names[0]), motion)
    raise ConfigError(
        f"The scripted expert has no skill for the goal ({' '.join(entry)}); "
        "`python -m tgrpo_envs expert` lists the tasks it can do."
    )


def _place(name: str) -> Place | None:
    generic = _without_number(name)
    if generic in ON_OBJECTS:
        return ON_OBJECTS[generic]
    if name.startswith(("main_table_", "kitchen_table_", "living_room_table_", "study_table_")):
        return ZONE
    return REGIONS.get(generic)


def _motion(predicate: str, name: str) -> Motion | None:
    """Of a fixture as a whole, or of the part that a region belongs to."""
    return MOTIONS.get((predicate, _without_number(name))) or MOTIONS.get((predicate, category_of(_owner(name))))


def _owner(name: str) -> str:
    """The instance in ``wooden_cabinet_1_top_region``."""
    parts = name.split("_")
    number = next(index for index, part in enumerate(parts) if part.isdigit())
    return "_".join(parts[: number + 1])


def _without_number(name: str) -> str:
    """A name with its instance's number left out: ``wooden_cabinet_top_region``."""
    return "_".join(part for part in name.split("_") if not part.isdigit())
