"""The closed vocabulary of reward specs: boolean atoms, connectives and ramps, with the range of every number.

Units live in field names: ``_m`` metres, ``_deg`` degrees, ``_mps`` metres per second, ``_frac`` a share of one.
Entities (`a`, `b`) are BDDL instance or region names, ``gripper``, or a part's name and ``_handle`` (`handles`);
`binding` checks them against a scene, and `predicates` says what each word computes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

MAX_CONJUNCTS = 12

Entity = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,95}$")]
Axes = Literal["xyz", "xy", "z"]
Toward = Literal["open", "close", "on", "off"]
StartM = Annotated[float, Field(ge=0.02, le=1.0)]


class SpecModel(BaseModel):
    """Settings shared by every part of a spec: no unknown keys, no coercion, no mutation."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_by_name=True, validate_by_alias=True
    )


# --- Boolean atoms -----------------------------------------------------------------------------------------------


class Near(SpecModel):
    """`a` and `b` are at most `within_m` apart, over the named world axes."""

    op: Literal["near"]
    a: Entity
    b: Entity
    within_m: float = Field(ge=0.01, le=0.30)
    axes: Axes = "xyz"


class Touching(SpecModel):
    """Some part of the gripper touches `a`."""

    op: Literal["touching"]
    a: Entity


class Grasped(SpecModel):
    """Both fingers touch `a`."""

    op: Literal["grasped"]
    a: Entity


class Released(SpecModel):
    """No part of the gripper touches `a`."""

    op: Literal["released"]
    a: Entity


class Lifted(SpecModel):
    """`a` is at least `by_m` higher than at reset."""

    op: Literal["lifted"]
    a: Entity
    by_m: float = Field(ge=0.02, le=0.30)


class Above(SpecModel):
    """`a` is at least `min_m` over the top of `b` (a region's box, an object's origin) and horizontally close."""

    op: Literal["above"]
    a: Entity
    b: Entity
    min_m: float = Field(ge=0.0, le=0.10)
    xy_within_m: float = Field(ge=0.02, le=0.15)


class Inside(SpecModel):
    """The origin of `a` is inside LIBERO's containment box of region `b`, shrunk by `margin_m` on every side."""

    op: Literal["inside"]
    a: Entity
    b: Entity
    margin_m: float = Field(default=0.0, ge=0.0, le=0.03)


class RestingOn(SpecModel):
    """`a` touches `b` and its origin is not below that of `b`."""

    op: Literal["resting_on"]
    a: Entity
    b: Entity


class Upright(SpecModel):
    """`a` leans at most `within_deg` away from its attitude at reset; turning about the vertical is free."""

    op: Literal["upright"]
    a: Entity
    within_deg: float = Field(ge=5.0, le=60.0)


class Still(SpecModel):
    """`a` moves slower than `below_mps`."""

    op: Literal["still"]
    a: Entity
    below_mps: float = Field(ge=0.005, le=0.2)


class Moved(SpecModel):
    """`a` is at least `by_m` from where it was at reset."""

    op: Literal["moved"]
    a: Entity
    by_m: float = Field(ge=0.01, le=0.30)


class Actuated(SpecModel):
    """The joint of `a` has gone at least the share `min_frac` of its way from reset to LIBERO's threshold."""

    op: Literal["actuated"]
    a: Entity
    toward: Toward
    min_frac: float = Field(ge=0.05, le=1.0)


class Goal(SpecModel):
    """Conjunct `index` of the task's goal holds, by LIBERO's own definition."""

    op: Literal["goal"]
    index: int = Field(ge=0, lt=MAX_CONJUNCTS)


# --- Connectives -------------------------------------------------------------------------------------------------


class AllOf(SpecModel):
    """Every condition holds."""

    all_of: tuple[Condition, ...] = Field(alias="all", min_length=1, max_length=8)


class AnyOf(SpecModel):
    """At least one condition holds."""

    any_of: tuple[Condition, ...] = Field(alias="any", min_length=1, max_length=8)


class Not(SpecModel):
    """The condition does not hold."""

    negated: Condition = Field(alias="not")


# --- Ramps -------------------------------------------------------------------------------------------------------


