"""What a task file alone says about a scene: names and kinds, what resembles what, what opens, what starts where."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from tgrpo_envs.bddl import Conjunct, Problem
from tgrpo_envs.rewards.at_reset import door, starts_open
from tgrpo_envs.rewards.entities import FIXTURE, GRIPPER, HANDLE, MOVABLE, REGION
from tgrpo_envs.rewards.handles import HANDLE_SUFFIX, find_handle

# LIBERO makes these part of the room, so they are no entities of a scene; their zones are.
WORKSPACES = frozenset({"kitchen_table", "living_room_table", "study_table", "table", "floor"})
DIRECTIONS = {"open": "open", "close": "close", "turnon": "on", "turnoff": "off"}
"""What a spec calls the direction in which a predicate's joint goes."""

MAX_SUGGESTIONS = 3
ALIKE = 0.75  # ratio of difflib from which a word counts as misspelt, and what it then counts

TERMS = {
    **dict.fromkeys(("hand", "robot", "arm", "eef", "finger", "fingers", "fingertips", "effector"), GRIPPER),
    **dict.fromkeys(("drawer", "drawers", "cupboard"), "cabinet"),
    **dict.fromkeys(("burner", "hob", "knob", "cooker"), "stove"),
    **dict.fromkeys(("cup", "teacup"), "mug"),
    **dict.fromkeys(("carton",), "milk"),
    **dict.fromkeys(("pan", "skillet"), "frypan"),
    **dict.fromkeys(("pot", "kettle"), "moka"),
    **dict.fromkeys(("oven",), "microwave"),
    **dict.fromkeys(("center",), "middle"),
}
"""Words that people use for things whose names in the task files are others."""


@dataclass(frozen=True)
class Entities:
    """The names of one task's scene."""

    problem: Problem

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Kind of every name that a spec may use; the same names as those of the built scene."""
        problem = self.problem
        fixtures = [name for name, category in problem.fixtures.items() if category not in WORKSPACES]
        present = problem.objects.keys() | problem.fixtures.keys()
        regions = [name for name, region in problem.regions.items() if region.target in present]
        handles = [part + HANDLE_SUFFIX for part in (*fixtures, *regions) if find_handle(part)]
        return {
            GRIPPER: GRIPPER,
            **dict.fromkeys(problem.objects, MOVABLE),
            **dict.fromkeys(fixtures, FIXTURE),
            **dict.fromkeys(regions, REGION),
            **dict.fromkeys(handles, HANDLE),
        }

    def part(self, name: str) -> str:
        """The part a handle belongs to; other names stay."""
        return name.removesuffix(HANDLE_SUFFIX) if self.kinds.get(name) == HANDLE else name

    def carrier(self, name: str) -> str:
        """The instance that a region or handle belongs to; instances stay."""
        name = self.part(name)
        return self.problem.regions[name].target if name in self.problem.regions else name

    def category(self, name: str) -> str:
        """Category of an instance, or of the instance that carries a region; empty for unknown names."""
        carrier = self.carrier(name)
        return self.problem.objects.get(carrier) or self.problem.fixtures.get(carrier, "")

    def siblings(self, name: str) -> frozenset[str]:
        """Names easily taken for this one: instances of its category, other regions of the same sort of carrier."""
        kind, category = self.kinds.get(name), self.category(name)
        return frozenset(
            other
            for other, its_kind in self.kinds.items()
            if other != name and its_kind == kind and kind != GRIPPER and self.category(other) == category
        )

    def door(self, region: str) -> str | None:
        """The jointed part that must be open for something to enter the region: a drawer itself, or a door."""
        return door(region) if self.kinds.get(region) == REGION else None

    def starts_open(self, part: str) -> bool:
        """Whether the file opens the part at reset; drawers and doors are shut otherwise."""
        return starts_open(self.problem, part)

    def start_places(self, name: str) -> frozenset[str]:
        """What a movable stands on or in at reset, with the instances that carry those regions."""
        places = {words[2] for words in self.problem.init if words[0] in ("on", "in") and words[1] == name}
        return frozenset(places | {self.carrier(place) for place in places})

    def nearest(self, name: str, names: Iterable[str]) -> str:
        """What was probably meant, for a hint: names that share words, the goal's own first; else by spelling."""
        likeness = {other: _likeness(name, other) for other in names}
        alike = {other: share for other, share in likeness.items() if share > 0} or likeness
        ranked = sorted(
            alike, key=lambda other: (-alike[other], other not in self._goal_names, edit_distance(name, other), other)
        )
        return " or ".join(map(repr, ranked[:MAX_SUGGESTIONS]))

    @cached_property
    def _goal_names(self) -> frozenset[str]:
        return frozenset(name for conjunct in self.problem.goal for name in conjunct[1:])


def place_of(conjunct: Conjunct) -> tuple[str, str] | None:
    """(moved object, target) of a goal that puts something somewhere; None for goals about a joint."""
    return (conjunct[1], conjunct[2]) if conjunct[0] in ("in", "on") else None


def joint_of(conjunct: Conjunct) -> tuple[str, str] | None:
    """(part, direction) of a goal about a joint; None for goals that put something somewhere."""
    return (conjunct[1], DIRECTIONS[conjunct[0]]) if conjunct[0] in DIRECTIONS else None


def _likeness(name: str, other: str) -> float:
    """How many words two names share, as spelt or meant; a misspelt word counts for less."""
    theirs = set(_words(other))
    shared = 0.0
    for word in _words(name):
        if word in theirs:
            shared += 1
        elif difflib.get_close_matches(word, theirs, n=1, cutoff=ALIKE):
            shared += ALIKE
    return shared


def _words(name: str) -> list[str]:
    """The words of a name in the benchmark's own terms, without numbers."""
    return [TERMS.get(word, word) for word in re.split(r"[^a-z]+", name.lower()) if word]


def edit_distance(left: str, right: str) -> int:
    """Levenshtein's distance: single-letter insertions, deletions and replacements from one text to the other."""
    above = list(range(len(right) + 1))
    for i, letter in enumerate(left, start=1):
        row = [i]
        for j, other in enumerate(right, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != other)))
        above = row
    return above[-1]
