"""Every lint rule against one minimal offending spec of a real task, and all compiled specs against every rule."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tests.helpers.fuzz_cases import random_spec
from tgrpo_envs.bddl import read_problem
from tgrpo_envs.reward_tools.lint import RULES, Finding, Rule, lint_profile, lint_score, lint_spec, lint_text
from tgrpo_envs.reward_tools.lint.entities import Entities, edit_distance
from tgrpo_envs.rewards import CreditProfile, spec_from_goal
from tgrpo_envs.rewards.spec import canonical_json
from tgrpo_envs.tasks import bddl_path, get_task, list_tasks

Edit = Callable[[dict[str, Any]], object]
SOUP, BASKET = "alphabet_soup_1", "basket_1"
TOP, BOTTOM = "white_cabinet_1_top_region", "white_cabinet_1_bottom_region"
MUG = {"a": "white_yellow_mug_1", "b": "microwave_1_heating_region", "axes": "xy"}
ABOUT_XY = {"ramp": {"op": "approach", **MUG, "to_m": 0.05}, "done": {"op": "near", **MUG, "within_m": 0.05}}
STAGE = {"id": "extra", "effort": 1, "done": {"op": "released", "a": SOUP}}


def stage(document: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The first stage whose id starts so."""
    return next(entry for entry in document["stages"] if entry["id"].startswith(prefix))


def put(prefix: str, **fields: Any) -> Edit:
    """Overwrites fields of a stage."""
    return lambda document: stage(document, prefix).update(fields)


def drop(*prefixes: str) -> Edit:
    """Removes stages; those after them wait for nothing of them."""

    def edit(document: dict[str, Any]) -> None:
        gone = {entry["id"] for entry in document["stages"] if entry["id"].startswith(prefixes)}
        document["stages"] = [entry for entry in document["stages"] if entry["id"] not in gone]
        for entry in document["stages"]:
            entry["after"] = [name for name in entry.get("after", []) if name not in gone]

    return edit


def swap_names(old: str, new: str) -> Edit:
    """Says `new` wherever the file says `old`."""

    def edit(document: dict[str, Any]) -> None:
        document["stages"] = json.loads(json.dumps(document["stages"]).replace(f'"{old}"', f'"{new}"'))

    return edit


def ten_crumbs(document: dict[str, Any]) -> None:
    names = [f"wait_{i}" for i in range(5)]
    done = {"op": "lifted", "a": SOUP, "by_m": 0.05}
    document["stages"] += [{"id": name, "effort": 1, "done": done} for name in names]
    stage(document, "place")["after"] += names


def maintain(condition: dict[str, Any], cost_frac: float = 0.5) -> Edit:
    """Demands a condition all along."""
    return lambda document: document.update(maintain=[{"holds": condition, "cost_frac": cost_frac}])


