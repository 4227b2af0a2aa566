"""Reads nested parentheses (S-expressions), as task files are written in them, into a tree that knows its lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tgrpo_envs.errors import BddlError

MAX_CHARACTERS = 200_000  # LIBERO's longest file has 3,284
MAX_DEPTH = 16  # LIBERO nests 6 deep

_TOKEN = re.compile(r";[^\n]*|[()]|[^\s();]+")


@dataclass(frozen=True, slots=True)
class Atom:
    """A word, in lower case, and its line, counted from 1."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Group:
    """What stands between two parentheses, and the line of the first."""

    line: int
    items: list[Atom | Group] = field(default_factory=list)


def error_at(line: int, what: str, remedy: str) -> BddlError:
    """What is wrong in a line of a task file, and what to do."""
    return BddlError(f"line {line}: {what}. {remedy}.")


def parse_tree(text: str) -> Group:
    """The text's one outermost group. Iterative, so that depth is a limit of ours and not of Python's stack.

    Raises:
        BddlError: The text is too long or too deep, its parentheses do not match, or it has not one outermost group.
    """
    if len(text) > MAX_CHARACTERS:
        raise BddlError(f"longer than {MAX_CHARACTERS} characters. Give a LIBERO task file.")
    top = Group(1)
    stack = [top]
    line = 1
    for atom in _tokens(text):
        line = atom.line
        if atom.text == "(":
            if len(stack) > MAX_DEPTH:
                raise error_at(line, f"nested deeper than {MAX_DEPTH}", "Check the parentheses")
            child = Group(line)
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
    return group_of(top.items[0])


def group_of(item: Atom | Group) -> Group:
    """The item, which must be a group.

    Raises:
        BddlError: It is a word.
    """
    if isinstance(item, Atom):
        raise error_at(item.line, f"{item.text!r} stands where a '(' belongs", "Check the parentheses")
    return item


def head_of(item: Atom | Group) -> Atom:
    """The word that a group begins with.

    Raises:
        BddlError: The item is no group, or begins with none.
    """
    group = group_of(item)
    if not group.items or not isinstance(group.items[0], Atom):
        raise error_at(group.line, "'(' without a name after it", "Check the parentheses")
    return group.items[0]


def words_of(group: Group) -> list[str]:
    """The texts of a group of words.

    Raises:
        BddlError: There is a group among them.
    """
    return [atom.text for atom in atoms_of(group)]


def atoms_of(group: Group) -> list[Atom]:
    """The words of a group of words.

    Raises:
        BddlError: There is a group among them.
    """
    found = []
    for item in group.items:
        if isinstance(item, Group):
            raise error_at(item.line, "'(' stands where a name belongs", "Check the parentheses")
        found.append(item)
    return found


def _tokens(text: str) -> Iterator[Atom]:
    for line, content in enumerate(text.split("\n"), start=1):
        for match in _TOKEN.finditer(content.lower()):
            if not match.group().startswith(";"):
                yield Atom(match.group(), line)
