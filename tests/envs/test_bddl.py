"""The BDDL reader: all of LIBERO's files, one file by hand, damaged files, and random text."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgrpo_envs.bddl import Problem, Region, parse_problem, read_problem
from tgrpo_envs.errors import BddlError
from tgrpo_envs.s_expressions import MAX_CHARACTERS
from tgrpo_envs.tasks import bddl_path, get_task, list_tasks

SMALL = """
(define (problem LIBERO_Floor_Manipulation) ; a comment with ( in it
  (:domain robosuite)
  (:language Put the Milk in the basket)
  (:regions
    (bin_region (:target floor) (:ranges ((-0.01 0.25 0.01 0.27) (0 0 1e-1 2))) (:yaw_rotation ((-1.5 0.0))))
    (contain_region (:target basket_1))
    (left_region (:target missing_drainer_1)))
  (:fixtures floor - floor)
  (:objects milk_1 milk_2 - milk
            basket_1 - basket)
  (:obj_of_interest milk_1)
  (:init (On basket_1 floor_bin_region) (On milk_1 floor_bin_region))
  (:goal (And (In Milk_1 basket_1_contain_region))))
"""


@pytest.fixture(scope="module")
def problems() -> dict[str, Problem]:
    return {f"{task.suite}/{task.name}": read_problem(bddl_path(task)) for task in list_tasks()}


def test_a_small_file_by_hand() -> None:
    problem = parse_problem(SMALL)
    assert problem.name == "libero_floor_manipulation"
    assert problem.language == "put the milk in the basket"
    assert problem.fixtures == {"floor": "floor"}
    assert problem.objects == {"milk_1": "milk", "milk_2": "milk", "basket_1": "basket"}
    assert problem.goal == (("in", "milk_1", "basket_1_contain_region"),)
    assert problem.init == (("on", "basket_1", "floor_bin_region"), ("on", "milk_1", "floor_bin_region"))
    assert problem.objects_of_interest == ("milk_1",)
    assert problem.regions == {
        "floor_bin_region": Region(
            "floor_bin_region",
            "floor",
            ranges=((-0.01, 0.25, 0.01, 0.27), (0.0, 0.0, 0.1, 2.0)),
            yaw_ranges=((-1.5, 0.0),),
        ),
        "basket_1_contain_region": Region("basket_1_contain_region", "basket_1"),
        "missing_drainer_1_left_region": Region("missing_drainer_1_left_region", "missing_drainer_1"),
    }


def test_all_130_files_parse_to_the_known_counts(problems: dict[str, Problem]) -> None:
    assert len(problems) == 130
    everything = problems.values()
    assert Counter(conjunct[0] for problem in everything for conjunct in problem.goal) == {
        "in": 63,
        "on": 61,
        "close": 11,
        "turnon": 8,
        "open": 7,
        "turnoff": 1,
    }
    assert len({category for problem in everything for category in problem.objects.values()}) == 26
    assert len({category for problem in everything for category in problem.fixtures.values()}) == 12
    assert Counter(problem.name for problem in everything) == {
        "libero_kitchen_tabletop_manipulation": 50,
        "libero_living_room_tabletop_manipulation": 32,
        "libero_tabletop_manipulation": 20,
        "libero_study_tabletop_manipulation": 18,
        "libero_floor_manipulation": 10,
    }


def test_goals_are_those_of_the_task_table(problems: dict[str, Problem]) -> None:
    for task in list_tasks():
        assert problems[f"{task.suite}/{task.name}"].goal == task.goal


def test_29_files_disagree_with_the_benchmarks_instruction(problems: dict[str, Problem]) -> None:
    assert sum(problems[f"{task.suite}/{task.name}"].language != task.instruction for task in list_tasks()) == 29


def test_numbers_equal_a_plain_search_of_the_text(problems: dict[str, Problem]) -> None:
    """Every rectangle and yaw interval of every file, found by pattern: an independent reading."""
    for task in list_tasks():
        text = bddl_path(task).read_text()
        number = r"-?[\d.]+(?:e-?\d+)?"
        found = Counter(
            tuple(float(x) for x in match.split()) for match in re.findall(rf"\(((?:{number}\s+)+{number})\)", text)
        )
        regions = problems[f"{task.suite}/{task.name}"].regions.values()
        assert Counter(row for region in regions for row in (*region.ranges, *region.yaw_ranges)) == found


def test_only_libero_goal_has_regions_of_missing_objects(problems: dict[str, Problem]) -> None:
    dangling = {
        (name.split("/")[0], region.target)
        for name, problem in problems.items()
        for region in problem.regions.values()
        if region.target not in problem.objects and region.target not in problem.fixtures
    }
    assert dangling == {("libero_goal", "bowl_drainer_1")}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(define", "(defun", r"line 2: .*does not start with '\(define'"),
        ("basket_1_contain_region))))", "basket_1_contain_region)))", "line 2: .*never closed"),
        ("basket_1_contain_region))))", "basket_1_contain_region)))))", "line 14: .*without its"),
        ("(:goal", "(:gaol", "line 14: unknown section ':gaol'"),
        ("(:domain robosuite)", "(:fixtures table - table)", "line 9: a second ':fixtures'"),
        ("(:goal (And (In Milk_1 basket_1_contain_region)))", "", "no ':goal' section"),
        ("(And (In", "(Or (In", "line 14: unknown predicate 'or'"),
        ("(And (In Milk_1 basket_1_contain_region))", "(And)", "line 14: an empty goal"),
        ("(In Milk_1 basket_1_contain_region)", "(In Milk_1)", "line 14: 'in' with 1 names.*takes 2"),
        ("(In Milk_1", "(Up Milk_1", "line 14: unknown predicate 'up'"),
        ("(In Milk_1", "(In milk_9", "line 14: :goal names 'milk_9'"),
        ("(On milk_1 floor_bin_region)", "(On milk_1 nowhere)", "line 13: :init names 'nowhere'"),
        ("basket_1 - basket", "basket_1", "'basket_1' has no category"),
        ("milk_1 milk_2 - milk", "- milk", "'-' without a name on each side"),
        ("milk_1 milk_2 - milk", "milk_1 milk_1 - milk", "'milk_1' is declared twice"),
        ("floor - floor", "milk_1 - milk", "is a fixture and an object"),
        ("(:target basket_1)", "", "line 7: region 'contain_region' has 0 targets"),
        ("(0 0 1e-1 2)", "(0 0 1)", "line 6: 3 numbers"),
        ("(0 0 1e-1 2)", "(0 0 -1 2)", "line 6: .*runs from 0.0 down to -1.0"),
        ("(-1.5 0.0)", "(nan 0.0)", "line 6: 'nan' is not a finite number"),
        ("(-1.5 0.0)", "(-pi/2 0.0)", "line 6: '-pi/2' is not a finite number"),
        ("(-1.5 0.0)", "(__import__ 0.0)", "line 6: '__import__' is not a finite number"),
        ("(-1.5 0.0)", "(-01 0.0)", "line 6: '-01' is not a finite number in plain digits"),
        ("(-1.5 0.0)", "(-1_5 0.0)", "line 6: '-1_5' is not a finite number"),
        ("(-1.5 0.0)", "(-1.5 \N{ARABIC-INDIC DIGIT THREE})", "line 6: .* is not a finite number"),
        ("(-1.5 0.0)", "-1.5 0.0", "line 6: '-1.5' stands where a '\\(' belongs"),
        (":ranges", ":rgba (1 0 0)) (:ranges", r"line 6: 3 numbers. Write \(r g b a\)"),
        (":ranges", ":rgba 1 0 0 1) (:ranges", r"line 6: 4 entries where .* Write '\(:rgba \(r g b a\)\)'"),
        (":ranges", ":rgba ((1 0 0 1))) (:ranges", r"line 6: '\(' stands where a name belongs"),
        (
            "(:target basket_1)",
            "(:target floor) (:target basket_1)",
            "line 7: a second ':target' of .*'contain_region'",
        ),
        ("(:ranges", "(:ranges ((0 0 1 1))) (:ranges", "line 6: a second ':ranges' of region 'bin_region'"),
        ("robosuite", "libero", r"line 3: the domain is 'libero'.* Write '\(:domain robosuite\)'"),
        ("(:domain robosuite)", "(:domain)", "line 3: the domain is ''"),
        (
            "basket_1 - basket",
            "basket_1 - basket milk_3 - milk",
            "line 11: a second group of 'milk'.*'milk_1 milk_2 - milk",
        ),
        ("(In Milk_1 basket_1_contain_region)", "(And (In milk_1 basket_1))", "line 14: 'and' where a predicate"),
        (":yaw_rotation", ":jaw_rotation", "line 6: unknown attribute ':jaw_rotation'"),
        ("(left_region", "(contain_region (:target basket_1)) (left_region", "line 8: a second region"),
        ("milk_1 milk_2", "(" * 20 + ")" * 20, "nested deeper than 16"),
        ("(define", "(define) (define", "2 outermost expressions"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(old: str, new: str, message: str) -> None:
    assert SMALL.count(old) == 1
    with pytest.raises(BddlError, match=message):
        parse_problem(SMALL.replace(old, new))


def test_numbers_are_what_python_reads_as_the_same() -> None:
    """LIBERO evaluates a yaw."""
    problem = parse_problem(SMALL.replace("(-1.5 0.0)", "(-.5 +1.) (-0 0.30) (1e-3 2E1)"))
    yaw = problem.regions["floor_bin_region"].yaw_ranges
    assert yaw == ((-0.5, 1.0), (0.0, 0.3), (0.001, 20.0))


@pytest.mark.parametrize("text", ["", " \n", "()", "((", "))", "define", "(define)", "((define))", ";(define)"])
def test_fragments_are_refused(text: str) -> None:
    with pytest.raises(BddlError):
        parse_problem(text)


def test_a_huge_text_is_refused() -> None:
    with pytest.raises(BddlError, match="longer than"):
        parse_problem(SMALL + " " * MAX_CHARACTERS)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BddlError, match=r"absent\.bddl: cannot be read"):
        read_problem(tmp_path / "absent.bddl")
    binary = tmp_path / "binary.bddl"
    binary.write_bytes(b"\xff\xfe\x00(define")
    with pytest.raises(BddlError, match=r"binary\.bddl: cannot be read"):
        read_problem(binary)
    for encoding in ("utf-16", "latin-1"):
        binary.write_text(
            SMALL.replace("the Milk", "die M\N{LATIN SMALL LETTER I WITH DIAERESIS}lch"), encoding=encoding
        )
        with pytest.raises(BddlError, match=r"binary\.bddl: cannot be read as UTF-8 .*\. Save it as UTF-8\."):
            read_problem(binary)
    damaged = tmp_path / "damaged.bddl"
    damaged.write_text("(define")
    with pytest.raises(BddlError, match=r"damaged\.bddl: line 1"):
        read_problem(damaged)


WORDS = ["(", ")", " ", "\n", ";", "-", "define", "problem", ":goal", ":regions", ":target", "and", "on", "1", "nan"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=60).map(" ".join))
def test_random_text_raises_only_bddl_errors(text: str) -> None:
    with pytest.raises(BddlError):
        parse_problem(text)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_random_damage_to_a_real_file_raises_only_bddl_errors(data: st.DataObject) -> None:
    text = bddl_path(get_task("libero_goal", 0)).read_text()
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 40))
    text = text[:start] + data.draw(st.sampled_from(["", *WORDS]) | st.text(max_size=8)) + text[start + length :]
    try:
        problem = parse_problem(text)
    except BddlError:
        return
    assert problem.goal