OBJECT, SPATIAL, GOAL, LONG = "libero_object", "libero_spatial", "libero_goal", "libero_10"
near_basket = {"op": "near", "a": SOUP, "b": "tomato_sauce_1", "within_m": 0.05, "axes": "xy"}
BASKET_IS_STILL = {"op": "still", "a": BASKET, "below_mps": 0.2}
DRAWER_IS_OPEN = {"op": "actuated", "a": "wooden_cabinet_1_top_region", "toward": "open", "min_frac": 0.9}
OFFENCES: list[tuple[str, str, int, Edit]] = [
    ("E01", OBJECT, 0, put("lift", note="hello")),
    ("E01", OBJECT, 0, put("grasp", done={"op": "holding", "a": SOUP})),
    ("E01", OBJECT, 0, put("reach", rationale="x" * 200)),
    ("E02", OBJECT, 0, swap_names(SOUP, "alphabet_soup")),
    ("E02", OBJECT, 0, put("lift", **{"while": [{"op": "grasped", "a": "the_soup"}]})),
    ("E03", SPATIAL, 0, put("carry", done={"op": "inside", "a": "akita_black_bowl_1", "b": "plate_1"}, ramp=None)),
    ("E03", GOAL, 5, put("touch", done={"op": "grasped", "a": "flat_stove_1"})),
    ("E03", GOAL, 0, put("touch", done={"op": "actuated", "a": "wooden_cabinet_1", "toward": "open", "min_frac": 0.1})),
    ("E03", GOAL, 7, put("on_flat", ramp={"op": "actuate", "a": "flat_stove_1", "toward": "open"})),
    ("E03", OBJECT, 0, put("carry", done={"op": "near", "a": SOUP, "b": SOUP, "within_m": 0.05})),
    ("E04", OBJECT, 0, put("lift", done={"op": "lifted", "a": SOUP, "by_m": 5})),
    ("E05", OBJECT, 0, lambda d: d["stages"].append(STAGE)),
    ("E05", OBJECT, 0, put("reach", after=[f"place_{SOUP}"])),
    ("E06", OBJECT, 0, put("place", done={"op": "goal", "index": 1})),
    ("E06", OBJECT, 0, put("place", done={"all": [{"op": "goal", "index": 0}, {"op": "released", "a": SOUP}]})),
    ("E06", OBJECT, 0, lambda d: d.update(maintain=[{"holds": {"op": "goal", "index": 0}}])),
    ("E06", LONG, 8, lambda d: d.update(maintain=[])),
    ("E06", LONG, 0, drop("place_tomato")),
    ("E06", LONG, 0, put("place_alphabet", latch="once")),
    ("E07", SPATIAL, 0, swap_names("akita_black_bowl_1", "akita_black_bowl_2")),
    ("E07", LONG, 4, swap_names("plate_1", "plate_2")),
    ("E07", LONG, 0, put("lift_alphabet", done={"op": "lifted", "a": "tomato_sauce_1", "by_m": 0.05}, ramp=None)),
    ("E07", OBJECT, 0, put("carry", done=near_basket, ramp=None)),
    ("E07", OBJECT, 0, put("reach", done={"op": "near", "a": "gripper", "b": BASKET, "within_m": 0.05}, ramp=None)),
    ("E07", GOAL, 0, swap_names("wooden_cabinet_1_middle_region", "wooden_cabinet_1_top_region")),
    ("E07", "libero_90", 23, swap_names(f"{TOP}_handle", f"{BOTTOM}_handle")),
    ("E08", GOAL, 3, drop("reach_to_open", "touch_to_open", "open")),
    ("E08", GOAL, 3, lambda d: stage(d, "open")["done"].update(min_frac=0.3)),
    ("E09", LONG, 3, put("reach_to_close", after=[])),
    ("E09", LONG, 9, put("reach_to_close", after=[])),
    ("E10", LONG, 9, put("close", ramp={"op": "actuate", "a": "microwave_1", "toward": "open"})),
    ("E10", GOAL, 3, lambda d: stage(d, "open")["done"].update(toward="close")),
    ("E10", OBJECT, 0, put("grasp", done={"op": "released", "a": SOUP})),
    ("E10", OBJECT, 0, put("lift", **{"while": [{"not": {"op": "grasped", "a": SOUP}}]})),
    ("E11", OBJECT, 0, lambda d: stage(d, "reach")["ramp"].update(to_m=0.15)),
    ("E11", OBJECT, 0, lambda d: stage(d, "carry")["ramp"].update(to_m=0.0)),
    ("E11", OBJECT, 0, lambda d: stage(d, "lift")["ramp"].update(to_m=0.02)),
    ("E11", OBJECT, 0, lambda d: stage(d, "place")["ramp"].update(from_m=0.05)),
    ("E11", OBJECT, 0, put("grasp", ramp={"op": "raise", "a": SOUP, "to_m": 0.05})),
    ("E11", OBJECT, 0, put("place", ramp={"op": "approach", "a": "gripper", "b": SOUP, "to_m": 0.0})),
    ("E13", OBJECT, 0, lambda d: d["task"].update(suite="libero_goal")),
    ("E13", OBJECT, 0, lambda d: d["task"].update(name="pick_up_the_milk_and_place_it_in_the_basket")),
    ("E13", OBJECT, 0, lambda d: d.update(schema="stage-spec/2")),
    ("E14", OBJECT, 0, maintain({"op": "grasped", "a": SOUP})),
    ("E14", OBJECT, 0, maintain({"not": {"op": "released", "a": SOUP}})),
    ("E14", OBJECT, 0, maintain({"all": [{"op": "touching", "a": SOUP}, BASKET_IS_STILL]})),
    ("E14", OBJECT, 0, maintain({"op": "lifted", "a": SOUP, "by_m": 0.3})),
    ("E14", OBJECT, 0, maintain({"not": {"not": {"op": "moved", "a": SOUP, "by_m": 0.3}}})),
    ("E14", GOAL, 3, maintain(DRAWER_IS_OPEN)),
    ("E14", GOAL, 7, maintain({"op": "actuated", "a": "flat_stove_1", "toward": "on", "min_frac": 0.9})),
    ("W01", OBJECT, 0, lambda d: [entry.update(effort=1 + 4 * (entry["id"][0] == "c")) for entry in d["stages"]]),
    ("W02", OBJECT, 0, put("grasp", done={"op": "touching", "a": SOUP})),
    ("W02", GOAL, 5, put("touch", done={"op": "grasped", "a": "plate_1"})),
    ("W03", OBJECT, 0, put("grasp", hold_steps=1)),
    ("W04", OBJECT, 0, put("grasp", latch="once")),
    ("W04", OBJECT, 0, put("carry", latch="once")),
    ("W04", OBJECT, 0, put("reach", latch="live")),
    ("W04", OBJECT, 0, put("lift", latch="live")),
    ("W05", OBJECT, 0, put("lift", **{"while": [{"op": "upright", "a": "tomato_sauce_1", "within_deg": 30}]})),
    ("W06", "libero_90", 17, lambda d: None),
    ("W07", OBJECT, 0, ten_crumbs),
    ("W07", OBJECT, 0, drop("reach", "grasp", "lift", "carry")),
    ("W08", LONG, 0, drop("reach_alphabet", "grasp_alphabet", "lift_alphabet", "carry_alphabet")),
    ("W09", OBJECT, 0, put("lift", rationale="lift it by 10 cm")),
    ("W09", OBJECT, 0, put("lift", rationale="away from tomato_sauce_1")),
    ("W10", OBJECT, 0, lambda d: [stage(d, "carry").update(after=["grasp_alphabet_soup_1"]), drop("lift")(d)]),
    ("W11", LONG, 9, put("carry", **ABOUT_XY)),
]
IDS = [f"{code}-{row}" for row, (code, *_) in enumerate(OFFENCES)]


