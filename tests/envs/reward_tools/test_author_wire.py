"""JSON schemas sent to servers, and reading replies: what a decoder may write is what our own checks accept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tgrpo_envs.errors import SpecError
from tgrpo_envs.reward_tools.author.cards import load_card
from tgrpo_envs.reward_tools.author.examples import choose_examples
from tgrpo_envs.reward_tools.author.reply import extract_document
from tgrpo_envs.reward_tools.author.wire import full_schema, names_for, strict_schema
from tgrpo_envs.rewards.spec import parse_spec
from tgrpo_envs.tasks import get_task, list_tasks

SOME_TASKS = list_tasks()[::9]
GOOD = (
    resources.files("tgrpo_envs")
    .joinpath("reward_tools/author/prompts/examples/object_milk_in_basket.json")
    .read_text()
)
EXAMPLES = {
    example.name: example
    for suite, index in (
        ("libero_goal", 0),
        ("libero_90", 0),
        ("libero_object", 0),
        ("libero_90", 84),
        ("libero_10", 0),
    )
    for example in choose_examples(get_task(suite, index), load_card(get_task(suite, index)))
}


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value)


def padded(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """A document in the strict form: every field of the schema's object written, null where it had none."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        return [padded(item, schema["items"], root) for item in value]
    if not isinstance(value, dict):
        return value
    for option in schema.get("anyOf", [schema]):
        while "$ref" in option:
            option = root["$defs"][option["$ref"].rpartition("/")[2]]
        if value.keys() <= option.get("properties", {}).keys():
            fields = option["properties"]
            empty: dict[str, Any] = {"after": [], "while": [], "maintain": [], "latch": "once", "rationale": ""}
            return {
                name: padded(value[name], fields[name], root) if name in value else empty.get(name) for name in fields
            }
    raise AssertionError(f"no option for {value}")


@pytest.mark.parametrize("name", EXAMPLES)
def test_valid_specs_fit_both_schemas_and_come_back_from_the_strict_form(name):
    example = EXAMPLES[name]
    document, strict = json.loads(example.text), strict_schema(example.card)
    assert not list(Draft202012Validator(full_schema(example.card)).iter_errors(document))
    wire = padded(document, strict, strict)
    assert not list(Draft202012Validator(strict).iter_errors(wire))
    assert parse_spec(json.dumps(extract_document(json.dumps(wire)))) == example.spec


def test_strict_schemas_keep_to_what_strict_decoders_take():
    for task in SOME_TASKS:
        schema = strict_schema(load_card(task))
        Draft202012Validator.check_schema(schema)
        for entry in objects(schema):
            assert entry["additionalProperties"] is False and entry["required"] == list(entry["properties"])
        text = json.dumps(schema)
        for word in ("oneOf", "default", "minimum", "maximum", "pattern", "minItems", "maxItems", "const", "format"):
            assert f'"{word}"' not in text
        assert schema["type"] == "object" and '"enum": []' not in text


def test_full_schemas_refuse_other_names_kinds_and_tasks():
    for task in SOME_TASKS:
        schema = full_schema(load_card(task))
        Draft202012Validator.check_schema(schema)
        assert "oneOf" not in json.dumps(schema) and '"enum": []' not in json.dumps(schema)
    validator = Draft202012Validator(full_schema(load_card(get_task("libero_object", 7))))
    assert validator.is_valid(json.loads(GOOD))
    for wrong in (
        GOOD.replace('"milk_1"', '"milk_2"'),
        GOOD.replace('"op": "grasped", "a": "milk_1"', '"op": "grasped", "a": "basket_1_contain_region"'),
        GOOD.replace("pick_up_the_milk", "pick_up_the_butter"),
        GOOD.replace('"index": 0', '"index": 1'),
        GOOD.replace('"within_m": 0.05', '"within_m": 0.5'),
        GOOD.replace(
            '"op": "grasped", "a": "milk_1"', '"op": "actuated", "a": "milk_1", "toward": "on", "min_frac": 1'
        ),
    ):
        assert wrong != GOOD and not validator.is_valid(json.loads(wrong))


def test_words_take_names_of_their_kind():
    card = load_card(get_task("libero_goal", 0))
    assert set(names_for("actuate", "a", card)) == {
        "flat_stove_1",
        *(f"wooden_cabinet_1_{level}_region" for level in ("top", "middle", "bottom")),
    }
    assert "gripper" not in names_for("grasped", "a", card) and "gripper" in names_for("near", "a", card)
    assert "wooden_cabinet_1_top_region_handle" in names_for("approach", "b", card)


@pytest.mark.parametrize(
    "reply",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"Two things: {{}} and [1].\n```\n{GOOD}```\nDone.",
        f"First I think {{deeply}}. Then: {GOOD} That is all }}",
        f'```json\n{{"draft": 1}}\n```\nBetter:\n```json\n{GOOD}\n```',
    ],
    ids=["alone", "fenced", "prose and fence", "amid prose", "second fence"],
)
def test_the_spec_is_found_wherever_it_stands(reply):
    assert extract_document(reply) == json.loads(GOOD)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "Expecting value"),
        ("null", "a JSON NoneType"),
        ('{"a": 1, "a": 2}', "stands twice"),
        ('{"a": Infinity}', "Infinity is not a number"),
        ('{"a": -1e400}', "too large"),
        ("{" * 40, "nested deeper than 32"),
        ('{"stages": [' + "[" * 40, "nested deeper than 32"),
        ("x" * 70_000, "70000 characters"),
    ],
)
def test_what_is_no_spec_is_refused_with_the_reason(reply, why):
    with pytest.raises(SpecError, match=why):
        extract_document(reply)


def test_reading_a_hostile_reply_takes_no_time():
    """Many starts of objects that never end: the work stays linear, or nearly so."""
    for reply in ('{"a":1 ' * 9000, '{"' * 30_000, "{[" * 15 + '{"a":"' + "b" * 60_000):
        with pytest.raises(SpecError):
            extract_document(reply)
