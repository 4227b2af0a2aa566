"""The base of every group of settings: nothing changes once it is made, and a refusal is one sentence."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from tgrpo_envs.arrays import shown
from tgrpo_envs.errors import ConfigError, TgrpoError, UnknownNameError


class Frozen(BaseModel):
    """Base of what is kept as JSON: unknown names are errors and nothing changes after construction."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Settings(Frozen):
    """Base of every group of settings: unknown names are errors and nothing changes after construction.

    Raises:
        UnknownNameError: A name that does not exist, of a setting too.
        ConfigError: A value of another kind, or out of range.
    """

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _refusal(type(self), error) from error

    @model_validator(mode="before")
    @classmethod
    def _truth_values_are_no_numbers(cls, values: object) -> object:
        for name, value in values.items() if isinstance(values, dict) else ():
            field = cls.model_fields.get(name)
            if (
                isinstance(value, bool)
                and field is not None
                and bool not in (field.annotation, *get_args(field.annotation))
            ):
                raise ValueError(f"{name}={value} must not be a truth value.")
        return values


def first_fault(error: ValidationError) -> str:
    """Where the first fault is that pydantic found, and what it is, in one line."""
    wrong = error.errors(include_url=False, include_input=False)[0]
    where, fault = ".".join(map(str, wrong["loc"])), wrong["msg"].removeprefix("Value error, ")
    return f"{where}: {fault}" if where else fault


def _refusal(group: type[Settings], error: ValidationError) -> TgrpoError:
    """The first thing that is wrong, in one sentence."""
    wrong = error.errors()[0]
    cause, path, given = wrong.get("ctx", {}).get("error"), wrong["loc"], wrong["input"]
    if isinstance(cause, TgrpoError):
        return cause
    if cause is not None:
        return ConfigError(str(cause))
    name = ".".join(map(str, path))
    if wrong["type"] == "extra_forbidden":
        return UnknownNameError(f"setting of {group.__name__}", name, group.model_fields)
    if wrong["type"] == "literal_error" and len(path) == 1:
        given = given if isinstance(given, str) else shown(given)
        return UnknownNameError(name, given, _literals(group.model_fields[name].annotation))
    return ConfigError(f"{name}={shown(given)} {wrong['msg'].replace('Input should', 'must')}.")


def _literals(annotation: Any) -> list[str]:
    """The words of a `Literal`, which may be one of several alternatives."""
    return [word for part in get_args(annotation) for word in ([part] if isinstance(part, str) else _literals(part))]
