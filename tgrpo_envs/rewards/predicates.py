"""The predicates of reward specs, each defined here once: fields and ranges, measures, and words.

What a predicate measures is its truth: verdicts, explanations, ranges, JSON schema, documentation and the language
model's vocabulary follow from its class. CONTRIBUTING.md has the recipe for another one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from tgrpo_envs.rewards import quantities as of
from tgrpo_envs.rewards.entities import REGION, Entities, Place, joint_test
from tgrpo_envs.rewards.measures import Measure, Unit, at_least, at_most, below, no, yes
from tgrpo_envs.rewards.words import (
    AnyName,
    Axes,
    MovableName,
    ObjectName,
    PartName,
    RegionName,
    SupportName,
    Toward,
    Word,
    by_op,
)

MAX_CONJUNCTS = 12


class Predicate(Word):
    """A condition that holds when all of its measures keep to their limits.

    Attributes:
        negation: What it says in English where it does not hold.
    """

    negation: ClassVar[str]


class Near(Predicate):
    """`a` and `b` are at most `within_m` apart, over the named world axes."""

    phrase = "{a} is within {within_m} of {b}{axes}"
    negation = "{a} is farther than {within_m} from {b}{axes}"
    op: Literal["near"]
    a: AnyName
    b: AnyName
    within_m: float = Field(ge=0.01, le=0.30)
    axes: Axes = "xyz"

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """One distance."""
        return (at_most("distance", "m", self.within_m, of.distance, at["a"], at["b"], self.axes),)


class Touching(Predicate):
    """Some part of the gripper touches `a`."""

    phrase = "the gripper touches {a}"
    negation = "the gripper does not touch {a}"
    op: Literal["touching"]
    a: ObjectName

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """One contact."""
        return (yes("gripper contact", of.gripper_contact, at["a"]),)


class Grasped(Predicate):
    """The fingers hold `a` between them: both press on it, towards each other."""

    phrase = "the fingers hold {a} between them"
    negation = "the fingers do not hold {a} between them"
    op: Literal["grasped"]
    a: MovableName

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """Each finger."""
        return (
            yes("left finger presses", of.finger_contact, at["a"], 0),
            yes("right finger presses", of.finger_contact, at["a"], 1),
        )


class Released(Predicate):
    """No part of the gripper touches `a`."""

    phrase = "the gripper does not touch {a}"
    negation = "the gripper touches {a}"
    op: Literal["released"]
    a: MovableName

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """No contact."""
        return (no("gripper contact", of.gripper_contact, at["a"]),)


class Lifted(Predicate):
    """`a` is at least `by_m` higher than at reset."""

    phrase = "{a} is {by_m} or more above its start height"
    negation = "{a} is less than {by_m} above its start height"
    op: Literal["lifted"]
    a: MovableName
    by_m: float = Field(ge=0.02, le=0.30)

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """One height."""
        return (at_least("rise", "m", self.by_m, of.rise, at["a"]),)


class Above(Predicate):
    """`a` is at least `min_m` over the top of `b` (a region's box, an object's origin) and horizontally close."""

    phrase = "{a} is {min_m} or more over the top of {b} and within {xy_within_m} of it horizontally"
    negation = "{a} is not {min_m} over the top of {b} and within {xy_within_m} of it horizontally"
    op: Literal["above"]
    a: MovableName
    b: SupportName
    min_m: float = Field(ge=0.0, le=0.10)
    xy_within_m: float = Field(ge=0.02, le=0.15)

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """A height and a distance."""
        return (
            at_least("height over the top", "m", self.min_m, of.height_over_top, at["a"], at["b"]),
            at_most("horizontal distance", "m", self.xy_within_m, of.distance, at["a"], at["b"], "xy"),
        )


class Inside(Predicate):
    """The origin of `a` is inside LIBERO's containment box of region `b`, shrunk by `margin_m` on every side."""

    phrase = "{a} is inside {b}{margin_m}"
    negation = "{a} is not inside {b}{margin_m}"
    op: Literal["inside"]
    a: MovableName
    b: RegionName
    margin_m: float = Field(default=0.0, ge=0.0, le=0.03)

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """The worst axis."""
        return (below("distance to the box (negative inside)", "m", -self.margin_m, of.outside, at["a"], at["b"]),)


