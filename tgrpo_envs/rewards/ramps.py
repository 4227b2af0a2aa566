"""The ramps of reward specs, each defined here once: partial credit as its one measure nears the limit."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from tgrpo_envs.rewards import quantities as of
from tgrpo_envs.rewards.entities import Entities
from tgrpo_envs.rewards.measures import Measure, at_least, at_most
from tgrpo_envs.rewards.predicates import way_to_threshold
from tgrpo_envs.rewards.words import AnyName, Axes, MovableName, PartName, RegionName, Toward, Word, by_op

StartM = Annotated[float, Field(ge=0.02, le=1.0)]


class Ramp(Word):
    """Partial credit: what is left is how far the ramp's measure is from its limit, in the measure's unit."""

    @property
    def span(self) -> float | None:
        """What is left when the ramp is empty; None for what is left at each environment's reset."""
        return None


class Approach(Ramp):
    """Partial credit as the distance shrinks from `from_m` (default: the distance at reset) to `to_m`."""

    phrase = "partial credit that grows as {a} nears {b}{axes}, from {from_m} to {to_m}"
    op: Literal["approach"]
    a: AnyName
    b: AnyName
    to_m: float = Field(ge=0.0, le=0.30)
    from_m: StartM | None = None
    axes: Axes = "xyz"

    @model_validator(mode="after")
    def _from_beyond_to(self) -> Self:
        _check_span(self.from_m, self.to_m)
        return self

    @property
    def span(self) -> float | None:
        """From `from_m` to `to_m`."""
        return None if self.from_m is None else self.from_m - self.to_m

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """The distance."""
        return (at_most("distance", "m", self.to_m, of.distance, at["a"], at["b"], self.axes),)


class ApproachOpening(Ramp):
    """Partial credit as the way to the opening of region `b` shrinks from `from_m` (default: as at reset) to `to_m`."""

    phrase = "partial credit that grows as {a} nears the opening of {b}, from {from_m} to {to_m}"
    op: Literal["approach_opening"]
    a: MovableName
    b: RegionName
    to_m: float = Field(ge=0.0, le=0.15)
    from_m: StartM | None = None

    @model_validator(mode="after")
    def _from_beyond_to(self) -> Self:
        _check_span(self.from_m, self.to_m)
        return self

    @property
    def span(self) -> float | None:
        """From `from_m` to `to_m`."""
        return None if self.from_m is None else self.from_m - self.to_m

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """The way to the opening."""
        return (at_most("way to the opening", "m", self.to_m, of.to_opening, at["a"], at["b"]),)


class Raise(Ramp):
    """Partial credit as `a` rises from its height at reset to `to_m` above it."""

    phrase = "partial credit that grows as {a} rises by {to_m}"
    op: Literal["raise"]
    a: MovableName
    to_m: float = Field(ge=0.02, le=0.30)

    @property
    def span(self) -> float | None:
        """The whole rise."""
        return self.to_m

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """The height."""
        return (at_least("rise", "m", self.to_m, of.rise, at["a"]),)


class InsideDepth(Ramp):
    """Partial credit as `a` nears LIBERO's box of region `b`, from `from_m` outside it (default: as at reset)."""

    phrase = "partial credit that grows as {a} nears the inside of {b}, from {from_m}"
    op: Literal["inside_depth"]
    a: MovableName
    b: RegionName
    from_m: StartM | None = None

    @property
    def span(self) -> float | None:
        """From `from_m` to the box."""
        return self.from_m

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """The worst axis."""
        return (at_most("distance to the box", "m", 0.0, of.outside, at["a"], at["b"]),)


class Actuate(Ramp):
    """Partial credit as the joint of `a` goes from where it is at reset to LIBERO's threshold."""

    phrase = "partial credit that grows as {a} goes on its way to being {toward}"
    op: Literal["actuate"]
    a: PartName
    toward: Toward

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """What is left of the way."""
        return (way_to_threshold(at["a"], self.toward),)


class Constant(Ramp):
    """A fixed fraction of the stage, paid as soon as its predecessors are done and its `while` holds."""

    phrase = "a fixed {value_frac} of its credit"
    op: Literal["constant"]
    value_frac: float = Field(ge=0.0, le=1.0)

    @property
    def span(self) -> float | None:
        """The whole stage."""
        return 1.0

    def measures(self, at: Entities) -> tuple[Measure, ...]:  # noqa: ARG002 - it names no entity
        """What it never earns."""
        return (at_most("rest", "", 0.0, of.fixed, 1.0 - self.value_frac),)


RAMPS = by_op(Approach, ApproachOpening, Raise, InsideDepth, Actuate, Constant)


def _check_span(from_m: float | None, to_m: float) -> None:
    """What pydantic reports of a ramp that would start at or beyond its end."""
    if from_m is not None and from_m <= to_m:
        raise PydanticCustomError("ramp_span", "from_m must be larger than to_m")
