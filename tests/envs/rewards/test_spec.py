"""Stage spec files: what is accepted, what is refused and in which words, and what gives a spec its identity."""

from __future__ import annotations

import ast
import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

import tgrpo_envs
from tests.helpers.edits import Edit
from tests.helpers.reward_cases import specs
from tgrpo_envs.errors import SpecError
from tgrpo_envs.rewards import StageSpec, load_spec, parse_spec, save_spec, spec_id
from tgrpo_envs.rewards.predicates import PREDICATES
from tgrpo_envs.rewards.ramps import RAMPS
from tgrpo_envs.rewards.vocabulary import KINDS, MODELS

REACH = {"op": "near", "a": "gripper", "b": "can_1", "within_m": 0.05}
APPROACH = {"op": "approach", "a": "gripper", "b": "can_1", "to_m": 0.04}
DOCUMENT = {
    "schema": "stage-spec/1",
    "task": {"suite": "libero_object", "name": "pick_up_the_can"},
    "stages": [
        {
            "id": "reach",
            "effort": 1,
            "ramp": APPROACH,
            "done": {"all": [REACH]},
        },
        {"id": "place", "effort": 2, "after": ["reach"], "done": {"op": "goal", "index": 0}, "latch": "live"},
    ],
}


def changed(edit: Edit) -> str:
    document = copy.deepcopy(DOCUMENT)
    edit(document)
    return json.dumps(document)


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, source="soup.json")
    return str(caught.value)


def stage(k: int, **fields: Any) -> str:
    return changed(lambda document: document["stages"][k].update(fields))


def maintained(**fields: Any) -> str:
    return changed(lambda document: document.update(maintain=[fields]))


def chain(length: int, **last: Any) -> str:
    done = {"op": "goal", "index": 0}
    stages = [{"id": f"s{k}", "effort": 1, "after": [f"s{k - 1}"] if k else [], "done": done} for k in range(length)]
    stages[-1].update(last)
    return changed(lambda document: document.update(stages=stages))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (stage(0, done={"all": [{**REACH, "within_m": 3}]}), "stages[0].done.all[0].within_m: got 3, at most 0.30"),
        (stage(0, done={"all": [{**REACH, "op": "neer"}]}), "done.all[0].op: unknown op 'neer', did you mean 'near'?"),
        (stage(0, done={"any": [{**REACH, "in_m": 1}]}), "done.any[0].in_m: unknown key, did you mean 'within_m'?"),
        (stage(0, ramp={"op": "approch"}), "stages[0].ramp.op: unknown op 'approch', did you mean 'approach' or"),
        (stage(0, done={}), 'stages[0].done: got {}, expected an object with an "op" (or all, any, not): near, '),
        (stage(0, done={"all": []}), "stages[0].done.all: has 0 entries, at least 1"),
        (stage(0, effort="3"), "stages[0].effort: got '3', expected a whole number"),
        (stage(0, effort=6), "stages[0].effort: got 6, at most 5"),
        (stage(0, hold_steps=0), "stages[0].hold_steps: got 0, at least 1"),
        (stage(0, latch="always"), "stages[0].latch: got 'always', expected 'once' or 'live'"),
        (stage(0, id="Grüße"), "stages[0].id: got 'Grüße', expected lower-case ASCII letters, digits and underscores"),
        (stage(1, id="reach"), "stages[1].id: 'reach' is already the id of stages[0]"),
        (stage(1, after=["raech"]), "stages[1].after[0]: no stage 'raech', did you mean 'reach'?"),
        (stage(0, after=["place"]), "`after` runs in a circle (reach -> place -> reach)"),
        (stage(0, after=["reach"]), "`after` runs in a circle (reach -> reach)"),
        (stage(0, ramp={**APPROACH, "to_m": 0.1, "from_m": 0.05}), "stages[0].ramp: from_m must be larger than to_m"),
        (stage(0, done={"not": {"all": [{"any": [REACH]}]}}), "stages[0].done: nests 3 connectives, at most 2"),
        (stage(1, done={"op": "goal", "index": 12}), "stages[1].done.index: got 12, less than 12"),
        (stage(1, **{"while": [{"op": "grasped"}]}), "stages[1].while[0].a: missing"),
        (chain(9), "the longest chain has 9 stages, at most 8"),
        (changed(lambda d: d.update(success=True)), "success: unknown key"),
        (changed(lambda d: d.update(schema="stage-spec/2")), "schema: got 'stage-spec/2', expected 'stage-spec/1'"),
        (changed(lambda d: d.pop("task")), "task: missing"),
        (changed(lambda d: d.update(stages=d["stages"] * 7)), "stages: has 14 entries, at most 12"),
        (maintained(holds=REACH, cost_frac=2), "maintain[0].cost_frac: got 2, at most 1.00"),
        (stage(0, ramp={"op": "constant", "value_frac": float("nan")}), "got nan, expected a finite number"),
        ('{"schema": ', "Invalid JSON: EOF while parsing a value at line 1"),
    ],
)  # fmt: skip
def test_a_malformed_spec_is_refused_with_its_place_and_the_remedy(text: str, message: str) -> None:
    said = refusal(text)
    assert said.startswith("soup.json is not a valid stage spec:")
    assert message in said