class AtOpening(Predicate):
    """`a` is at most `within_m` from the opening of region `b` (a microwave's or shelf's front, else the top), or in.

    What is beside, on or behind the region is not near its opening: it would have to come back around the edge.
    """

    phrase = "{a} is within {within_m} of the opening of {b}"
    negation = "{a} is farther than {within_m} from the opening of {b}"
    op: Literal["at_opening"]
    a: MovableName
    b: RegionName
    within_m: float = Field(ge=0.02, le=0.15)

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """The way to the opening."""
        return (at_most("way to the opening", "m", self.within_m, of.to_opening, at["a"], at["b"]),)


class RestingOn(Predicate):
    """`a` touches `b` and its origin is not below that of `b`."""

    phrase = "{a} rests on {b}"
    negation = "{a} does not rest on {b}"
    op: Literal["resting_on"]
    a: MovableName
    b: ObjectName

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """A contact and a height."""
        return (
            yes("contact", of.contact, at["a"], at["b"]),
            at_least("height over its origin", "m", 0.0, of.height_over_origin, at["a"], at["b"]),
        )


class Upright(Predicate):
    """`a` leans at most `within_deg` away from its attitude at reset; turning about the vertical is free."""

    phrase = "{a} leans at most {within_deg} from its start attitude"
    negation = "{a} leans more than {within_deg}"
    op: Literal["upright"]
    a: MovableName
    within_deg: float = Field(ge=5.0, le=60.0)

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """One angle."""
        return (at_most("lean", "deg", self.within_deg, of.lean, at["a"]),)


class Still(Predicate):
    """`a` moves slower than `below_mps`."""

    phrase = "{a} moves slower than {below_mps}"
    negation = "{a} moves at {below_mps} or faster"
    op: Literal["still"]
    a: MovableName
    below_mps: float = Field(ge=0.005, le=0.2)

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """One speed."""
        return (below("speed", "m/s", self.below_mps, of.speed, at["a"]),)


class Moved(Predicate):
    """`a` is at least `by_m` from where it was at reset."""

    phrase = "{a} is {by_m} or more from where it started"
    negation = "{a} is less than {by_m} from where it started"
    op: Literal["moved"]
    a: MovableName
    by_m: float = Field(ge=0.01, le=0.30)

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """One distance."""
        return (at_least("distance from the start", "m", self.by_m, of.way_from_start, at["a"]),)


class Actuated(Predicate):
    """The joint of `a` has gone at least the share `min_frac` of its way from reset to LIBERO's threshold."""

    phrase = "{a} has gone {min_frac} or more of its way to being {toward}"
    negation = "{a} has gone less than {min_frac} of its way to being {toward}"
    op: Literal["actuated"]
    a: PartName
    toward: Toward
    min_frac: float = Field(ge=0.05, le=1.0)

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """What is left of the way."""
        return (replace(way_to_threshold(at["a"], self.toward), limit=1.0 - self.min_frac, of_start=True),)


class Goal(Predicate):
    """Conjunct `index` of the task's goal holds, by LIBERO's own definition."""

    phrase = "LIBERO counts {index}"
    negation = "LIBERO does not count {index}"
    op: Literal["goal"]
    index: int = Field(ge=0, lt=MAX_CONJUNCTS)

    def measures(self, at: Entities) -> tuple[Measure, ...]:  # noqa: ARG002 - it names no entity
        """LIBERO's own truth."""
        return (yes("LIBERO's check", of.goal_holds, self.index),)


PREDICATES = by_op(
    Near,
    Touching,
    Grasped,
    Released,
    Lifted,
    Above,
    Inside,
    AtOpening,
    RestingOn,
    Upright,
    Still,
    Moved,
    Actuated,
    Goal,
)


def way_to_threshold(part: Place, toward: Toward) -> Measure:
    """What is left until LIBERO calls a part open, closed, on or off: drawers, which are regions, slide; others turn.

    Raises:
        SpecError: The part does not open, close or turn that way.
    """
    unit: Unit = "m" if part.kind == REGION else "rad"
    return at_most(
        "way to LIBERO's threshold", unit, 0.0, of.to_threshold, part.joints[0], *joint_test(part.part, toward)
    )
