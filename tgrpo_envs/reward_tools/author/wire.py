"""JSON schemas of a task's spec for servers that decode by schema: entity names and kinds are enumerations.

`full_schema` is pydantic's own, with the names of the task put in. `strict_schema` is the form that strict decoders
take: every field required and nullable, no bounds, no recursion, an atom is one flat object. A reply in that form
becomes the ordinary one when its nulls are left out (`reply.extract_document`). Pydantic and the linter stay the
authority for both.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, get_args

from tgrpo_envs.reward_tools.author.cards import TaskCard
from tgrpo_envs.rewards.predicates import PREDICATES
from tgrpo_envs.rewards.ramps import RAMPS
from tgrpo_envs.rewards.spec import Stage, StageSpec
from tgrpo_envs.rewards.vocabulary import JOINTED_OPS, KINDS
from tgrpo_envs.rewards.words import SpecModel

Schema = dict[str, Any]

_NULL: Schema = {"type": "null"}
_JSON_TYPES = {"string": "string", "number": "number", "integer": "integer"}


def names_for(op: str, field: str, card: TaskCard) -> list[str]:
    """Names of the task's scene that an argument of a word takes."""
    if op in JOINTED_OPS:
        return [part.name for part in card.parts]
    return [name for name, kind in card.entities().items() if kind in KINDS[op][field]]


def usable_words(words: Mapping[str, type[SpecModel]], card: TaskCard) -> list[str]:
    """The words that this scene has entities for: no `actuate` where nothing has a joint."""
    return [op for op in words if all(names_for(op, field, card) for field in KINDS[op])]


# --- The full form -----------------------------------------------------------------------------------------------


def full_schema(card: TaskCard) -> Schema:
    """Pydantic's schema of specs, narrowed to a task: its name, its entities by kind, its goal conjuncts."""
    schema: Schema = _without_discriminators(copy.deepcopy(StageSpec.model_json_schema(by_alias=True)))
    definitions = schema["$defs"]
    words = PREDICATES | RAMPS
    usable = usable_words(words, card)
    gone = {f"#/$defs/{model.__name__}" for op, model in words.items() if op not in usable}
    for op in usable:
        properties = definitions[words[op].__name__]["properties"]
        for field in KINDS[op]:
            properties[field] = {"type": "string", "enum": names_for(op, field, card)}
    definitions["Goal"]["properties"]["index"] = {"type": "integer", "enum": _goal_indices(card)}
    definitions["TaskRef"]["properties"] = {"suite": _one_of(card.suite), "name": _one_of(card.name)}
    for name in [reference.rpartition("/")[2] for reference in gone]:
        del definitions[name]
    narrowed: Schema = _without_references(schema, gone)
    return narrowed


def _without_discriminators(value: Any) -> Any:
    """``oneOf`` with a discriminator, which several decoders refuse, as ``anyOf``."""
    if isinstance(value, dict):
        plain = {key: _without_discriminators(item) for key, item in value.items() if key != "discriminator"}
        if "oneOf" in plain:
            plain["anyOf"] = plain.pop("oneOf")
        return plain
    return [_without_discriminators(item) for item in value] if isinstance(value, list) else value


def _without_references(value: Any, gone: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without_references(item, gone) for key, item in value.items()}
    if isinstance(value, list):
        kept = [item for item in value if not (isinstance(item, dict) and item.get("$ref") in gone)]
        return [_without_references(item, gone) for item in kept]
    return value


# --- The strict form ---------------------------------------------------------------------------------------------


def strict_schema(card: TaskCard) -> Schema:
    """The flat form for strict decoders."""
    condition = {"$ref": "#/$defs/condition"}
    stage: dict[str, Schema] = {
        "id": {"type": "string"},
        "effort": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
        "after": {"type": "array", "items": {"type": "string"}},
        "while": {"type": "array", "items": condition},
        "ramp": _nullable({"$ref": "#/$defs/ramp"}),
        "done": condition,
        "hold_steps": _nullable({"type": "integer"}),
        "latch": {"type": "string", "enum": list(get_args(Stage.model_fields["latch"].annotation))},
        "rationale": {"type": "string"},
    }
    maintain = _closed({"holds": condition, "cost_frac": _nullable({"type": "number"})})
    root = _closed(
        {
            "schema": _one_of("stage-spec/1"),
            "task": _closed({"suite": _one_of(card.suite), "name": _one_of(card.name)}),
            "stages": {"type": "array", "items": {"$ref": "#/$defs/stage"}},
            "maintain": {"type": "array", "items": maintain},
        }
    )
    atom, inner = {"$ref": "#/$defs/atom"}, {"$ref": "#/$defs/inner"}
    root["$defs"] = {
        "stage": _closed(stage),
        "condition": {"anyOf": [atom, *_connectives(inner)]},
        "inner": {"anyOf": [atom, *_connectives(atom)]},  # connectives nest two deep: no recursion needed
        "atom": _flat(PREDICATES, card),
        "ramp": _flat(RAMPS, card),
    }
    return root


def _connectives(child: Schema) -> list[Schema]:
    many = {"type": "array", "items": child}
    return [_closed({"all": many}), _closed({"any": many}), _closed({"not": child})]


def _flat(words: Mapping[str, type[SpecModel]], card: TaskCard) -> Schema:
    """All fields of all words in one object: the op decides which of them may be other than null."""
    usable = usable_words(words, card)
    fields: dict[str, Schema] = {"op": {"type": "string", "enum": usable}}
    for op in usable:
        for name, field in words[op].model_json_schema(by_alias=True)["properties"].items():
            if name != "op" and name not in fields:
                fields[name] = _nullable(_plain(name, field, card))
    return _closed(fields)


def _plain(name: str, field: Schema, card: TaskCard) -> Schema:
    """A field's type without bounds, which strict decoders refuse."""
    if name in ("a", "b"):
        return {"type": "string", "enum": list(card.entities())}
    if name == "index":
        return {"type": "integer", "enum": _goal_indices(card)}
    if "enum" in field:
        return {"type": "string", "enum": field["enum"]}
    options = field.get("anyOf", [field])
    return {"type": next(_JSON_TYPES[option["type"]] for option in options if option["type"] != "null")}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, _NULL]}


def _closed(properties: Mapping[str, Schema]) -> Schema:
    """An object that has exactly these fields."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def _goal_indices(card: TaskCard) -> list[int]:
    return list(range(len(card.problem.goal)))
