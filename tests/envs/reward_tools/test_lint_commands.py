"""The commands `lint` and `diff` on files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tgrpo_envs.bddl import read_problem
from tgrpo_envs.errors import SpecError
from tgrpo_envs.reward_tools.lint.commands import diff, lint
from tgrpo_envs.reward_tools.lint.differences import differences
from tgrpo_envs.rewards import parse_spec, save_spec, spec_from_goal
from tgrpo_envs.rewards.spec import canonical_json
from tgrpo_envs.tasks import bddl_path, get_task


@pytest.fixture
def document() -> dict[str, Any]:
    task = get_task("libero_object", 0)
    compiled: dict[str, Any] = json.loads(canonical_json(spec_from_goal(read_problem(bddl_path(task)), task)))
    return compiled


def write(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_lint_names_every_file_its_score_and_its_faults(tmp_path: Path, document: dict[str, Any]) -> None:
    good = write(tmp_path / "good.json", document)
    document["stages"][1]["hold_steps"] = 1
    meh = write(tmp_path / "meh.json", document)
    document["stages"][1]["done"]["a"] = "milk_1"
    bad = write(tmp_path / "bad.json", document)
    text, is_good = lint([good, meh, bad])
    assert not is_good and text.splitlines()[-1] == "2 of 3 specs have no errors"
    assert f"{good}: score 100" in text and f"{meh}: score 97" in text and f"{bad}: score 0" in text
    assert "  W03 stages[1].hold_steps" in text and "  E07 stages[1].done.a: got 'milk_1'" in text
    assert lint([good, meh])[1]
    assert "W03" not in lint([meh], warnings=False)[0]
    text, is_good = lint([good, meh], strict=True)
    assert not is_good and text.splitlines()[-1] == "1 of 2 specs have the full score"
    assert lint([good], strict=True)[1]


def test_lint_of_nothing_is_no_success() -> None:
    with pytest.raises(SpecError, match="name spec files"):
        lint([])


@pytest.mark.parametrize("text", ["[]", "{}", '{"task": 3}'])
def test_a_file_without_a_task_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spec.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match="which task it is for"):
        lint([path])


def test_a_syntax_error_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    for text, where in [
        ("{", "line 1, column 2"),
        ('{"schema": "stage-spec/1",\n "task": {"suite": "libero_goal" "name": ""}}', "line 2, column 34"),
        ('{"stages": [\n\n  {"id": "a",}\n]}', "line 3"),
    ]:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SpecError, match=rf"spec\.json is not JSON: .* at {where}"):
            lint([path])
    path.write_text("[" * 16_000, encoding="utf-8")
    with pytest.raises(SpecError, match="not JSON"):
        lint([path])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"Cannot read .*nothing\.json"):
        lint([tmp_path / "nothing.json"])


def test_diff_names_each_change(tmp_path: Path, document: dict[str, Any]) -> None:
    a = parse_spec(json.dumps(document))
    document["stages"][2]["done"]["by_m"] = 0.08
    document["stages"][3]["ramp"] = None
    document["stages"][4]["rationale"] = "no part of the meaning"
    document["stages"][0]["id"] = "approach"
    document["stages"][1]["after"] = ["approach"]
    document["maintain"] = [{"holds": {"op": "upright", "a": "basket_1", "within_deg": 30.0}}]
    b = parse_spec(json.dumps(document))
    lines = differences(a, b)
    assert "lift_alphabet_soup_1.done.by_m: 0.05 -> 0.08" in lines
    assert 'grasp_alphabet_soup_1.after[0]: "reach_alphabet_soup_1" -> "approach"' in lines
    assert [line.split(":")[0] for line in lines if line[0] in "+-"] == [
        "- stage reach_alphabet_soup_1",
        "+ stage approach",
    ]
    assert any(line.startswith('carry_alphabet_soup_1.ramp: {"op"') and line.endswith("-> null") for line in lines)
    assert any(line.startswith("maintain: [] -> [") for line in lines) and len(lines) == 6
    save_spec(a, tmp_path / "a.json")
    save_spec(b, tmp_path / "b.json")
    assert diff(tmp_path / "a.json", tmp_path / "b.json").splitlines() == lines
    assert diff(tmp_path / "a.json", tmp_path / "a.json") == "no difference but in rationales"


def test_diff_sees_a_changed_order(document: dict[str, Any]) -> None:
    a = parse_spec(json.dumps(document))
    document["stages"] = document["stages"][::-1]
    (line,) = differences(a, parse_spec(json.dumps(document)))
    assert line.startswith("order in the file: reach_alphabet_soup_1, grasp")
