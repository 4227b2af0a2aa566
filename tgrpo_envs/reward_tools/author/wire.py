"""The JSON schema of a task's spec for servers that decode by schema: entity names and kinds are enumerations.

Small models under a grammar end only where the grammar makes them: every list is bounded, every text is bounded by its
pattern, a number is one of a grid, a word has its own fields and no others, and nothing refers to itself. Strict
decoders want every field required, so a field that may be left out is nullable where it has no default; a reply becomes
an ordinary spec when its nulls are left out (`reply.extract_document`). Pydantic and the linter stay the authority.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from tgrpo_envs.reward_tools.author.cards import TaskCard
from tgrpo_envs.rewards.predicates import PREDICATES
from tgrpo_envs.rewards.ramps import RAMPS
from tgrpo_envs.rewards.spec import MAX_STAGES, Stage
from tgrpo_envs.rewards.vocabulary import JOINTED_OPS, KINDS
from tgrpo_envs.rewards.words import SpecModel

Schema = dict[str, Any]

MAX_LIST = 3  # of conditions and predecessors; no shipped spec has more, and a small model fills what it may
_ID = "^[a-z][a-z0-9_]{0,31}$"
_TEXT = "^[A-Za-z0-9 _.,:;()'/=<>%+-]{0,160}$"


def names_for(op: str, field: str, card: TaskCard) -> list[str]:
    """Names of the task's scene that an argument of a word takes."""
    if op in JOINTED_OPS:
        return [part.name for part in card.parts]
    return [name for name, kind in card.entities().items() if kind in KINDS[op][field]]


def usable_words(words: Mapping[str, type[SpecModel]], card: TaskCard) -> list[str]:
    """The words that this scene has entities for: no `actuate` where nothing has a joint."""
    return [op for op in words if all(names_for(op, field, card) for field in KINDS[op])]


def spec_schema(card: TaskCard) -> Schema:
    """The schema of one task's specs."""
    condition = {"$ref": "#/$defs/condition"}
    atoms = [_word(op, PREDICATES[op], card) for op in usable_words(PREDICATES, card)]
    ramps = [_word(op, RAMPS[op], card) for op in usable_words(RAMPS, card)]
    stage: dict[str, Schema] = {
        "id": {"type": "string", "pattern": _ID},
        "effort": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
        "after": _list({"type": "string", "pattern": _ID}, 0),
        "while": _list(condition, 0, 2),
        "ramp": {"anyOf": [*ramps, {"type": "null"}]},
        "done": condition,
        "hold_steps": {"type": "integer", "enum": [1, 2, 3, 5, 10]},
        "latch": _one_of(get_args(Stage.model_fields["latch"].annotation)),
        "rationale": {"type": "string", "pattern": _TEXT},
    }
    maintain = _closed({"holds": condition, "cost_frac": _grid("cost_frac", 0.0, 1.0)})
    root = _closed(
        {
            "schema": _one_of(["stage-spec/1"]),
            "task": _closed({"suite": _one_of([card.suite]), "name": _one_of([card.name])}),
            "stages": _list({"$ref": "#/$defs/stage"}, 1, min(4 + 4 * len(card.problem.goal), MAX_STAGES)),
            "maintain": _list(maintain, 0, 2),
        }
    )
    root["$defs"] = {
        "stage": _closed(stage),
        "condition": _condition(),
        "atom": {"anyOf": atoms},
        **_grids([*PREDICATES.values(), *RAMPS.values()]),
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
            fields[name] = _value(name, field)
    return _closed(fields)


def _value(name: str, field: Schema) -> Schema:
    """One of some words or numbers; nullable as in pydantic's schema."""
    if "anyOf" in field:
        return {"anyOf": [_value(name, option) for option in field["anyOf"]]}
    if "minimum" in field:
        return {"$ref": f"#/$defs/{_grid_name(name, field)}"}
    return {key: field[key] for key in ("type", "enum") if key in field}


def _grids(words: Iterable[type[SpecModel]]) -> dict[str, Schema]:
    """The numbers that fields with a range take, by `_grid_name`: llama.cpp's grammar ignores the bounds of numbers."""
    found: dict[str, Schema] = {}
    for model in words:
        for name, field in model.model_json_schema(by_alias=True)["properties"].items():
            for option in field.get("anyOf", [field]):
                if option.get("type") == "number":
                    found[_grid_name(name, option)] = _grid(name, option["minimum"], option["maximum"])
    return found


def _grid_name(name: str, field: Schema) -> str:
    return f"{name}_{field['minimum']:g}_{field['maximum']:g}"


def _grid(name: str, low: float, high: float) -> Schema:
    """Round numbers of a range: shares by 5 %, angles by 5 degrees, lengths and speeds by 5 mm, long ones by 1 cm."""
    step = 0.05 if name.endswith("_frac") else 5.0 if name.endswith("_deg") else 0.005 if high <= 0.3 else 0.01
    values = {round(k * step, 3) for k in range(math.ceil(low / step), math.floor(high / step) + 1)}
    return {"type": "number", "enum": sorted(values | {low, high})}


def _condition() -> Schema:
    """An atom, or what shipped specs join: all of some, one or the other, and that with several on one side."""
    atom = {"$ref": "#/$defs/atom"}
    no, both = _closed({"not": atom}), _closed({"all": _list(atom, 2, 2)})
    several = _closed({"all": _list({"anyOf": [atom, no]}, 2)})
    return {"anyOf": [atom, no, several, _closed({"any": _list({"anyOf": [atom, both]}, 2, 2)})]}


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
