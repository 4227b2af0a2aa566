"""What the names of a task file are in an asset pack: its categories, their regions, and the joints that move these."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from tgrpo_envs.assets import AssetPack
from tgrpo_envs.assets.layout import object_file
from tgrpo_envs.bddl import Conjunct, Problem, error_at
from tgrpo_envs.sim.success import JOINT_TESTS

ARTICULATED_FAMILY = "articulated_objects"
# Objects that LIBERO's asset folder has and its Python has not (envs/objects/*.py).
WITHOUT_CLASS = frozenset({"red_bowl", "simple_rack", "wine_rack_stand", "wooden_cabinet_base"})
# Those that its Python cannot make without a free joint, as it makes fixtures: their classes have no argument `joints`.
MOVABLE_ONLY = frozenset({
    "akita_black_bowl", "alphabet_soup", "basket", "bbq_sauce", "butter", "chefmate_8_frypan", "cherries",
    "chocolate_pudding", "cookies", "corn", "cream_cheese", "glazed_rim_porcelain_ramekin", "ketchup",
    "macaroni_and_cheese", "mayo", "milk", "new_salad_dressing", "orange_juice", "plate", "popcorn", "salad_dressing",
    "tomato_sauce", "white_bowl",
})  # fmt: skip

Joint = tuple[str, str]  # the fixture that has it, and its name there


def known_categories(pack: AssetPack) -> list[str]:
    """Categories that the pack has and LIBERO can make."""
    return sorted(set(pack.contents) - WITHOUT_CLASS)


def has_joints(pack: AssetPack, category: str) -> bool:
    """Whether things of this category have doors, drawers or knobs."""
    return ARTICULATED_FAMILY in _mjcf(pack, category).parts


def parts_of(pack: AssetPack, category: str) -> dict[str, tuple[str, ...]]:
    """The regions that a thing of this category has, and the joints of each one's body, as LIBERO finds them.

    Those that are no boxes are left out: LIBERO tells what is there from a region's three half sizes.
    """
    parts: dict[str, tuple[str, ...]] = {}
    for body in _world(pack, category).iterfind("body[1]//body"):
        sites = body.findall(".//site")
        if not sites:
            break
        joints = tuple(joint.get("name", "") for joint in body.iterfind("joint"))
        parts |= {site.get("name", ""): joints for site in sites if len(site.get("size", "").split()) == 3}
    return dict(sorted(parts.items()))


def carrier_of(problem: Problem, name: str) -> str:
    """The thing itself, or what carries the region."""
    return problem.regions[name].target if name in problem.regions else name


def starts_together(problem: Problem) -> dict[str, list[str]]:
    """The things that begin in or on parts of one other thing, by that thing; none where it is a single one."""
    together: dict[str, list[str]] = {}
    for held in problem.init:
        region = problem.regions.get(held[-1])
        if len(held) == 3 and region is not None and not region.ranges:
            together.setdefault(region.target, []).append(held[1])
    return {carrier: names for carrier, names in together.items() if len(names) > 1}


def joints_of(problem: Problem, name: str, pack: AssetPack) -> tuple[Joint, ...]:
    """A region speaks for the joints of its own body, a fixture for all of its joints."""
    thing, category = carrier_of(problem, name), _category(problem, name)
    if name in problem.regions:
        joints = parts_of(pack, category)[name.removeprefix(f"{thing}_")]
    else:
        joints = tuple(joint.get("name", "") for joint in _world(pack, category).iterfind(".//joint"))
    return tuple((thing, joint) for joint in joints)


def checked_joints(problem: Problem, conjunct: Conjunct, line: int, pack: AssetPack) -> tuple[Joint, ...]:
    """The joints whose state an open, close, turnon or turnoff asks for.

    Args:
        problem: The task file.
        conjunct: Predicate and part.
        line: Its line.
        pack: Where the shapes come from.

    Raises:
        BddlError: LIBERO does not define the predicate for the part, or no joint moves it.
    """
    predicate, name = conjunct
    words = f"({' '.join(conjunct)})"
    thing, category = carrier_of(problem, name), _category(problem, name)
    if category not in JOINT_TESTS[predicate]:
        raise error_at(line, f"{words} is not defined for {thing}", f"It is for {', '.join(JOINT_TESTS[predicate])}")
    joints = joints_of(problem, name, pack)
    if not joints:
        moving = [f"{thing}_{part}" for part, moved_by in parts_of(pack, category).items() if moved_by]
        raise error_at(line, f"{words} is about a part that does not move", f"Name {' or '.join([thing, *moving])}")
    return joints


def _category(problem: Problem, name: str) -> str:
    return {**problem.fixtures, **problem.objects}.get(carrier_of(problem, name), "")


def _world(pack: AssetPack, category: str) -> ET.Element:
    world = ET.parse(_mjcf(pack, category)).find("worldbody")
    assert world is not None
    return world


def _mjcf(pack: AssetPack, category: str) -> Path:
    path = object_file(pack.folder, category)
    assert path is not None  # categories are checked first
    return path
