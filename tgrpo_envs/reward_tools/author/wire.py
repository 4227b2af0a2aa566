"""The JSON schema of a task's spec for servers that decode by schema: entity names and kinds are enumerations.

Small models under a grammar end only where the grammar makes them: every list is bounded, every text is bounded by its
pattern, a word has its own fields and no others, and nothing refers to itself. Strict decoders want every field
required, so a field that may be left out is nullable where it has no default; a reply becomes an ordinary spec when its
nulls are left out (`reply.extract_document`). Pydantic and the linter stay the authority.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from tgrpo_envs.reward_tools.author.cards import TaskCard
from tgrpo_envs.reward_tools.author.words import JOINTED_WORDS
from tgrpo_envs.rewards.predicates import KINDS
from tgrpo_envs.rewards.spec import MAX_STAGES, Stage
from tgrpo_envs.rewards.vocabulary import ATOM_MODELS, RAMP_MODELS, SpecModel

Schema = dict[str, Any]

MAX_LIST = 4  # of conditions, predecessors and things to maintain; no shipped spec has more
_ID = "^[a-z][a-z0-9_]{0,31}$"
_TEXT = "^[A-Za-z0-9 _.,:;()'/=<>%+-]{0,160}$"


def names_for(op: str, field: str, card: TaskCard) -> list[str]:
    """Names of the task's scene that an argument of a word takes."""
    if op in JOINTED_WORDS:
        return [part.name for part in card.parts]
    return [name for name, kind in card.entities().items() if kind in KINDS[op][field]]


def usable_words(words: Mapping[str, type[SpecModel]], card: TaskCard) -> list[str]:
    """The words that this scene has entities for: no `actuate` where nothing has a joint."""
    return [op for op in words if all(names_for(op, field, card) for field in KINDS[op])]


def spec_schema(card: TaskCard) -> Schema:
    """The schema of one task's specs."""
    condition, inner, atom = ({"$ref": f"#/$defs/{name}"} for name in ("condition", "inner", "atom"))
    atoms = [_word(op, ATOM_MODELS[op], card) for op in usable_words(ATOM_MODELS, card)]
    ramps = [_word(op, RAMP_MODELS[op], card) for op in usable_words(RAMP_MODELS, card)]
    stage: dict[str, Schema] = {
        "id": {"type": "string", "pattern": _ID},
        "effort": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
        "after": _list({"type": "string", "pattern": _ID}, 0),
        "while": _list(condition, 0),
        "ramp": {"anyOf": [*ramps, {"type": "null"}]},
        "done": condition,
        "hold_steps": {"type": "integer", "enum": [1, 2, 3, 5, 10]},
        "latch": _one_of(get_args(Stage.model_fields["latch"].annotation)),
        "rationale": {"type": "string", "pattern": _TEXT},
    }
    maintain = _closed({"holds": condition, "cost_frac": {"type": "number", "minimum": 0, "maximum": 1}})
    root = _closed(
        {
            "schema": _one_of(["stage-spec/1"]),
            "task": _closed({"suite": _one_of([card.suite]), "name": _one_of([card.name])}),
            "stages": _list({"$ref": "#/$defs/stage"}, 1, MAX_STAGES),
            "maintain": _list(maintain, 0),
        }
    )
    root["$defs"] = {
        "stage": _closed(stage),
        "condition": {"anyOf": [atom, *_connectives(inner)]},
        "inner": {"anyOf": [atom, *_connectives(atom)]},  # connectives nest two deep
        "atom": {"anyOf": atoms},
    }
    return root


def _word(op: str, model: type[SpecModel], card: TaskCard) -> Schema:
    """An object with the fields of one word."""
    fields: dict[str, Schema] = {"op": _one_of([op])}
    for name, field in model.model_json_schema(by_alias=True)["properties"].items():
        if name in KINDS[op]:
            fields[name] = _one_of(names_for(op, name, card))
        elif name == "index":
            fields[name] = {"type": "integer", "enum": list(range(len(card.problem.goal)))}
        elif name != "op":
            fields[name] = _value(field)
    return _closed(fields)


def _value(field: Schema) -> Schema:
    """A number with its range, or one of some words; nullable as in pydantic's schema."""
    if "anyOf" in field:
        return {"anyOf": [_value(option) for option in field["anyOf"]]}
    return {key: field[key] for key in ("type", "enum", "minimum", "maximum") if key in field}


def _connectives(child: Schema) -> list[Schema]:
    return [_closed({"all": _list(child, 1)}), _closed({"any": _list(child, 1)}), _closed({"not": child})]


def _list(items: Schema, least: int, most: int = MAX_LIST) -> Schema:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def _closed(properties: Mapping[str, Schema]) -> Schema:
    """An object that has exactly these fields."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _one_of(values: Sequence[str]) -> Schema:
    return {"type": "string", "enum": list(values)}
