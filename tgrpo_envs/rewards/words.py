"""What predicates and ramps have in common: pydantic fields with kinds and ranges, measures, and a phrase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field

from tgrpo_envs.rewards.entities import ANYTHING, FIXTURE, MOVABLE, REGION, Entities
from tgrpo_envs.rewards.measures import Measure


class SpecModel(BaseModel):
    """Settings shared by every part of a spec: no unknown keys, no coercion, no mutation."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_by_name=True, validate_by_alias=True
    )


@dataclass(frozen=True, slots=True)
class Kinds:
    """Which entities a field may name.

    Attributes:
        kinds: Their kinds.
        jointed: Whether exactly one joint must move them.
    """

    kinds: frozenset[str]
    jointed: bool = False


_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,95}$")]
AnyName = Annotated[_Name, Kinds(ANYTHING)]
MovableName = Annotated[_Name, Kinds(frozenset({MOVABLE}))]
ObjectName = Annotated[_Name, Kinds(frozenset({MOVABLE, FIXTURE}))]
SupportName = Annotated[_Name, Kinds(frozenset({MOVABLE, FIXTURE, REGION}))]
RegionName = Annotated[_Name, Kinds(frozenset({REGION}))]
PartName = Annotated[_Name, Kinds(frozenset({FIXTURE, REGION}), jointed=True)]
Axes = Literal["xyz", "xy", "z"]
Toward = Literal["open", "close", "on", "off"]


class Word(SpecModel):
    """A predicate or a ramp; the docstring of each is its line in the vocabulary.

    Units live in field names: ``_m`` metres, ``_deg`` degrees, ``_mps`` metres per second, ``_frac`` a share of one.

    Attributes:
        op: Its name in a spec.
        phrase: What it says in English, with its fields in braces.
    """

    op: str
    phrase: ClassVar[str]

    @classmethod
    def entity_fields(cls) -> dict[str, Kinds]:
        """The fields that name entities, and which."""
        return {
            name: found
            for name, field in cls.model_fields.items()
            for found in field.metadata
            if isinstance(found, Kinds)
        }

    def measures(self, at: Entities) -> tuple[Measure, ...]:
        """What the word compares with what.

        Args:
            at: The entities that its fields name.
        """
        raise NotImplementedError


_Some = TypeVar("_Some", bound=Word)


def by_op(*models: type[_Some]) -> dict[str, type[_Some]]:
    """Words by their names in a spec."""
    return {get_args(model.model_fields["op"].annotation)[0]: model for model in models}
