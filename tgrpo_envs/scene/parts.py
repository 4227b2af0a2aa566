"""What the names of a task file are in an asset pack: its categories, their regions, and the joints that move these."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from tgrpo_envs.assets import AssetPack
from tgrpo_envs.assets.layout import object_file
from tgrpo_envs.bddl import Conjunct, Problem, error_at
from tgrpo_envs.sim.success import JOINT_TESTS, Comparison

ARTICULATED_FAMILY = "articulated_objects"
# Objects that LIBERO's asset folder has and its Python has not (envs/objects/*.py).
WITHOUT_CLASS = frozenset({"red_bowl", "simple_rack", "wine_rack_stand", "wooden_cabinet_base"})

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


def joints_of(problem: Problem, name: str, pack: AssetPack) -> tuple[Joint, ...]:
    """A region speaks for the joints of its own body, a fixture for all of its joints."""
    thing, category = carrier_of(problem, name), _category(problem, name)
    if name in problem.regions:
        joints = parts_of(pack, category)[name.removeprefix(f"{thing}_")]
    else:
        joints = tuple(joint.get("name", "") for joint in _world(pack, category).iterfind(".//joint"))
    return tuple((thing, joint) for joint in joints)


Asked = dict[tuple[Joint, ...], tuple[str, int]]
"""The predicate that was first asked of some joints, and its line."""


def note_state(asked: Asked, problem: Problem, conjunct: Conjunct, line: int, pack: AssetPack) -> None:
    """Note which state of its joints an open, close, turnon or turnoff asks for.

    Args:
        asked: Of the conjuncts before; the new one is added.
        problem: The task file.
        conjunct: Predicate and part.
        line: Its line.
        pack: Where the shapes come from.

    Raises:
        BddlError: LIBERO does not define the predicate for the part, no joint moves it, or another was asked of the
            same joints.
    """
    predicate, before = asked.setdefault(_checked_joints(problem, conjunct, line, pack), (conjunct[0], line))
    if predicate != conjunct[0]:
        what = f"({' '.join(conjunct)}) contradicts ({predicate} {conjunct[1]}) in line {before}"
        raise error_at(line, what, "Keep one of them")


def _checked_joints(problem: Problem, conjunct: Conjunct, line: int, pack: AssetPack) -> tuple[Joint, ...]:
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


def joint_test(problem: Problem, conjunct: Conjunct) -> Comparison:
    """Comparison that a joint must pass for open, close, turnon or turnoff of this thing."""
    return JOINT_TESTS[conjunct[0]][_category(problem, conjunct[1])]


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