def offence(suite: str, index: int, edit: Edit) -> Callable[[Sequence[Rule]], tuple[Finding, ...]]:
    """The edited compiled spec of a task, linted with and without some rules."""
    task = get_task(suite, index)
    problem = read_problem(bddl_path(task))
    document = json.loads(spec_from_goal(problem, task).model_dump_json(by_alias=True, exclude_defaults=True))
    for entry in document["stages"]:
        entry.setdefault("after", [])
    edit(document)
    return lambda rules: lint_text(json.dumps(document), problem, task, "the test", rules)[1]


@pytest.mark.parametrize(("code", "suite", "index", "edit"), OFFENCES, ids=IDS)
def test_an_offence_is_found_by_its_rule_and_by_no_other(code: str, suite: str, index: int, edit: Edit) -> None:
    """Without the rule the same spec is clean of its code: the rule, not its neighbour, finds the fault."""
    lint = offence(suite, index, edit)
    found = [finding for finding in lint(RULES) if finding.code == code]
    assert found
    assert all(finding.is_error == code.startswith("E") for finding in found)
    assert not [finding for finding in lint([rule for rule in RULES if rule.code != code]) if finding.code == code]


def test_each_rule_has_an_offence() -> None:
    tested = {code for code, *_ in OFFENCES} | {"E12"}
    assert tested == {rule.code for rule in RULES}


