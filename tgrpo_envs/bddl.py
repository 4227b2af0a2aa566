"""Reads LIBERO's task files (BDDL) into typed values, without evaluating text and without LIBERO."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tgrpo_envs.errors import BddlError

MAX_CHARACTERS = 200_000  # LIBERO's longest file has 3,284
MAX_DEPTH = 16  # LIBERO nests 6 deep

# Number of arguments of each predicate that LIBERO's files use (libero/libero/envs/predicates).
PREDICATE_ARGUMENTS = {"in": 2, "on": 2, "open": 1, "close": 1, "turnon": 1, "turnoff": 1}

_TOKEN = re.compile(r";[^\n]*|[()]|[^\s();]+")

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


@dataclass(frozen=True, slots=True)
class _Atom:
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class _Group:
    line: int
    items: list[_Atom | _Group] = field(default_factory=list)


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
    except (OSError, UnicodeDecodeError) as error:
        raise BddlError(f"cannot be read as a text file ({error}). Check the path.") from error


@contextmanager
def in_file(path: str | Path) -> Iterator[None]:
    """Put the name of the file before what is said of its lines."""
    try:
        yield
    except BddlError as error:
        raise BddlError(f"{path}: {error}") from error


def error_at(line: int, what: str, remedy: str) -> BddlError:
    """What is wrong in a line of a task file, and what to do."""
    return BddlError(f"line {line}: {what}. {remedy}.")


def parse_problem(text: str) -> Problem:
    """Parse the text of a task file.

    Raises:
        BddlError: The text leaves the subset of BDDL that LIBERO uses; the message names the line.
    """
    root = _parse_tree(text)
    head, *groups = root.items or [root]
    if not isinstance(head, _Atom) or head.text != "define":
        raise error_at(root.line, "the file does not start with '(define'", "Give a LIBERO task file")
    sections: dict[str, _Group] = {}
    for group in groups:
        key = _head(group)
        if key.text in sections:
            raise error_at(key.line, f"a second {key.text!r} section", "Merge the two")
        if key.text not in _SECTIONS:
            raise error_at(key.line, f"unknown section {key.text!r}", f"Use {', '.join(sorted(_SECTIONS))}")
        sections[key.text] = _Group(key.line, _group(group).items[1:])
    for required in _REQUIRED_SECTIONS:
        if required not in sections:
            raise error_at(root.line, f"no {required!r} section", "Add it")
    problem = _build(sections, empty=_Group(root.line))
    _check_references(problem)
    return problem


_REQUIRED_SECTIONS = ("problem", ":fixtures", ":objects", ":init", ":goal")
_SECTIONS = {*_REQUIRED_SECTIONS, ":domain", ":language", ":regions", ":obj_of_interest", ":requirements"}


def _build(sections: Mapping[str, _Group], *, empty: _Group) -> Problem:
    names = _words(sections["problem"])
    if len(names) != 1:
        raise error_at(sections["problem"].line, f"{len(names)} problem names", "Write '(problem NAME)'")
    fixtures, objects = _instances(sections[":fixtures"]), _instances(sections[":objects"])
    shared = sorted(fixtures.keys() & objects.keys())
    if shared:
        raise error_at(sections[":objects"].line, f"{shared[0]!r} is a fixture and an object", "Declare it once")
    return Problem(
        name=names[0],
        language=" ".join(_words(sections.get(":language", empty))),
        regions=_regions(sections.get(":regions", empty)),
        fixtures=fixtures,
        objects=objects,
        init=tuple(_conjunct(item) for item in sections[":init"].items),
        goal=_goal(sections[":goal"]),
        objects_of_interest=tuple(_words(sections.get(":obj_of_interest", empty))),
        lines=_lines(sections, empty),
    )


def _lines(sections: Mapping[str, _Group], empty: _Group) -> Lines:
    """Of sections that were read without fault."""
    names = {atom.text: atom.line for key in (":fixtures", ":objects") for atom in _instance_atoms(sections[key])}
    regions = (_group(item) for item in sections.get(":regions", empty).items)
    body = _group(sections[":goal"].items[0])
    goal = body.items[1:] if _head(body).text == "and" else [body]
    return Lines(
        sections={key: section.line for key, section in sections.items()},
        names=names | {_region(region).name: region.line for region in regions},
        init=tuple(item.line for item in sections[":init"].items),
        goal=tuple(item.line for item in goal),
    )


def _instance_atoms(section: _Group) -> Iterator[_Atom]:
    """The instances of ``a_1 a_2 - a  b_1 - b``, without categories."""
    before = ""
    for atom in _atoms(section):
        if "-" not in (atom.text, before):
            yield atom
        before = atom.text


def _parse_tree(text: str) -> _Group:
    """The file's one outermost group. Iterative, so that depth is a limit of ours and not of Python's stack."""
    if len(text) > MAX_CHARACTERS:
        raise BddlError(f"longer than {MAX_CHARACTERS} characters. Give a LIBERO task file.")
    top = _Group(1)
    stack = [top]
    line = 1
    for atom in _tokens(text):
        line = atom.line
        if atom.text == "(":
            if len(stack) > MAX_DEPTH:
                raise error_at(line, f"nested deeper than {MAX_DEPTH}", "Check the parentheses")
            child = _Group(line)
            stack[-1].items.append(child)
            stack.append(child)
        elif atom.text == ")":
            if len(stack) == 1:
                raise error_at(line, "')' without its '('", "Remove it")
            stack.pop()
        else:
            stack[-1].items.append(atom)
    if len(stack) > 1:
        raise error_at(stack[-1].line, "'(' is never closed", "Add the missing ')'")
    if len(top.items) != 1:
        raise error_at(line, f"{len(top.items)} outermost expressions", "Write exactly one '(define ...)'")
    return _group(top.items[0])


def _tokens(text: str) -> Iterator[_Atom]:
    for line, content in enumerate(text.split("\n"), start=1):
        for match in _TOKEN.finditer(content.lower()):
            if not match.group().startswith(";"):
                yield _Atom(match.group(), line)


def _regions(section: _Group) -> dict[str, Region]:
    regions: dict[str, Region] = {}
    for item in section.items:
        region = _region(_group(item))
        if region.name in regions:
            raise error_at(item.line, f"a second region {region.name!r}", "Rename one")
        regions[region.name] = region
    return regions


def _region(group: _Group) -> Region:
    short_name = _head(group)
    attributes: dict[str, _Group] = {}
    for item in group.items[1:]:
        key = _head(item)
        if key.text not in {":target", ":ranges", ":yaw_rotation", ":rgba"}:
            raise error_at(key.line, f"unknown attribute {key.text!r}", "Use :target, :ranges, :yaw_rotation or :rgba")
        attributes[key.text] = _Group(key.line, _group(item).items[1:])
    target = _words(attributes[":target"]) if ":target" in attributes else []
    if len(target) != 1:
        raise error_at(group.line, f"region {short_name.text!r} has {len(target)} targets", "Write '(:target NAME)'")
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


def _rows(attribute: _Group | None, width: int, meaning: str) -> list[list[float]]:
    """Rows of numbers written as ``(:key ((a b) (c d)))``. LIBERO evaluates yaw as Python; its files hold numbers."""
    if attribute is None:
        return []
    if len(attribute.items) != 1:
        raise error_at(attribute.line, f"{len(attribute.items)} lists", f"Write one list of {meaning}")
    rows = []
    for item in _group(attribute.items[0]).items:
        words = _words(_group(item))
        if len(words) != width:
            raise error_at(item.line, f"{len(words)} numbers", f"Write {meaning}")
        rows.append([_number(word, item.line) for word in words])
    return rows


def _number(word: str, line: int) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise error_at(line, f"{word!r} is not a finite number", "Write it in digits")
    return value


def _instances(section: _Group) -> dict[str, str]:
    """Instance to category, from ``a_1 a_2 - a  b_1 - b``."""
    instances: dict[str, str] = {}
    pending: list[_Atom] = []
    atoms = iter(_atoms(section))
    for atom in atoms:
        if atom.text != "-":
            pending.append(atom)
            continue
        category = next(atoms, None)
        if category is None or not pending:
            raise error_at(atom.line, "'-' without a name on each side", "Write 'NAME_1 - NAME'")
        for instance in pending:
            if instance.text in instances:
                raise error_at(instance.line, f"{instance.text!r} is declared twice", "Declare it once")
            instances[instance.text] = category.text
        pending.clear()
    if pending:
        raise error_at(pending[0].line, f"{pending[0].text!r} has no category", "Write 'NAME_1 - NAME'")
    return instances


def _goal(section: _Group) -> tuple[Conjunct, ...]:
    if len(section.items) != 1:
        raise error_at(section.line, f"{len(section.items)} goal expressions", "Write one '(And ...)'")
    body = _group(section.items[0])
    if _head(body).text != "and":
        return (_conjunct(body),)
    if len(body.items) == 1:
        raise error_at(body.line, "an empty goal", "Name at least one predicate")
    return tuple(_conjunct(item) for item in body.items[1:])


def _conjunct(item: _Atom | _Group) -> Conjunct:
    predicate = _head(item).text
    if predicate not in PREDICATE_ARGUMENTS:
        raise error_at(item.line, f"unknown predicate {predicate!r}", f"Use {', '.join(PREDICATE_ARGUMENTS)}")
    words = _words(_group(item))
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
                    raise error_at(line, what, "Declare it or correct the name")


def _group(item: _Atom | _Group) -> _Group:
    if isinstance(item, _Atom):
        raise error_at(item.line, f"{item.text!r} stands where a '(' belongs", "Check the parentheses")
    return item


def _head(item: _Atom | _Group) -> _Atom:
    group = _group(item)
    if not group.items or not isinstance(group.items[0], _Atom):
        raise error_at(group.line, "'(' without a name after it", "Check the parentheses")
    return group.items[0]


def _words(group: _Group) -> list[str]:
    return [atom.text for atom in _atoms(group)]


def _atoms(group: _Group) -> list[_Atom]:
    atoms = []
    for item in group.items:
        if isinstance(item, _Group):
            raise error_at(item.line, "'(' stands where a name belongs", "Check the parentheses")
        atoms.append(item)
    return atoms
