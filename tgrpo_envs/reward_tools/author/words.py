"""The vocabulary card: a line of text for each word, generated from the classes that check specs."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tgrpo_envs.rewards.predicates import PREDICATES
from tgrpo_envs.rewards.ramps import RAMPS
from tgrpo_envs.rewards.spec import StageSpec
from tgrpo_envs.rewards.vocabulary import JOINTED_OPS, KINDS
from tgrpo_envs.rewards.words import SpecModel


def atoms_card() -> str:
    """The conditions, one a line: arguments with kinds and ranges, then the meaning."""
    return _card(PREDICATES)


def ramps_card() -> str:
    """The ramps, likewise."""
    return _card(RAMPS)


@functools.cache
def vocabulary_id() -> str:
    """SHA-256 of the JSON schema of specs: changes with any word, field or range."""
    schema = json.dumps(StageSpec.model_json_schema(by_alias=True), sort_keys=True)
    return hashlib.sha256(schema.encode()).hexdigest()


def _card(words: Mapping[str, type[SpecModel]]) -> str:
    return "\n".join(f"* {_signature(op, model)}: {_meaning(model)}" for op, model in words.items())


def _signature(op: str, model: type[SpecModel]) -> str:
    fields = model.model_json_schema(by_alias=True)["properties"]
    arguments = [_argument(op, name, schema) for name, schema in fields.items() if name != "op"]
    return f'{{"op": "{op}"' + "".join(f", {argument}" for argument in arguments) + "}"


def _argument(op: str, name: str, schema: dict[str, Any]) -> str:
    if name in KINDS[op]:
        return f"{name} ({_kinds(op, name)})"
    text = f"{name} {_range(schema)}"
    if "default" not in schema:
        return text
    default = schema["default"]
    return f"{text} = {'as at reset' if default is None else default}"


def _kinds(op: str, name: str) -> str:
    kinds = KINDS[op][name]
    if op in JOINTED_OPS:
        return "jointed part"
    return "any" if len(kinds) >= len(KINDS["near"]["a"]) else "/".join(sorted(kinds))


def _range(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:  # a number or nothing
        schema = next(option for option in schema["anyOf"] if option.get("type") != "null")
    if "enum" in schema:
        return "|".join(schema["enum"])
    upper = schema.get("maximum", schema.get("exclusiveMaximum", 0) - 1)
    return f"{schema['minimum']:g}-{upper:g}"


def _meaning(model: type[SpecModel]) -> str:
    text = " ".join((model.__doc__ or "").replace("`", "").split())
    return text[0].lower() + text[1:]