def test_a_discounting_learner_needs_a_small_beta() -> None:
    """0.99^219 = 0.111, 0.99^279 = 0.061."""
    assert not lint_profile(CreditProfile(beta=0.1, discount=0.99), 220)
    (finding,) = lint_profile(CreditProfile(beta=0.1, discount=0.99), 280)
    assert finding.code == "E12" and finding.allowed == "below 0.0606"
    assert not lint_profile(CreditProfile(), 520)
    assert not lint_profile(CreditProfile(mode="pbrs", discount=0.99), 280)
    assert not lint_profile(CreditProfile(mode="sparse", discount=0.99), 280)
    assert not lint_profile(CreditProfile(beta=0.1, discount=0.99), 280, [r for r in RULES if r.code != "E12"])


@pytest.mark.parametrize("suite", ["libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90"])
def test_compiled_specs_have_no_errors(suite: str) -> None:
    for task in list_tasks(suite):
        problem = read_problem(bddl_path(task))
        findings = lint_spec(spec_from_goal(problem, task), problem, task)
        assert not [str(finding) for finding in findings if finding.is_error], task.name
        assert lint_score(findings) >= 95


def test_a_finding_is_one_line_that_says_all() -> None:
    findings = offence(OBJECT, 0, swap_names(SOUP, "alphabet_soup"))(RULES)
    line = str(findings[0])
    assert line.startswith("E02 stages[0].ramp.b: got 'alphabet_soup'; allowed: ")
    assert "did you mean 'alphabet_soup_1'" in line and "\n" not in line
    assert "\n" not in str(Finding("E01", "", "a\nb", "c", "d", "e"))


@pytest.mark.parametrize(
    ("edit", "path", "got", "allowed"),
    [
        (put("lift", done={"op": "lifted", "a": SOUP, "by_m": 5}), "stages[2].done.by_m", "5", "at most 0.30"),
        (put("lift", note=1), "stages[2].note", "unknown key", "did you mean"),
        (put("lift", effort="big"), "stages[2].effort", "'big'", "expected a whole number"),
    ],
)
def test_a_faulty_text_is_named_with_its_place(edit: Edit, path: str, got: str, allowed: str) -> None:
    (finding,) = offence(OBJECT, 0, edit)(RULES)
    assert (finding.path, finding.got) == (path, got)
    assert finding.allowed.startswith(allowed) or allowed == "did you mean"


def test_broken_json_and_large_files_are_refused() -> None:
    task = get_task(OBJECT, 0)
    problem = read_problem(bddl_path(task))
    spec, (finding,) = lint_text("{", problem, task, "my file")
    assert spec is None and finding.code == "E01" and finding.path == "my file"
    spec, (finding,) = lint_text(" " * 20_000, problem, task, "my file")
    assert spec is None and "20000 bytes" in finding.got
    twice = json.dumps(json.loads(canonical_json(spec_from_goal(problem, task)))).replace(
        '"task": {', '"task": 1, "task": {', 1
    )
    spec, (finding,) = lint_text(twice, problem, task, "my file")
    assert spec is None and (finding.code, finding.got) == ("E01", "'task' twice")


def test_the_score_counts_each_warning_once_and_no_error() -> None:
    def finding(code: str) -> Finding:
        return Finding(code, "", "", "", "", "")

    assert lint_score([]) == 100
    assert lint_score([finding("W03"), finding("W03"), finding("W02")]) == 100 - 3 - 10
    assert lint_score([finding("W03"), finding("E07")]) == 0


def test_edit_distance_by_hand() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == 3 and edit_distance("same", "same") == 0


@pytest.mark.parametrize("rename", [False, True], ids=["unknown names", "names of the task"])
def test_any_valid_spec_can_be_linted(rename: bool) -> None:
    """Random specs are full of faults, of names as of plan; none of them makes a rule fall over."""
    task, rng = get_task("libero_goal", 3), np.random.default_rng(0)
    problem = read_problem(bddl_path(task))
    names = [*Entities(problem).kinds]
    for _ in range(100):
        text = random_spec(rng).model_dump_json(by_alias=True)
        if rename:
            text = re.sub(r'"([ab])":"\w+"', lambda found: f'"{found[1]}":"{rng.choice(names)}"', text)
        spec, findings = lint_text(text, problem, task, "a random spec")
        assert spec is not None and all("\n" not in str(finding) for finding in findings)
        assert {"E02", "E13"} <= {finding.code for finding in findings} or rename


