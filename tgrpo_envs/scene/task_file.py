"""Whether a scene can be built from a user's own task file: what is wrong with it is named with its line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from tgrpo_envs.assets import AssetPack
from tgrpo_envs.bddl import Conjunct, Problem, Region, error_at
from tgrpo_envs.errors import BddlError, UnknownNameError
from tgrpo_envs.rewards.at_reset import starts_open
from tgrpo_envs.rewards.handles import find_handle, split_part
from tgrpo_envs.rewards.openings import opens_to_front
from tgrpo_envs.scene.parts import (
    MOVABLE_ONLY,
    Joint,
    carrier_of,
    checked_joints,
    has_joints,
    known_categories,
    parts_of,
)
from tgrpo_envs.scene.task_goal import check_goal
from tgrpo_envs.sim.success import JOINT_TESTS

# What a stage spec can name (rewards/words.py).
_NAME = re.compile(r"[a-z][a-z0-9_]{0,95}")
_FULL_TURN = 2 * math.pi + 0.01  # 6.29 is meant for one
# LIBERO lets the origin of these begin 6 cm over the middle of the region that they are "in", whatever is above it.
# Simulated, they end stuck in what is above, on top of it, or thrown off: under a roof, and over a shut drawer.
NOT_UNDER_A_ROOF = frozenset({
    "akita_black_bowl", "bbq_sauce", "chefmate_8_frypan", "ketchup", "milk", "moka_pot", "new_salad_dressing",
    "orange_juice", "porcelain_mug", "red_coffee_mug", "salad_dressing", "white_bowl", "white_yellow_mug",
    "wine_bottle",
})  # fmt: skip
NOT_IN_A_SHUT_DRAWER = NOT_UNDER_A_ROOF | {
    "black_book", "chocolate_pudding", "cookies", "glazed_rim_porcelain_ramekin", "plate", "yellow_book",
}  # fmt: skip
# Its middle is lower than LIBERO takes the top of the shelf to be, which so leaves no room for anything.
NO_ROOM_IN = ("wooden_two_layer_shelf", "bottom_region")


class Workspace(NamedTuple):
    """What a scene stands on.

    Attributes:
        name: The fixture's instance, by which LIBERO knows it.
        category: The fixture's category.
        half_x: Half of its extent along x, metres; regions are relative to its middle.
        half_y: Half of its extent along y.
    """

    name: str
    category: str
    half_x: float
    half_y: float


# By problem: names and sizes of LIBERO's problem classes (envs/problems). The floor has no edge; the arm, which stands
# 0.6 m behind its middle, reaches no farther than over the tables.
WORKSPACES: dict[str, Workspace] = {
    "libero_floor_manipulation": Workspace("floor", "floor", 0.5, 0.6),
    "libero_tabletop_manipulation": Workspace("main_table", "table", 0.5, 0.6),
    "libero_kitchen_tabletop_manipulation": Workspace("kitchen_table", "kitchen_table", 0.5, 0.6),
    "libero_living_room_tabletop_manipulation": Workspace("living_room_table", "living_room_table", 0.35, 0.8),
    "libero_study_tabletop_manipulation": Workspace("study_table", "study_table", 0.5, 0.6),
}


def describe_categories(pack: AssetPack) -> list[tuple[str, str, str, str]]:
    """A row for each category that a task file may name: where, its regions, and goals of its own."""
    rows = [("category", "declare it in", "regions", "goals")]
    for category in known_categories(pack):
        usual = ":objects" if category in MOVABLE_ONLY else ":objects or :fixtures"
        where = ":fixtures" if has_joints(pack, category) else usual
        goals = [predicate for predicate, able in JOINT_TESTS.items() if category in able]
        rows.append((category, where, " ".join(parts_of(pack, category)), " ".join(goals)))
    return rows


def check_task_file(problem: Problem, pack: AssetPack) -> None:
    """Make sure that LIBERO can build the scene, and that we can judge and draw it.

    All of LIBERO's own pass.

    Raises:
        BddlError: The first fault, with its line.
    """
    workspace = _workspace(problem)
    _check_names(problem)
    _check_things(problem, workspace, pack)
    _check_regions(problem, workspace, pack)
    _check_init(problem, workspace, pack)
    check_goal(problem, workspace.name, pack)


def _workspace(problem: Problem) -> Workspace:
    if problem.name not in WORKSPACES:
        raise _unknown(problem.lines.sections["problem"], "problem", problem.name, WORKSPACES)
    workspace = WORKSPACES[problem.name]
    if problem.fixtures.get(workspace.name) != workspace.category:
        what = f"no fixture {workspace.name!r}, on which {problem.name} stands"
        raise error_at(
            problem.lines.sections[":fixtures"], what, f"Add '{workspace.name} - {workspace.category}' to :fixtures"
        )
    return workspace


def _check_names(problem: Problem) -> None:
    """Names that stages can have: of all things, and of the regions that the goal names."""
    used = {*problem.fixtures, *problem.objects, *(name for conjunct in problem.goal for name in conjunct[1:])}
    for name, line in problem.lines.names.items():
        if name in used and not _NAME.fullmatch(name):
            remedy = "Use a to z, 0 to 9 and '_', a letter first and no more than 96 of them"
            raise error_at(line, f"{name!r} is no name that a reward could use", remedy)


def _check_things(problem: Problem, workspace: Workspace, pack: AssetPack) -> None:
    """Categories that the pack has, instances that are numbered, doors and drawers among the fixtures."""
    known = known_categories(pack)
    for name, category in {**problem.fixtures, **problem.objects}.items():
        line = problem.lines.names[name]
        if name == workspace.name:
            continue
        if category not in known:
            raise _unknown(line, f"category of the {pack.name} assets", category, known)
        if split_part(name) != (name, category, ""):
            raise error_at(
                line, f"{name!r} is no name of a {category}", f"Name it {category}_1, {category}_2 and so on"
            )
        if name in problem.objects and has_joints(pack, category):
            raise error_at(line, f"{name!r} is a movable object, but has doors or drawers", "Declare it in :fixtures")
        if name in problem.fixtures and category in MOVABLE_ONLY:
            what = f"{name!r} is a fixture, and LIBERO makes a {category} movable only"
            raise error_at(line, what, "Declare it in :objects")


def _check_regions(problem: Problem, workspace: Workspace, pack: AssetPack) -> None:
    used = {name for conjunct in (*problem.init, *problem.goal) for name in conjunct[1:]}
    for region in problem.regions.values():
        if region.target == workspace.name:
            _check_zone(problem, region, workspace)
        elif workspace.name in region.name:
            what = f"region {region.name!r} is taken for one of {workspace.name}: LIBERO looks for that in the name"
            raise error_at(problem.lines.names[region.name], what, "Rename it")
        elif region.name in used:
            _check_part(problem, region, pack)


def _check_zone(problem: Problem, region: Region, workspace: Workspace) -> None:
    """A rectangle on the table or floor."""
    line = problem.lines.names[region.name]
    if not region.ranges:
        raise error_at(line, f"region {region.name!r} has no :ranges", "Add '(:ranges ((x0 y0 x1 y1)))' in metres")
    for x0, y0, x1, y1 in region.ranges:
        what = f"region {region.name!r} ({x0:g} {y0:g} {x1:g} {y1:g})"
        if max(-x0, x1) > workspace.half_x or max(-y0, y1) > workspace.half_y:
            bounds = f"x within {workspace.half_x} m and y within {workspace.half_y} m of its middle"
            raise error_at(line, f"{what} lies outside of {workspace.name}", f"Keep {bounds}")
        if x0 == x1 or y0 == y1:
            raise error_at(line, f"{what} has no area", "Make x1 larger than x0, and y1 larger than y0")
    if len(region.ranges) > 1 and any(region.name in conjunct for conjunct in problem.goal):
        what = f"the goal names region {region.name!r}, and of its rectangles LIBERO judges by the first alone"
        raise error_at(line, what, "Give it one")
    if len(region.yaw_ranges) > 1:
        what = f"region {region.name!r} has {len(region.yaw_ranges)} intervals of yaw, of which LIBERO takes the last"
        raise error_at(line, what, "Keep one")
    turns_fixtures = any(held[1] in problem.fixtures and held[-1] == region.name for held in problem.init)
    largest = max((abs(angle) for interval in region.yaw_ranges for angle in interval), default=0.0)
    if turns_fixtures and largest > _FULL_TURN:
        what = f"region {region.name!r} turns by {largest:g} radians, more than once round"
        raise error_at(line, what, f"Write radians, not degrees: {largest:g} degrees are {math.radians(largest):.4f}")


def _check_part(problem: Problem, region: Region, pack: AssetPack) -> None:
    """A region that is a part of something."""
    line = problem.lines.names[region.name]
    things = {**problem.fixtures, **problem.objects}
    if region.target not in things:
        raise _unknown(line, "target of a region", region.target, things)
    parts = parts_of(pack, things[region.target])
    if not parts:
        remedy = "Name a thing that has some; `python -m tgrpo_envs assets categories` lists them"
        raise error_at(line, f"{region.target} has no parts that could be a region", remedy)
    short = region.name.removeprefix(f"{region.target}_")
    if short not in parts:
        raise _unknown(line, f"region of {region.target}", short, parts)
    if region.ranges or region.yaw_ranges:
        what = f"region {region.name!r} is a part of {region.target}, where :ranges and :yaw_rotation have no effect"
        raise error_at(line, what, "Remove them")


def _check_init(problem: Problem, workspace: Workspace, pack: AssetPack) -> None:
    """Everything is placed once, on something that LIBERO places before it; no joint is put at two places."""
    placed: dict[str, int] = {workspace.name: 0}
    moved: dict[Joint, tuple[Conjunct, int]] = {}
    for rank, line, conjunct in _placing_order(problem, workspace):
        if rank is None:
            _move(moved, checked_joints(problem, conjunct, line, pack), conjunct, line)
            continue
        _check_support(problem, workspace, conjunct, line)
        words, name, support = f"({' '.join(conjunct)})", conjunct[1], conjunct[2]
        carrier = carrier_of(problem, support)
        if name in placed:
            raise error_at(line, f"{words} places {name!r} again, after line {placed[name]}", "Place it once")
        if carrier not in placed:
            remedy = "Place it in a line before, on a region where something stands on it in turn"
            raise error_at(line, f"{words} comes before {carrier!r} is placed", remedy)
        placed[name] = line
    for name in (*problem.fixtures, *problem.objects):
        if name not in placed:
            what = f"{name!r} stands nowhere when an episode begins"
            raise error_at(problem.lines.names[name], what, f"Add '(On {name} REGION)' to :init")


def _move(moved: dict[Joint, tuple[Conjunct, int]], joints: tuple[Joint, ...], conjunct: Conjunct, line: int) -> None:
    """Note what moves these joints, as LIBERO does line by line; a line must leave something of those before it."""
    before = {moved[joint] for joint in joints if joint in moved}
    moved |= dict.fromkeys(joints, (conjunct, line))
    for other, earlier in sorted(before - set(moved.values())):
        if other[0] != conjunct[0]:
            what = f"({' '.join(conjunct)}) contradicts ({' '.join(other)}) in line {earlier}"
            raise error_at(line, what, "Keep one of them, or name a part after the whole")


def _check_support(problem: Problem, workspace: Workspace, conjunct: Conjunct, line: int) -> None:
    """What LIBERO can place: fixtures on the table or floor, objects there, in and on parts, and on objects."""
    predicate, name, support = conjunct
    words, carrier = f"({' '.join(conjunct)})", carrier_of(problem, support)
    if name in problem.regions or name == workspace.name:
        raise error_at(line, f"{words} places what cannot be placed", "Name an object or a fixture first")
    if name in problem.fixtures and carrier != workspace.name:
        raise error_at(line, f"{words} puts a fixture on {carrier}", f"Use a region of {workspace.name}")
    if support not in problem.regions and (support not in problem.objects or predicate == "in"):
        raise error_at(line, f"{words} needs a region", "Declare one in :regions and name it here")
    if predicate == "in" and carrier == workspace.name:
        raise error_at(line, f"{words} puts something into {carrier}", f"Write '(On {name} {support})'")
    if predicate == "in":
        _check_room(problem, workspace, conjunct, line)


def _check_room(problem: Problem, workspace: Workspace, conjunct: Conjunct, line: int) -> None:
    """What begins in a part begins there, and neither in what is above it nor nowhere."""
    _, name, region = conjunct
    words, category = f"({' '.join(conjunct)})", split_part(name)[1]
    remedy = f"Place it on a region of {workspace.name}"
    if split_part(region)[1:] == NO_ROOM_IN:
        raise error_at(line, f"{words} finds no room: LIBERO takes so low a region for the shelf itself", remedy)
    is_drawer = find_handle(region) is not None
    is_outside = category in NOT_UNDER_A_ROOF and opens_to_front(region)
    is_outside |= category in NOT_IN_A_SHUT_DRAWER and is_drawer and not starts_open(problem, region)
    if is_outside:
        what = f"{words} begins in or on what is above {region}: LIBERO places a {category} 6 cm over its middle"
        raise error_at(line, what, remedy)


def _placing_order(problem: Problem, workspace: Workspace) -> Iterable[tuple[int | None, int, Conjunct]]:
    """Rank, line and predicate of `:init` in the order LIBERO places things: on the table, on or in parts, on objects.

    What says how far something is open has no rank and comes first.
    """

    def rank(conjunct: Conjunct) -> int | None:
        if len(conjunct) != 3:
            return None
        if conjunct[2] not in problem.regions:
            return 2
        return 0 if problem.regions[conjunct[2]].target == workspace.name else 1

    rows = [(rank(conjunct), line, conjunct) for conjunct, line in zip(problem.init, problem.lines.init, strict=True)]
    return sorted(rows, key=lambda row: -1 if row[0] is None else row[0])


def _unknown(line: int, kind: str, got: str, allowed: Iterable[str]) -> BddlError:
    return BddlError(f"line {line}: {UnknownNameError(kind, got, allowed)}")