def test_every_fault_is_listed_once_and_a_flood_is_cut() -> None:
    said = refusal(stage(0, effort=9, done={"all": [{**REACH, "within_m": 3}]}))
    assert said.splitlines()[1:] == [
        "  stages[0].effort: got 9, at most 5",
        "  stages[0].done.all[0].within_m: got 3, at most 0.30",
    ]
    flood = stage(0, **{f"key_{i}": 0 for i in range(9)})
    assert refusal(flood).splitlines()[-1] == "  and 4 more"


def test_deep_nesting_cannot_exhaust_the_stack() -> None:
    condition: dict[str, Any] = REACH
    for _ in range(900):
        condition = {"not": condition}
    assert "recursion limit" in refusal(stage(0, done=condition))


READERS = ("rewards", "reward_tools")  # of specs, replies, certificates and episodes
RUNS_TEXT = {"eval", "exec", "compile", "__import__", "breakpoint"}
RUNS_FILES = {"pickle", "marshal", "shelve", "dill", "yaml", "runpy", "code", "subprocess", "ctypes", "importlib"}


def test_nothing_that_reads_a_spec_could_run_it() -> None:
    """No room that reads what others wrote calls or imports anything that turns text or files into code."""
    package = Path(tgrpo_envs.__file__).parent
    paths = [package / "bddl.py", *(path for room in READERS for path in (package / room).rglob("*.py"))]
    assert len(paths) > 60
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in RUNS_TEXT, f"{path.name}:{node.lineno}"
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom) and node.module not in ("importlib", "importlib.metadata"):
                names = [str(node.module)]
            assert not {name.split(".")[0] for name in names} & RUNS_FILES, f"{path.name}: {ast.unparse(node)}"