def straight_to_the_goal(document: dict[str, Any]) -> None:
    drop("carry")(document)
    stage(document, "place")["after"] = [stage(document, "lift")["id"]]


GOOD_VARIANTS = {
    "waypoint over the plate": put(
        "carry",
        done={"op": "above", "a": "akita_black_bowl_1", "b": "plate_1", "min_m": 0.02, "xy_within_m": 0.04},
        ramp={"op": "approach", "a": "akita_black_bowl_1", "b": "plate_1", "to_m": 0.03, "axes": "xy"},
    ),
    "off the ramekin it stood on": put(
        "lift",
        done={"not": {"op": "resting_on", "a": "akita_black_bowl_1", "b": "glazed_rim_porcelain_ramekin_1"}},
        ramp=None,
    ),
    "the hand over the plate with the bowl in it": put(
        "carry",
        done={"op": "near", "a": "gripper", "b": "plate_1", "within_m": 0.1, "axes": "xy"},
        ramp={"op": "approach", "a": "gripper", "b": "plate_1", "to_m": 0.1, "axes": "xy"},
        latch="once",
    ),
    "kept upright": lambda d: d.update(
        maintain=[{"holds": {"op": "upright", "a": "akita_black_bowl_1", "within_deg": 45}, "cost_frac": 0.2}]
    ),
    "in the hand or on something": maintain(
        {"any": [{"op": "grasped", "a": "akita_black_bowl_1"}, {"op": "still", "a": "plate_1", "below_mps": 0.1}]}
    ),
    "never high up": maintain({"not": {"op": "lifted", "a": "akita_black_bowl_1", "by_m": 0.3}}),
    "touched, at no cost": maintain({"op": "touching", "a": "akita_black_bowl_1"}, 0.0),
    "straight to the goal from the lift": straight_to_the_goal,
    "a gentler lift": put(
        "lift",
        done={"op": "lifted", "a": "akita_black_bowl_1", "by_m": 0.1},
        ramp={"op": "raise", "a": "akita_black_bowl_1", "to_m": 0.1},
    ),
}


@pytest.mark.parametrize("edit", GOOD_VARIANTS.values(), ids=GOOD_VARIANTS)
def test_other_good_plans_are_accepted(edit: Edit) -> None:
    """Not only what the compiler writes: the bowl on the ramekin (libero_spatial/5) onto the plate."""
    assert [str(finding) for finding in offence(SPATIAL, 5, edit)(RULES) if finding.is_error] == []


@pytest.mark.parametrize(
    ("suite", "index", "op", "name", "meant"),
    [
        ("libero_goal", 8, "grasped", "bowl", "akita_black_bowl_1"),
        ("libero_goal", 8, "grasped", "black_bowl", "akita_black_bowl_1"),
        ("libero_spatial", 0, "grasped", "bowl", "akita_black_bowl_1"),  # of two, the goal's
        ("libero_object", 0, "grasped", "alphabet_soup", "alphabet_soup_1"),
        ("libero_object", 0, "grasped", "soop", "alphabet_soup_1"),
        ("libero_goal", 0, "actuated", "middle_drawer", "wooden_cabinet_1_middle_region"),
        ("libero_goal", 7, "actuated", "knob", "flat_stove_1"),
        ("libero_goal", 8, "released", "plate", "plate_1"),
    ],
)
def test_hints_look_at_meaning_and_kind(suite: str, index: int, op: str, name: str, meant: str) -> None:
    task = get_task(suite, index)
    problem = read_problem(bddl_path(task))
    document = json.loads(canonical_json(spec_from_goal(problem, task)))
    fields = {"toward": "open", "min_frac": 0.5} if op == "actuated" else {}
    document["stages"][0] |= {"done": {"op": op, "a": name, **fields}, "ramp": None}
    _, findings = lint_text(json.dumps(document), problem, task, source="s")
    (unknown,) = [finding for finding in findings if finding.code == "E02"]
    assert unknown.hint.startswith(f"did you mean {meant!r}")