class Approach(SpecModel):
    """Partial credit as the distance shrinks from `from_m` (default: the distance at reset) to `to_m`."""

    op: Literal["approach"]
    a: Entity
    b: Entity
    to_m: float = Field(ge=0.0, le=0.30)
    from_m: StartM | None = None
    axes: Axes = "xyz"

    @model_validator(mode="after")
    def _from_beyond_to(self) -> Approach:
        if self.from_m is not None and self.from_m <= self.to_m:
            raise PydanticCustomError("ramp_span", "from_m must be larger than to_m")
        return self


class Raise(SpecModel):
    """Partial credit as `a` rises from its height at reset to `to_m` above it."""

    op: Literal["raise"]
    a: Entity
    to_m: float = Field(ge=0.02, le=0.30)


class InsideDepth(SpecModel):
    """Partial credit as `a` nears LIBERO's box of region `b`, from `from_m` outside it (default: as at reset)."""

    op: Literal["inside_depth"]
    a: Entity
    b: Entity
    from_m: StartM | None = None


class Actuate(SpecModel):
    """Partial credit as the joint of `a` goes from where it is at reset to LIBERO's threshold."""

    op: Literal["actuate"]
    a: Entity
    toward: Toward


class Constant(SpecModel):
    """A fixed fraction of the stage, paid as soon as its predecessors are done and its `while` holds."""

    op: Literal["constant"]
    value_frac: float = Field(ge=0.0, le=1.0)


def _tag(value: Any) -> str | None:
    """Which union member a condition or ramp is; the colon marks the tag as no part of the file's own path."""
    if not isinstance(value, dict):
        return next((f"op:{op}" for op, model in MODELS.items() if type(value) is model), None)
    if "op" in value:
        return f"op:{value['op']}"
    return next((f"op:{word}" for word in CONNECTIVES if word in value), None)


Atom: TypeAlias = (
    Near
    | Touching
    | Grasped
    | Released
    | Lifted
    | Above
    | Inside
    | RestingOn
    | Upright
    | Still
    | Moved
    | Actuated
    | Goal
)
Condition: TypeAlias = Annotated[
    Annotated[Near, Tag("op:near")]
    | Annotated[Touching, Tag("op:touching")]
    | Annotated[Grasped, Tag("op:grasped")]
    | Annotated[Released, Tag("op:released")]
    | Annotated[Lifted, Tag("op:lifted")]
    | Annotated[Above, Tag("op:above")]
    | Annotated[Inside, Tag("op:inside")]
    | Annotated[RestingOn, Tag("op:resting_on")]
    | Annotated[Upright, Tag("op:upright")]
    | Annotated[Still, Tag("op:still")]
    | Annotated[Moved, Tag("op:moved")]
    | Annotated[Actuated, Tag("op:actuated")]
    | Annotated[Goal, Tag("op:goal")]
    | Annotated[AllOf, Tag("op:all")]
    | Annotated[AnyOf, Tag("op:any")]
    | Annotated[Not, Tag("op:not")],
    Discriminator(_tag),
]
Ramp: TypeAlias = Annotated[
    Annotated[Approach, Tag("op:approach")]
    | Annotated[Raise, Tag("op:raise")]
    | Annotated[InsideDepth, Tag("op:inside_depth")]
    | Annotated[Actuate, Tag("op:actuate")]
    | Annotated[Constant, Tag("op:constant")],
    Discriminator(_tag),
]
for _connective in (AllOf, AnyOf, Not):
    _connective.model_rebuild()

ATOM_MODELS: dict[str, type[SpecModel]] = {
    "near": Near,
    "touching": Touching,
    "grasped": Grasped,
    "released": Released,
    "lifted": Lifted,
    "above": Above,
    "inside": Inside,
    "resting_on": RestingOn,
    "upright": Upright,
    "still": Still,
    "moved": Moved,
    "actuated": Actuated,
    "goal": Goal,
}
CONNECTIVES: dict[str, type[SpecModel]] = {"all": AllOf, "any": AnyOf, "not": Not}
RAMP_MODELS: dict[str, type[SpecModel]] = {
    "approach": Approach,
    "raise": Raise,
    "inside_depth": InsideDepth,
    "actuate": Actuate,
    "constant": Constant,
}
MODELS = ATOM_MODELS | CONNECTIVES | RAMP_MODELS


def children(condition: Condition) -> tuple[Condition, ...]:
    """The conditions a connective joins; none for an atom."""
    if isinstance(condition, AllOf):
        return condition.all_of
    if isinstance(condition, AnyOf):
        return condition.any_of
    if isinstance(condition, Not):
        return (condition.negated,)
    return ()
