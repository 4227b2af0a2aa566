"""Reads LIBERO's task files (BDDL) into typed values, without evaluating text and without LIBERO."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tgrpo_envs.errors import BddlError
from tgrpo_envs.s_expressions import MAX_CHARACTERS, Atom, Group, atoms_of, group_of, head_of, parse_tree, words_of
from tgrpo_envs.s_expressions import error_at as error_at  # what is said of a line, for all who judge a task file

# Number of arguments of each predicate that LIBERO's files use (libero/libero/envs/predicates).
PREDICATE_ARGUMENTS = {"in": 2, "on": 2, "open": 1, "close": 1, "turnon": 1, "turnoff": 1}

# What Python reads as the number that float() makes of it, for LIBERO evaluates a yaw: 03 and digits of other scripts
# are not.
_NUMBER = re.compile(r"[-+]?(?!0\d+(?![\d.e]))(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII)

Conjunct = tuple[str, ...]


@dataclass(frozen=True)
class Region:
    """A named part of an object or fixture, or a zone of a table or the floor.

    Attributes:
        name: Full name as goals write it, ``<target>_<region>``.
        target: Instance that carries the region.
        ranges: Rectangles ``(x0, y0, x1, y1)`` in metres, relative to the target; empty for regions inside fixtures.
        yaw_ranges: Intervals ``(low, high)`` in radians; empty where the file gives none (LIBERO then takes 0).
    """

    name: str
    target: str
    ranges: tuple[tuple[float, float, float, float], ...] = ()
    yaw_ranges: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Lines:
    """Lines of a task file, counted from 1.

    Attributes:
        sections: Of each section, by its keyword.
        names: Of the declaration of each fixture, object and region.
        init: Of each predicate of `Problem.init`.
        goal: Of each predicate of `Problem.goal`.
    """

    sections: Mapping[str, int] = field(default_factory=dict)
    names: Mapping[str, int] = field(default_factory=dict)
    init: tuple[int, ...] = ()
    goal: tuple[int, ...] = ()


@dataclass(frozen=True)
class Problem:
    """One task file. Names and predicates are lower-case, as LIBERO reads them.

    Attributes:
        name: LIBERO's problem class, e.g. ``libero_floor_manipulation``.
        language: The file's own sentence. It differs from the benchmark's instruction in 29 tasks: see `tasks.Task`.
        regions: Full region name to region. A target may be missing from the scene, as in all of LIBERO-Goal's files.
        fixtures: Instance to category of things without a free joint.
        objects: Instance to category of movable things.
        init: Predicates that hold at reset.
        goal: Predicates that must all hold for success.
        objects_of_interest: LIBERO's own hint. Not the goal's objects in 15 tasks.
        lines: Where things are said in the file, for messages.
    """

    name: str
    language: str
    regions: Mapping[str, Region]
    fixtures: Mapping[str, str]
    objects: Mapping[str, str]
    init: tuple[Conjunct, ...]
    goal: tuple[Conjunct, ...]
    objects_of_interest: tuple[str, ...]
    lines: Lines = field(default_factory=Lines, compare=False, repr=False)


def read_problem(path: str | Path) -> Problem:
    """Read and parse a task file.

    Raises:
        BddlError: The file cannot be read, or is not a task file; the message names the file and the line.
    """
    with in_file(path):
        return parse_problem(read_text(path))


def read_text(path: str | Path) -> str:
    """The text of a task file, or as much of it as is too much.

    Raises:
        BddlError: The file cannot be read as text.
    """
    try:
        with Path(path).open(encoding="utf-8-sig") as file:  # some editors put a mark before the text
            return file.read(MAX_CHARACTERS + 1)
    except UnicodeDecodeError as error:
        raise BddlError(f"cannot be read as UTF-8 ({error}). Save it as UTF-8.") from error
    except OSError as error:
        raise BddlError(f"cannot be read as a text file ({error}). Check the path.") from error


@contextmanager
def in_file(path: str | Path) -> Iterator[None]:
    """Put the name of the file before what is said of its lines."""
    try:
        yield
    except BddlError as error:
        raise BddlError(f"{path}: {error}") from error


def parse_problem(text: str) -> Problem:
    """Parse the text of a task file.

    Raises:
        BddlError: The text leaves the subset of BDDL that LIBERO uses; the message names the line.
    """
    root = parse_tree(text)
    head, *groups = root.items or [root]
    if not isinstance(head, Atom) or head.text != "define":
        raise error_at(root.line, "the file does not start with '(define'", "Give a LIBERO task file")
    sections: dict[str, Group] = {}
    for group in groups:
        key = head_of(group)
        if key.text in sections:
            raise error_at(key.line, f"a second {key.text!r} section", "Merge the two")
        if key.text not in _SECTIONS:
            raise error_at(key.line, f"unknown section {key.text!r}", f"Use {', '.join(sorted(_SECTIONS))}")
        sections[key.text] = Group(key.line, group_of(group).items[1:])
    for required in _REQUIRED_SECTIONS:
        if required not in sections:
            raise error_at(root.line, f"no {required!r} section", "Add it")
    if ":domain" in sections and (domain := words_of(sections[":domain"])) != [_DOMAIN]:
        what = f"the domain is {' '.join(domain)!r}, which LIBERO does not know"
        raise error_at(sections[":domain"].line, what, f"Write '(:domain {_DOMAIN})'")
    problem = _build(sections, empty=Group(root.line))
    _check_references(problem)
    return problem


_REQUIRED_SECTIONS = ("problem", ":fixtures", ":objects", ":init", ":goal")
_SECTIONS = {*_REQUIRED_SECTIONS, ":domain", ":language", ":regions", ":obj_of_interest", ":requirements"}
_DOMAIN = "robosuite"


def _build(sections: Mapping[str, Group], *, empty: Group) -> Problem:
    names = words_of(sections["problem"])
    if len(names) != 1:
        raise error_at(sections["problem"].line, f"{len(names)} problem names", "Write '(problem NAME)'")
    fixtures, objects = _instances(sections[":fixtures"]), _instances(sections[":objects"])
    shared = sorted(fixtures.keys() & objects.keys())
    if shared:
        raise error_at(sections[":objects"].line, f"{shared[0]!r} is a fixture and an object", "Declare it once")
    return Problem(
        name=names[0],
        language=" ".join(words_of(sections.get(":language", empty))),
        regions=_regions(sections.get(":regions", empty)),
        fixtures=fixtures,
        objects=objects,
        init=tuple(_conjunct(item) for item in sections[":init"].items),
        goal=_goal(sections[":goal"]),
        objects_of_interest=tuple(words_of(sections.get(":obj_of_interest", empty))),
        lines=_lines(sections, empty),
    )


def _lines(sections: Mapping[str, Group], empty: Group) -> Lines:
    """Of sections that were read without fault."""
    names = {atom.text: atom.line for key in (":fixtures", ":objects") for atom in _instance_atoms(sections[key])}
    regions = (group_of(item) for item in sections.get(":regions", empty).items)
    body = group_of(sections[":goal"].items[0])
    goal = body.items[1:] if head_of(body).text == "and" else [body]
    return Lines(
        sections={key: section.line for key, section in sections.items()},
        names=names | {_region(region).name: region.line for region in regions},
        init=tuple(item.line for item in sections[":init"].items),
        goal=tuple(item.line for item in goal),
    )


def _instance_atoms(section: Group) -> Iterator[Atom]:
    """The instances of ``a_1 a_2 - a  b_1 - b``, without categories."""
    before = ""
    for atom in atoms_of(section):
        if "-" not in (atom.text, before):
            yield atom
        before = atom.text


def _regions(section: Group) -> dict[str, Region]:
    regions: dict[str, Region] = {}
    for item in section.items:
        region = _region(group_of(item))
        if region.name in regions:
            raise error_at(item.line, f"a second region {region.name!r}", "Rename one")
        regions[region.name] = region
    return regions


def _region(group: Group) -> Region:
    short_name = head_of(group)
    attributes: dict[str, Group] = {}
    for item in group.items[1:]:
        key = head_of(item)
        if key.text not in {":target", ":ranges", ":yaw_rotation", ":rgba"}:
            raise error_at(key.line, f"unknown attribute {key.text!r}", "Use :target, :ranges, :yaw_rotation or :rgba")
        if key.text in attributes:
            raise error_at(key.line, f"a second {key.text!r} of region {short_name.text!r}", "Keep one")
        attributes[key.text] = Group(key.line, group_of(item).items[1:])
    target = words_of(attributes[":target"]) if ":target" in attributes else []
    if len(target) != 1:
        raise error_at(group.line, f"region {short_name.text!r} has {len(target)} targets", "Write '(:target NAME)'")
    if ":rgba" in attributes:  # nothing here reads it, and LIBERO fails on another form
        _row(_one_list(attributes[":rgba"], "Write '(:rgba (r g b a))'"), 4, "(r g b a)")
    ranges = _rows(attributes.get(":ranges"), 4, "(x0 y0 x1 y1) in metres")
    yaw_ranges = _rows(attributes.get(":yaw_rotation"), 2, "(low high) in radians")
    intervals = [*((x0, x1) for x0, _, x1, _ in ranges), *((y0, y1) for _, y0, _, y1 in ranges), *yaw_ranges]
    for low, high in intervals:
        if low > high:
            what = f"region {short_name.text!r} runs from {low} down to {high}"
            raise error_at(group.line, what, "Give the lower end first")
    return Region(
        name=f"{target[0]}_{short_name.text}",
        target=target[0],
        ranges=tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in ranges),
        yaw_ranges=tuple((low, high) for low, high in yaw_ranges),
    )


def _rows(attribute: Group | None, width: int, meaning: str) -> list[list[float]]:
    """Rows of numbers written as ``(:key ((a b) (c d)))``."""
    if attribute is None:
        return []
    return [_row(item, width, meaning) for item in _one_list(attribute, f"Write one list of {meaning}").items]


def _one_list(attribute: Group, remedy: str) -> Group:
    if len(attribute.items) != 1:
        raise error_at(attribute.line, f"{len(attribute.items)} entries where one list belongs", remedy)
    return group_of(attribute.items[0])


def _row(item: Atom | Group, width: int, meaning: str) -> list[float]:
    words = words_of(group_of(item))
    if len(words) != width:
        raise error_at(item.line, f"{len(words)} numbers", f"Write {meaning}")
    return [_number(word, item.line) for word in words]


def _number(word: str, line: int) -> float:
    value = float(word) if _NUMBER.fullmatch(word) else math.nan
    if not math.isfinite(value):
        raise error_at(line, f"{word!r} is not a finite number in plain digits", "Write it like 3, 0.25 or -1.5e-3")
    return value


def _instances(section: Group) -> dict[str, str]:
    """Instance to category, from ``a_1 a_2 - a  b_1 - b``."""
    instances: dict[str, str] = {}
    pending: list[Atom] = []
    atoms = iter(atoms_of(section))
    for atom in atoms:
        if atom.text != "-":
            pending.append(atom)
            continue
        category = next(atoms, None)
        if category is None or not pending:
            raise error_at(atom.line, "'-' without a name on each side", "Write 'NAME_1 - NAME'")
        if category.text in instances.values():
            what = f"a second group of {category.text!r}, and LIBERO reads the last alone"
            remedy = f"Write one: '{category.text}_1 {category.text}_2 - {category.text}'"
            raise error_at(category.line, what, remedy)
        for instance in pending:
            if instance.text in instances:
                raise error_at(instance.line, f"{instance.text!r} is declared twice", "Declare it once")
            instances[instance.text] = category.text
        pending.clear()
    if pending:
        raise error_at(pending[0].line, f"{pending[0].text!r} has no category", "Write 'NAME_1 - NAME'")
    return instances


def _goal(section: Group) -> tuple[Conjunct, ...]:
    if len(section.items) != 1:
        raise error_at(section.line, f"{len(section.items)} goal expressions", "Write one '(And ...)'")
    body = group_of(section.items[0])
    if head_of(body).text != "and":
        return (_conjunct(body),)
    if len(body.items) == 1:
        raise error_at(body.line, "an empty goal", "Name at least one predicate")
    return tuple(_conjunct(item) for item in body.items[1:])


def _conjunct(item: Atom | Group) -> Conjunct:
    predicate = head_of(item).text
    if predicate == "and":
        remedy = "Write one (And ...) around all predicates of the goal, and none in :init"
        raise error_at(item.line, "'and' where a predicate belongs", remedy)
    if predicate not in PREDICATE_ARGUMENTS:
        raise error_at(item.line, f"unknown predicate {predicate!r}", f"Use {', '.join(PREDICATE_ARGUMENTS)}")
    words = words_of(group_of(item))
    if len(words) - 1 != PREDICATE_ARGUMENTS[predicate]:
        expected = PREDICATE_ARGUMENTS[predicate]
        raise error_at(item.line, f"{predicate!r} with {len(words) - 1} names", f"It takes {expected}")
    return tuple(words)


def _check_references(problem: Problem) -> None:
    """Init and goal may only name what the file declares."""
    known = problem.objects.keys() | problem.fixtures.keys() | problem.regions.keys()
    sections = ((":init", problem.init, problem.lines.init), (":goal", problem.goal, problem.lines.goal))
    for section, conjuncts, lines in sections:
        for conjunct, line in zip(conjuncts, lines, strict=True):
            for name in conjunct[1:]:
                if name not in known:
                    what = f"{section} names {name!r}, which the file does not declare"
                    raise error_at(line, what, _remedy(problem, name))


def _remedy(problem: Problem, name: str) -> str:
    meant = [repr(region.name) for region in problem.regions.values() if region.name == f"{region.target}_{name}"]
    return f"Write a region with its target: {' or '.join(meant)}" if meant else "Declare it or correct the name"
