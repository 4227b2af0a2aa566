"""JSON schemas sent to servers, and reading replies: what a decoder may write is what our own checks accept."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.helpers.fake_chat import padded, resolved
from tgrpo_envs.errors import SpecError
from tgrpo_envs.reward_tools.author.cards import load_card
from tgrpo_envs.reward_tools.author.examples import choose_examples
from tgrpo_envs.reward_tools.author.reply import extract_document
from tgrpo_envs.reward_tools.author.wire import names_for, spec_schema
from tgrpo_envs.rewards.spec import parse_spec
from tgrpo_envs.tasks import get_task, list_tasks

SOME_TASKS = list_tasks()[::9]
GOOD = (
    resources.files("tgrpo_envs")
    .joinpath("reward_tools/author/prompts/examples/object_milk_in_basket.json")
    .read_text()
)
BROKEN = GOOD.replace('"stages": [', '"stages": [,')
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


def every(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
    for value in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from every(value)


def num_nested(schema: Any, root: dict[str, Any]) -> int:
    """How deep a schema nests with its references put in."""
    if isinstance(schema, list):
        return max((num_nested(item, root) for item in schema), default=0)
    if not isinstance(schema, dict):
        return 0
    schema = resolved(schema, root)
    inner = [value for key, value in schema.items() if key != "$defs"]
    return int(schema.get("type") == "object") + max((num_nested(value, root) for value in inner), default=0)


@pytest.mark.parametrize("name", EXAMPLES)
def test_valid_specs_fit_the_schema_and_come_back_from_it(name: str) -> None:
    example = EXAMPLES[name]
    schema = spec_schema(example.card)
    wire = padded(json.loads(example.text), schema, schema)
    assert not list(Draft202012Validator(schema).iter_errors(wire))
    assert parse_spec(json.dumps(extract_document(json.dumps(wire)))) == example.spec


def test_schemas_keep_to_what_strict_and_small_decoders_take() -> None:
    """Every field required, every list and text bounded, nothing that refers to itself, no word that decoders lack."""
    for task in SOME_TASKS:
        schema = spec_schema(load_card(task))
        Draft202012Validator.check_schema(schema)
        for entry in objects(schema):
            assert entry["additionalProperties"] is False and entry["required"] == list(entry["properties"])
        for entry in every(schema):
            assert entry.get("type") != "array" or entry["maxItems"] <= 12
            assert entry.get("type") != "string" or "enum" in entry or entry["pattern"].endswith("}$")
        text = json.dumps(schema)
        for word in ("oneOf", "default", "const", "format", "minimum", "maximum", "exclusiveMinimum"):
            assert f'"{word}"' not in text
        assert sum(len(entry["enum"]) for entry in every(schema) if isinstance(entry.get("enum"), list)) < 1000
        assert schema["type"] == "object" and '"enum": []' not in text and len(text) < 20_000
        assert num_nested(schema, schema) < 12  # would not end in a schema that refers to itself


def test_schemas_refuse_other_names_kinds_words_and_tasks() -> None:
    schema = spec_schema(load_card(get_task("libero_object", 7)))
    validator, text = Draft202012Validator(schema), json.dumps(padded(json.loads(GOOD), schema, schema))
    assert validator.is_valid(json.loads(text))
    for wrong in (
        text.replace('"milk_1"', '"milk_2"'),
        text.replace('"op": "grasped", "a": "milk_1"', '"op": "grasped", "a": "basket_1_contain_region"'),
        text.replace("pick_up_the_milk", "pick_up_the_butter"),
        text.replace('"index": 0', '"index": 1'),
        text.replace('"within_m": 0.05', '"within_m": 0.5'),
        text.replace('"op": "grasped", "a": "milk_1"', '"op": "grasped", "a": "milk_1", "by_m": 0.1'),
        text.replace(
            '"op": "grasped", "a": "milk_1"', '"op": "actuated", "a": "milk_1", "toward": "on", "min_frac": 1'
        ),
    ):
        assert wrong != text and not validator.is_valid(json.loads(wrong))


def test_words_take_names_of_their_kind() -> None:
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
        f'<think>Say {{"stages": []}}, or {{"a": {{1: no.</think>{GOOD}',
        f'<think>{{"stages": []}}</think>\n```json\n{GOOD}\n```',
        f'```json\n{{"stages": []}}\n```\nNo:\n{GOOD}\n{{and so on}}',
        f'```json\n{GOOD}\n```\nNote: "stages": three in total. Summary of stages: [reach, grasp], as "stages": [...].',
        '{"a": 1, "a": 2} {"a": NaN} ' * 200 + GOOD,
        "{" * 500 + GOOD,
    ],
    ids=[
        "alone",
        "fenced",
        "prose and fence",
        "amid prose",
        "second fence",
        "a draft that was thought",
        "a draft, then a fence",
        "a draft in a fence",
        "before prose about stages",
        "much that is no JSON",
        "many braces",
    ],
)
def test_the_spec_is_found_wherever_it_stands(reply: str) -> None:
    assert extract_document(reply) == json.loads(GOOD)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "Expecting value"),
        ("null", "a JSON NoneType"),
        ('{"a": 1, "a": 2}', "stands twice"),
        ('{"a": Infinity}', "Infinity is not a number"),
        (GOOD.replace('"', "\u201c", 1).replace('"', "\u201d", 1), "not one JSON object .Expecting property name"),
        (GOOD.replace("{", "{ // the spec", 1), "not one JSON object .Expecting property name"),
        ('{"a": -1e400}', "too large"),
        ('{"a":' * 40 + "1" + "}" * 40, "nested deeper than 32"),
        ("[" * 5000 + "]" * 5000, "nested deeper than 32"),
        ('{"stages": [1,\n 2,,]}', "line 2 column 4"),
        ('Here:\n{"stages": [1, 2', "line 2"),
        (f"Draft: {GOOD}\nFinal, corrected:\n{BROKEN}", r"last spec .* \(Expecting value: line \d+ column"),
        (f"{BROKEN}\nNo: {GOOD}\nFinal: {GOOD[:-200]}", "last spec"),
        (f"{GOOD}\nAs a dictionary: {json.loads(GOOD)}", "last spec .* no JSON object"),
        (f"{GOOD}\nOr {{schema: 1, stages: [{{id: 2}}]}}", "last spec"),
        (f"<think>{GOOD}</think>Sorry, I cannot do this.", "Expecting value"),
        (f"<think>{GOOD}</think>{BROKEN}", "not one JSON object"),
        ("x" * 70_000, "70000 characters"),
    ],
)
def test_what_is_no_spec_is_refused_with_the_reason(reply: str, why: str) -> None:
    with pytest.raises(SpecError, match=why):
        extract_document(reply)


def test_a_reply_that_was_cut_off_may_have_been_cut_after_a_draft() -> None:
    """What is said after a spec is no matter, unless the model had more to say; then only a spec at its end counts."""
    for whole in (GOOD, f"{BROKEN}\nNo:\n```json\n{GOOD}\n```\n"):
        assert extract_document(whole, is_cut=True) == json.loads(GOOD)
    for rest in ("That is wrong because", f"Final: {GOOD[:40]}", "</think>", '```json\n{"schema": "'):
        assert extract_document(f"{GOOD}\n{rest}") == json.loads(GOOD)
        with pytest.raises(SpecError, match="cut off after a spec that may be a draft"):
            extract_document(f"{GOOD}\n{rest}", is_cut=True)


@pytest.mark.parametrize(
    "unit", ['"\\', '"', '"a', '{"a":1 ', '{"', "{[", "{", '{"a":', "{'", '{"\\', '{"a": 1, "a": 2}', '{"x":[1,{"y":"']
)
def test_reading_a_hostile_reply_takes_time_in_proportion(unit: str) -> None:
    """Four times the text, at most about four times the work; what is quadratic takes sixteen times as long."""

    def seconds(num_chars: int) -> float:
        reply, best = (unit * num_chars)[:num_chars], float("inf")
        for _ in range(3):
            began = time.process_time()
            with contextlib.suppress(SpecError):
                extract_document(reply)
            best = min(best, time.process_time() - began)
        return best

    assert seconds(64_000) < 10 * seconds(16_000) + 0.05


def test_lone_surrogates_come_out_as_text_that_can_be_written() -> None:
    reply = '{"stages": ["\\ud800 and \udfff"], "\\udc00": 1}'
    assert extract_document(reply) == {"stages": ["? and ?"], "?": 1}
