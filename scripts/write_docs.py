"""Writes the vocabulary as a page and as JSON Schema, and the lint rules as a table, from the classes themselves.

    python scripts/write_docs.py docs

A test compares what is committed with what this writes, so that documents and code cannot drift apart.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import typing
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tgrpo_envs.reward_tools.lint import rules_table
from tgrpo_envs.rewards.predicates import PREDICATES
from tgrpo_envs.rewards.ramps import RAMPS
from tgrpo_envs.rewards.spec import Maintain, Stage, StageSpec, TaskRef
from tgrpo_envs.rewards.vocabulary import CONNECTIVES, KINDS

VOCABULARY_FILE, SCHEMA_FILE, RULES_FILE = "vocabulary.md", "stage-spec.schema.json", "reference/checks.md"
RULES_BEGIN, RULES_END = "<!-- lint rules: begin -->", "<!-- lint rules: end -->"

_HEAD = """# Vocabulary of stage specs

Every word that a stage spec may use, with the kinds of its entities and the range of its numbers. This page is
written by `python scripts/write_docs.py docs` from the classes in `tgrpo_envs/rewards/` (`predicates.py`,
`ramps.py`, `spec.py`); [stage-spec.schema.json](stage-spec.schema.json) is the same as JSON Schema.
[rewards.md](rewards.md) says what it is for.

Entities are names of the task's BDDL file: movables and fixtures by their instance (`akita_black_bowl_1`,
`flat_stove_1`), regions by their full name (`basket_1_contain_region`), the gripper as `gripper`, and handles as the
name of their part and `_handle` (`wooden_cabinet_1_top_region_handle`, `microwave_1_handle`). Units are in the names
of the fields: `_m` metres, `_deg` degrees, `_mps` metres per second, `_frac` a share of one, `_steps` control steps of
1/20 s.
"""


def vocabulary_page() -> str:
    """The page docs/vocabulary.md."""
    connectives = [f"| {_field_names(model)} | {_summary(model)} |" for model in CONNECTIVES.values()]
    return "\n".join(
        [
            _HEAD,
            "## Predicates\n",
            *_words_table("holds when", PREDICATES),
            "\n## Connectives\n",
            "| word | holds when |",
            "|---|---|",
            *connectives,
            "\n## Ramps\n",
            *_words_table("partial credit", RAMPS),
            "\n## A spec\n",
            *_fields_table(StageSpec),
            "\n## Its `task`\n",
            *_fields_table(TaskRef),
            "\n## A stage\n",
            *_fields_table(Stage),
            "\n## An entry of `maintain`\n",
            *_fields_table(Maintain),
            "",
        ]
    )


def schema_text() -> str:
    """The JSON Schema of a spec file; what spans several fields (graph, names, nesting) is left to `load_spec`."""
    return json.dumps(StageSpec.model_json_schema(by_alias=True), indent=2) + "\n"


def with_rules(page: str) -> str:
    """A page with the table of lint rules between its two markers."""
    table = f"{RULES_BEGIN}\n{rules_table()}\n{RULES_END}"
    return re.sub(f"{RULES_BEGIN}.*?{RULES_END}", lambda _: table, page, flags=re.DOTALL)


def write_all(folder: Path) -> None:
    """Write the page, the schema and the table into the folder of documents."""
    (folder / VOCABULARY_FILE).write_text(vocabulary_page(), encoding="utf-8")
    (folder / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    page = folder / RULES_FILE
    page.write_text(with_rules(page.read_text(encoding="utf-8")), encoding="utf-8")


def _words_table(meaning: str, models: Mapping[str, type[BaseModel]]) -> list[str]:
    lines = [f"| op | {meaning} | `a` | `b` | numbers |", "|---|---|---|---|---|"]
    for op, model in models.items():
        kinds = [", ".join(sorted(KINDS[op].get(field, ()))) for field in ("a", "b")]
        fields = [_field(name, field) for name, field in model.model_fields.items() if name not in ("op", "a", "b")]
        lines.append(f"| `{op}` | {_summary(model)} | {kinds[0]} | {kinds[1]} | {'; '.join(fields)} |")
    return lines


def _fields_table(model: type[BaseModel]) -> list[str]:
    """The fields of a model with their ranges, and their meaning from the docstring's `Attributes`."""
    meanings = dict(re.findall(r"^    (\w+): (.+(?:\n        .+)*)", inspect.getdoc(model) or "", flags=re.MULTILINE))
    lines = ["| field | values | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        key, _, values = _field(name, field).partition(" ")
        lines.append(f"| {key} | {values} | {' '.join(meanings.get(name, '').split())} |")
    return lines


def _summary(model: type[BaseModel]) -> str:
    return (inspect.getdoc(model) or "").partition("\n\n")[0].replace("\n", " ").rstrip(".")


def _field_names(model: type[BaseModel]) -> str:
    return ", ".join(f"`{field.alias or name}`" for name, field in model.model_fields.items())


def _field(name: str, field: FieldInfo) -> str:
    """A field with its values, as in: within_m 0.01 to 0.3."""
    parts = [f"`{field.alias or name}`"]
    choices = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()
    if choices:
        parts.append(", ".join(map(str, choices)))
    bounds = _bounds(field)
    if bounds:
        parts.append(bounds)
    if not field.is_required() and field.default not in ("", ()):
        default = "as at reset" if field.default is None and name == "from_m" else json.dumps(field.default)
        parts.append(f"(default {default})")
    elif not field.is_required():
        parts.append("(may be left out)")
    return " ".join(parts)


def _bounds(field: FieldInfo) -> str:
    """``0.01 to 0.3``, ``up to 8 entries``: from the annotations of the field, or of an optional number."""
    metadata = list(field.metadata)
    for option in typing.get_args(field.annotation):
        metadata += [entry for extra in typing.get_args(option)[1:] for entry in getattr(extra, "metadata", ())]
    found = {
        key: getattr(entry, key)
        for entry in metadata
        for key in ("ge", "le", "lt", "min_length", "max_length")
        if hasattr(entry, key)
    }
    if "ge" in found:
        high = found["le"] if "le" in found else found.get("lt", 0) - 1
        return f"{found['ge']:g} to {high:g}"
    if "max_length" in found:
        unit = "characters" if field.annotation is str else "entries"
        return (
            f"{found['min_length']} to {found['max_length']} {unit}"
            if "min_length" in found
            else (f"up to {found['max_length']} {unit}")
        )
    return ""


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
