"""The closed vocabulary of reward specs: predicates, ramps, and the connectives that join predicates to conditions.

Entities (`a`, `b`) are BDDL instance or region names, ``gripper``, or a part's name and ``_handle`` (`handles`);
`binding` checks them against a scene.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

from pydantic import Discriminator, Field, Tag

from tgrpo_envs.rewards.predicates import PREDICATES, Predicate
from tgrpo_envs.rewards.ramps import RAMPS, Ramp
from tgrpo_envs.rewards.words import SpecModel, Word


class AllOf(SpecModel):
    """Every condition holds."""

    all_of: tuple[Condition, ...] = Field(alias="all", min_length=1, max_length=8)


class AnyOf(SpecModel):
    """At least one condition holds."""

    any_of: tuple[Condition, ...] = Field(alias="any", min_length=1, max_length=8)


class Not(SpecModel):
    """The condition does not hold."""

    negated: Condition = Field(alias="not")


CONNECTIVES: dict[str, type[SpecModel]] = {"all": AllOf, "any": AnyOf, "not": Not}
MODELS: dict[str, type[SpecModel]] = {**PREDICATES, **CONNECTIVES, **RAMPS}
WORDS: dict[str, type[Word]] = {**PREDICATES, **RAMPS}
KINDS = {op: {name: names.kinds for name, names in model.entity_fields().items()} for op, model in WORDS.items()}
"""Kinds of entities that each field of each word takes."""
JOINTED_OPS = tuple(op for op, model in WORDS.items() if any(names.jointed for names in model.entity_fields().values()))
"""Words about the joint of a part."""


def _tag(value: Any) -> str | None:
    """Which union member a condition or ramp is; the colon marks the tag as no part of the file's own path."""
    if not isinstance(value, dict):
        return next((f"op:{op}" for op, model in MODELS.items() if type(value) is model), None)
    if "op" in value:
        return f"op:{value['op']}"
    return next((f"op:{word}" for word in CONNECTIVES if word in value), None)


def _one_of(models: Mapping[str, type[SpecModel]]) -> Any:
    """A union that pydantic tells apart by `_tag`."""
    members = tuple(Annotated[model, Tag(f"op:{op}")] for op, model in models.items())
    return Annotated[Union[members], Discriminator(_tag)]  # noqa: UP007 - of a tuple


if TYPE_CHECKING:
    Condition: TypeAlias = Predicate | AllOf | AnyOf | Not
    RampField: TypeAlias = Ramp
else:
    Condition = _one_of({**PREDICATES, **CONNECTIVES})
    RampField = _one_of(RAMPS)
for _connective in (AllOf, AnyOf, Not):
    _connective.model_rebuild()


def children(condition: Condition) -> tuple[Condition, ...]:
    """The conditions a connective joins; none for a predicate."""
    if isinstance(condition, AllOf):
        return condition.all_of
    if isinstance(condition, AnyOf):
        return condition.any_of
    if isinstance(condition, Not):
        return (condition.negated,)
    return ()


def predicates_of(condition: Condition) -> Iterator[Predicate]:
    """Every predicate in a condition, in order."""
    if isinstance(condition, Predicate):
        yield condition
    for child in children(condition):
        yield from predicates_of(child)