@pytest.mark.parametrize("place", ["id", "op", "a", "rationale", "schema"])
def test_code_in_a_spec_is_text_or_refused_wherever_it_stands(place: str, tmp_path: Path) -> None:
    """Each text of a spec in turn is Python that leaves a trace if anything runs it."""
    loot = tmp_path / "loot"
    code = f"__import__('os').mkdir({str(loot)!r})"
    document = json.loads(changed(lambda _: None))
    done = document["stages"][0]["done"]["all"][0]
    holder = {"schema": document, "op": done, "a": done}.get(place, document["stages"][0])
    holder[place] = code
    if place == "rationale":  # for readers: any text may stand here
        spec_id(parse_spec(json.dumps(document)))
    else:
        assert refusal(json.dumps(document))
    assert not loot.exists()


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"Cannot read the stage spec .*none\.json: No such file"):
        load_spec(tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(b'{"schema": "\xe9"}')
    with pytest.raises(SpecError, match=r"latin\.json is not UTF-8 text \(byte 12\)"):
        load_spec(tmp_path / "latin.json")
    (tmp_path / "huge.json").write_text(" " * 20_000)
    with pytest.raises(SpecError, match=r"huge\.json has more than 16384 bytes"):
        load_spec(tmp_path / "huge.json")
    with pytest.raises(SpecError, match=r"zero has more than 16384 bytes"):
        load_spec("/dev/zero")  # of which no more is read
    (tmp_path / "marked.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(DOCUMENT).encode())
    assert load_spec(tmp_path / "marked.json") == parse_spec(json.dumps(DOCUMENT))  # as some editors write it
    (tmp_path / "typo.json").write_text(stage(0, efort=1))
    with pytest.raises(SpecError, match=re.escape("typo.json is not a valid stage spec:\n  stages[0].efort: unknown")):
        load_spec(tmp_path / "typo.json")


@pytest.mark.parametrize("place", ['"stages": [', '"op": "'])
def test_a_key_that_stands_twice_is_refused(place: str) -> None:
    """Python's and pydantic's parsers take the last one: what a reader sees first would not count."""
    text = json.dumps(DOCUMENT)
    key = place.split('"')[1]
    twice = text.replace(place, f'"{key}": 0, {place}', 1)
    assert json.loads(twice) == DOCUMENT
    with pytest.raises(SpecError, match=f"the text is not a valid stage spec: '{key}' stands twice in one object"):
        parse_spec(twice)


@settings(max_examples=30, deadline=None)
@given(specs())
def test_a_saved_spec_reads_back_equal(tmp_path_factory: pytest.TempPathFactory, spec: StageSpec) -> None:
    path = tmp_path_factory.mktemp("specs") / "spec.json"
    save_spec(spec, path)
    assert load_spec(path) == spec
    assert spec_id(load_spec(path)) == spec_id(spec)


def large(num_conditions: int, rationale: str = "") -> StageSpec:
    """A spec whose every stage has many conditions."""
    conditions = [{"any": [REACH, REACH, {"op": "touching", "a": "can_1"}]}] * num_conditions
    stages = [
        {"id": f"s{k}", "effort": 1, "while": conditions, "done": REACH, "rationale": rationale} for k in range(12)
    ]
    return parse_spec(changed(lambda document: document.update(stages=stages)))


def test_a_saved_spec_is_never_larger_than_one_that_is_read(tmp_path: Path) -> None:
    """Indented it would be: 6 conditions for each of 12 stages are 33 kB with indents and 12 kB without."""
    path = tmp_path / "spec.json"
    for spec in (large(6), large(6, rationale="ü" * 160)):  # as \\u00fc they would be 11 kB more
        save_spec(spec, path)
        assert path.stat().st_size <= 16_384 and load_spec(path) == spec
    save_spec(large(1), path)
    assert path.read_text().startswith('{\n  "schema"')
    before = path.read_bytes()
    with pytest.raises(
        SpecError, match=r"spec\.json has 1\d{4} bytes, at most 16384; leave out conditions or rationales"
    ):
        save_spec(large(8, rationale="ü" * 160), path)
    assert path.read_bytes() == before


def test_the_id_covers_the_meaning_and_nothing_else() -> None:
    """Key order, number format, written-out defaults and rationales do not change the id; a threshold does."""
    spec = parse_spec(json.dumps(DOCUMENT))
    reordered = {key: DOCUMENT[key] for key in reversed(DOCUMENT)}
    same = [
        json.dumps(reordered, indent=4),
        json.dumps(DOCUMENT).replace("0.05", "5e-2"),
        stage(0, hold_steps=1, latch="once", after=[]),
        stage(0, rationale="the gripper comes close"),
    ]
    assert {spec_id(parse_spec(text)) for text in same} == {spec_id(spec)}
    assert spec_id(parse_spec(stage(0, effort=2))) != spec_id(spec)
    assert spec_id(parse_spec(json.dumps(DOCUMENT).replace("0.05", "0.06"))) != spec_id(spec)
    assert re.fullmatch("[0-9a-f]{64}", spec_id(spec))


def test_every_word_of_the_vocabulary_has_a_meaning_and_a_signature() -> None:
    assert [*PREDICATES, *RAMPS] == list(KINDS)
    for op, kinds in KINDS.items():
        assert kinds.keys() == MODELS[op].model_fields.keys() & {"a", "b"}
