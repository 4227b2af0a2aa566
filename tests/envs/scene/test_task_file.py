"""A task file of one's own is refused, with the line, for what cannot be built, has no effect or cannot be reached."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.envs.test_custom_task import KITCHEN, made, written
from tgrpo_envs.assets import find_pack
from tgrpo_envs.bddl import parse_problem, read_problem, read_text
from tgrpo_envs.errors import BddlError
from tgrpo_envs.scene import Scene, heldout_states, load_scene, task_file
from tgrpo_envs.scene.task_file import check_task_file, describe_categories
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.simulator import SETTLE_ACTION, Simulator
from tgrpo_envs.sim.snapshot import Snapshot
from tgrpo_envs.sim.success import compile_goal, goal_truth
from tgrpo_envs.tasks import bddl_path, get_task, list_tasks, task_from_text

GOAL = KITCHEN[KITCHEN.index("  (:goal") :]

WRONG = [
    ("LIBERO_Kitchen_Tabletop", "LIBERO_Garden", r"line 1: Unknown problem 'libero_garden_manipulation'"),
    ("(:domain robosuite)", "(:domain robosuite", r"line 1: '\(' is never closed"),
    ("  (:language put the bowl on the stove and the butter into the open drawer)\n", "", "no sentence for the policy"),
    ("(0.08 0.10 0.14 0.16)", "(0.48 0.10 0.54 0.16)", r"line 8: region .*butter_zone.*outside of kitchen_table"),
    ("(0.08 0.10 0.14 0.16)", "(0.08 0.10 0.14)", "line 8: 3 numbers"),
    (" (:ranges ((0.08 0.10 0.14 0.16)))", "", "line 8: region .*butter_zone.* has no :ranges"),
    ("(bottom_region", "(cellar_region", "line 23: :init names .*which the file does not declare"),
    ("bottom_region", "cellar_region", "line 11: Unknown region of wooden_cabinet_1 'cellar_region'"),
    ("    kitchen_table - kitchen_table\n", "", "line 12: no fixture 'kitchen_table'"),
    ("ketchup_1 - ketchup", "ketchup_1 - ketchap", "line 19: Unknown category .*'ketchap'.*ketchup"),
    ("ketchup_1", "sauce", "line 19: 'sauce' is no name of a ketchup"),
    (
        "    wooden_cabinet_1 - wooden_cabinet)\n  (:objects",
        ")  (:objects\n  wooden_cabinet_1 - wooden_cabinet",
        "doors",
    ),
    (
        "wooden_cabinet)\n  (:objects",
        "wooden_cabinet basket_1 - basket)\n  (:objects",
        "line 15: 'basket_1' is a fixture, and LIBERO makes a basket movable only. Declare it in :objects",
    ),
    ("    (On ketchup_1 kitchen_table_ketchup_zone)", "", "line 19: 'ketchup_1' stands nowhere"),
    ("(On ketchup_1 kitchen_table_ketchup_zone)", "(On ketchup_1 flat_stove_1)", "line 26: .* needs a region"),
    (
        "(On ketchup_1 kitchen_table_ketchup_zone)",
        "(On ketchup_1 ketchup_1)",
        "line 26: .*before 'ketchup_1' is placed",
    ),
    ("(On ketchup_1 kitchen", "(On butter_1 kitchen", "line 26: .*places 'butter_1' again, after line 25"),
    ("(In butter_1 wooden", "(Beside butter_1 wooden", "line 29: unknown predicate 'beside'"),
    ("(In butter_1 wooden_cabinet_1_bottom_region)", "(Open flat_stove_1)", r"line 29: \(open flat_stove_1\) is not"),
    ("(In butter_1 wooden", "(In flat_stove_1 wooden", "line 29: .*which is no object"),
    ("(In butter_1 wooden_cabinet_1_bottom_region)", "(On butter_1 kitchen_table)", "line 29: .*needs a region"),
    (
        "(On akita_black_bowl_1 flat_stove_1_cook_region)",
        "(On akita_black_bowl_1 cook_region)",
        "line 28: :goal names 'cook_region', which .* Write a region with its target: 'flat_stove_1_cook_region'",
    ),
    # What LIBERO's own code fails at.
    ("cook_region", "burner", "line 10: Unknown region of flat_stove_1 'burner'. Choose one of 'cook_region'"),
    ("(0.08 0.10 0.14 0.16)", "(0.08 0.10 0.08 0.16)", "line 8: region .*butter_zone.* has no area"),
    (
        "(bottom_",
        "(kitchen_table (:target ketchup_1)) (bottom_",
        "line 11: .*taken for one of kitchen_table.* Rename it",
    ),
    # What it leaves out.
    ("((3.14159 3.14159))", "((3 3) (1.5 1.5))", "line 6: .*cabinet_zone' has 2 intervals of yaw"),
    ("((3.14159 3.14159))", "((-180 180))", "line 6: .*cabinet_zone' turns by 180 radians.* 180 degrees are 3.1416"),
    ("(:target flat_stove_1)", "(:target flat_stove_1) (:ranges ((0 0 1 1)))", "line 10: .*:ranges .*have no effect"),
    (
        "(Open wooden_cabinet_1_bottom_region)",
        "(Close wooden_cabinet_1_bottom_region) (Open wooden_cabinet_1_bottom_region)",
        r"line 23: \(open .* contradicts \(close wooden_cabinet_1_bottom_region\) in line 23",
    ),
    (
        "(Open wooden_cabinet_1_bottom_region)",
        "(Open wooden_cabinet_1_bottom_region) (Close wooden_cabinet_1)",
        r"line 23: \(close wooden_cabinet_1\) contradicts \(open wooden_cabinet_1_bottom_region\) in line 23",
    ),
    (
        "(Open wooden_cabinet_1_bottom_region)",
        "(Open kitchen_table_bowl_zone)",
        "line 23: .*not defined for kitchen_table",
    ),
    # What no reward could name.
    ("bottom_region", "bottom-region", "line 11: 'wooden_cabinet_1_bottom-region' is no name that a reward could use"),
    # Goals that never hold.
    (
        "bottom_region",
        "top_side",
        "line 23: .*does not move. Name wooden_cabinet_1 or wooden_cabinet_1_bottom_region or",
    ),
    *(
        ("(In butter_1 wooden_cabinet_1_bottom_region)", new, f"line 29: .*{message}")
        for new, message in (
            ("(Turnon flat_stove_1_cook_region)", "about a part that does not move. Name flat_stove_1\\."),
            (
                "(In butter_1 kitchen_table_bowl_zone)",
                r"zones of kitchen_table end below its top. Write '\(On butter_1 kitchen_table_bowl_zone\)'",
            ),
            ("(On butter_1 butter_1)", "has 'butter_1' stand on or in itself"),
            ("(On butter_1 ketchup_1) (On ketchup_1 butter_1)", "has 'butter_1' stand on or in itself"),
            ("(Open wooden_cabinet_1) (Close wooden_cabinet_1)", r"contradicts \(close wooden_cabinet_1\) in line 29"),
            (
                "(Open wooden_cabinet_1_bottom_region) (Close wooden_cabinet_1)",
                r"\(close wooden_cabinet_1\) contradicts \(open wooden_cabinet_1_bottom_region\) in line 29",
            ),
            (
                "(On butter_1 kitchen_table_bowl_zone) (On butter_1 kitchen_table_ketchup_zone)",
                r"contradicts \(on butter_1 kitchen_table_bowl_zone\) in line 29: the zones do not meet",
            ),
            (
                "(In butter_1 flat_stove_1_cook_region)",
                r"does not hold where butter_1 lies on flat.* Write '\(On butter_1 flat_stove_1_cook_region\)'",
            ),
            (
                "(On butter_1 wooden_cabinet_1_bottom_region)",
                r"does not hold where butter_1 lies in wood.* Write '\(In butter_1 wooden_cabinet_1_bottom_region\)'",
            ),
        )
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG, ids=[new or old for old, new, _ in WRONG])
def test_a_wrong_file_is_refused_with_its_line_when_the_environment_is_made(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in KITCHEN
    path = written(tmp_path, KITCHEN.replace(old, new))
    with pytest.raises(BddlError, match=f"bowl_and_butter.bddl: .*{message}"):
        made(path)


def with_goal(goal: str) -> str:
    """The kitchen with a microwave, whose door is shut, and a wide zone around that of the butter."""
    text = KITCHEN.replace(GOAL, f"  (:goal {goal}))")
    for old, new in (
        ("(:regions", "(:regions (wide (:target kitchen_table) (:ranges ((0.0 0.1 0.3 0.3))))"),
        ("(:regions", "(:regions (far_zone (:target kitchen_table) (:ranges ((-0.3 0.4 -0.2 0.5))))"),
        ("(:fixtures", "(:fixtures microwave_1 - microwave"),
        ("(:init", "(:init (On microwave_1 kitchen_table_far_zone)"),
    ):
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    "goal",
    [
        "(On butter_1 kitchen_table_butter_zone)",
        "(On butter_1 kitchen_table_wide)",
        "(Close microwave_1)",
        "(Open wooden_cabinet_1)",
        "(And (Open wooden_cabinet_1_bottom_region) (Close microwave_1))",
    ],
)
def test_a_goal_that_holds_at_reset_is_refused(tmp_path: Path, goal: str) -> None:
    with pytest.raises(BddlError, match="line 27: the goal holds already at reset"):
        made(written(tmp_path, with_goal(goal)))


@pytest.mark.parametrize(
    "goal",
    [
        "(On ketchup_1 kitchen_table_butter_zone)",
        "(Open microwave_1)",
        "(Close wooden_cabinet_1)",
        "(Close wooden_cabinet_1_top_region)",  # at 0 a drawer is neither open nor, for LIBERO, closed
        "(Turnoff flat_stove_1)",
        "(And (Close microwave_1) (On butter_1 ketchup_1))",
        "(And (On butter_1 ketchup_1) (On ketchup_1 akita_black_bowl_1))",
        "(And (On ketchup_1 kitchen_table_butter_zone) (On ketchup_1 kitchen_table_wide))",
        "(And (On ketchup_1 kitchen_table_butter_zone) (In ketchup_1 wooden_cabinet_1_bottom_region))",
        "(And (Open wooden_cabinet_1) (Close wooden_cabinet_1_top_region) (Close wooden_cabinet_1_bottom_region))",
        # On a cabinet a bowl's origin is within the box of its `top_side`, and on a microwave over that of its inside.
        "(In akita_black_bowl_1 wooden_cabinet_1_top_side)",
        "(On akita_black_bowl_1 microwave_1_heating_region)",
    ],
)
def test_a_goal_that_is_yet_to_be_reached_is_taken(goal: str) -> None:
    check_task_file(parse_problem(with_parts(with_goal(goal))), find_pack("primitive"))


def with_parts(text: str) -> str:
    for part in ("top_region", "middle_region", "top_side"):
        text = text.replace("(bottom_region", f"({part} (:target wooden_cabinet_1)) (bottom_region")
    return text.replace("(bottom_region", "(heating_region (:target microwave_1)) (bottom_region")


def test_a_cabinet_is_not_open_whose_drawers_are_all_to_be_shut() -> None:
    parts = " ".join(f"(Close wooden_cabinet_1_{level}_region)" for level in ("top", "middle", "bottom"))
    text = with_parts(with_goal(f"(And (Open wooden_cabinet_1) {parts})"))
    with pytest.raises(BddlError, match=r"\(open wooden_cabinet_1\) contradicts \(close .*_top_region\) in line 27"):
        check_task_file(parse_problem(text), find_pack("primitive"))


def with_start(thing: str, region: str, opened: str) -> str:
    """The kitchen with a microwave, in which or in a drawer something begins in place of the ketchup."""
    text = with_parts(with_goal("(Turnon flat_stove_1)")).replace("ketchup", thing)
    text = text.replace(f"(On {thing}_1 kitchen_table_{thing}_zone)", f"(In {thing}_1 {region})")
    return text.replace("(Open wooden_cabinet_1_bottom_region)", f"(Open {opened})" if opened else "")


TOP, INSIDE = "wooden_cabinet_1_top_region", "microwave_1_heating_region"


@pytest.mark.parametrize(
    ("thing", "region", "opened"),
    [
        ("white_bowl", TOP, ""),
        ("cookies", TOP, "wooden_cabinet_1_bottom_region"),
        ("white_bowl", INSIDE, "microwave_1"),
    ],
)
def test_what_would_not_begin_inside_is_refused(thing: str, region: str, opened: str) -> None:
    with pytest.raises(BddlError, match=f"line 26: .* begins in or on what is above {region}: .* Place it on a region"):
        check_task_file(parse_problem(with_start(thing, region, opened)), find_pack("primitive"))


def test_things_begin_on_the_upper_shelf_alone() -> None:
    text = with_start("cookies", INSIDE, "").replace("microwave", "wooden_two_layer_shelf")
    check_task_file(parse_problem(text.replace("heating_region", "top_region")), find_pack("primitive"))
    with pytest.raises(BddlError, match=r"line 26: .* finds no room: .* Place it on a region of kitchen_table"):
        check_task_file(parse_problem(text.replace("heating_region", "bottom_region")), find_pack("primitive"))


@pytest.mark.parametrize(
    ("thing", "region", "opened"),
    [
        ("white_bowl", TOP, TOP),
        ("milk", TOP, "wooden_cabinet_1"),
        ("cream_cheese", TOP, ""),
        ("cookies", INSIDE, "microwave_1"),
    ],
)
def test_what_begins_inside_is_taken(thing: str, region: str, opened: str) -> None:
    check_task_file(parse_problem(with_start(thing, region, opened)), find_pack("primitive"))


@pytest.mark.slow
@pytest.mark.parametrize(("thing", "is_inside"), [("white_bowl", False), ("cookies", True)])
def test_where_things_begin_in_a_microwave(thing: str, is_inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds later flat things lie on its floor, 7.2 cm below the middle, and a bowl is stuck in its roof."""
    monkeypatch.setattr(task_file, "NOT_UNDER_A_ROOF", ())
    scene = load_scene(task_from_text("microwave", with_start(thing, INSIDE, "microwave_1")), "primitive")
    every = np.ones(1, dtype=bool)
    with closing(Simulator(scene, 1)) as simulator:
        simulator.reset(heldout_states(scene).take(np.arange(1)), every)
        for _ in range(40):
            simulator.step(SETTLE_ACTION[None], every)
        bowl, middle = scene.layout.object_row(f"{thing}_1"), scene.layout.site_row(INSIDE)
        above = simulator.snapshot.object_pos_NO3[0, bowl, 2] - simulator.snapshot.site_pos_NS3[0, middle, 2]
    assert (above < -0.05) == is_inside and (above > 0.05) != is_inside


@pytest.mark.parametrize(("predicate", "region", "other"), [("in", "cook_region", "on"), ("on", "bottom_region", "in")])
def test_the_other_predicate_is_the_one_that_holds(predicate: str, region: str, other: str) -> None:
    """Of a bowl in contact, its origin from the underside of what it lies in or on to 5 cm above."""
    scene = load_scene(task_from_text("bowl_and_butter", KITCHEN), "primitive")
    part = next(name for name in scene.layout.sites if name.endswith(region))
    bowl, site = scene.layout.object_row("akita_black_bowl_1"), scene.layout.site_row(part)
    rest = {"cook_region": 0.0255, "bottom_region": -0.0265}[region] - 0.002  # the bowl's origin is below its wall
    snapshot = Snapshot.empty(scene.layout, 1000)
    offset_N3 = np.random.default_rng(0).uniform((-0.05, -0.05, rest), (0.05, 0.05, rest + 0.05), (1000, 3))
    snapshot.site_mat_NS33[:, site] = site_mat(scene, part)
    snapshot.object_pos_NO3[:, bowl] = snapshot.site_pos_NS3[:, site] + offset_N3
    snapshot.contact_NOO[:] = True
    categories = {entry.name: entry.category for entry in scene.record.objects}
    truth = {
        words: goal_truth(
            compile_goal(((words, "akita_black_bowl_1", part),), scene.layout, categories, {}), scene.layout, snapshot
        )
        for words in (predicate, other)
    }
    assert not truth[predicate].any() and truth[other].mean() > 0.8


def site_mat(scene: Scene, name: str) -> NDArray[np.float64]:
    """How a part is turned where its fixture stands by default."""
    data = mujoco.MjData(scene.model)
    mujoco.mj_kinematics(scene.model, data)
    return np.array(data.site(name).xmat).reshape(3, 3)


def test_the_goal_s_zone_has_one_rectangle_and_others_may_have_more() -> None:
    pack = find_pack("primitive")
    text = KITCHEN.replace("((0.08 0.10 0.14 0.16))", "((0.3 0.3 0.31 0.31) (0.08 0.10 0.14 0.16))")
    check_task_file(parse_problem(text), pack)
    text = text.replace(GOAL, "  (:goal (On ketchup_1 kitchen_table_butter_zone)))")
    with pytest.raises(BddlError, match=r"line 8: the goal names region 'kitchen_table_butter_zone', .* Give it one"):
        check_task_file(parse_problem(text), pack)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("butter_zone", "butter-zone"),  # which no stage names
        ("((3.14159 3.14159))", "((-6.2832 6.2832))"),  # once round, as it is rounded
        ("((-0.12 -0.05 -0.02 0.05))", "((-0.12 -0.05 -0.02 0.05))) (:yaw_rotation ((0 90))"),  # which turns no bowl
        ("(0.08 0.10 0.14 0.16)", "(00.08 0.10 0.14 0.16)"),
        ("(In butter_1 wooden_cabinet_1_bottom_region)", "(On butter_1 akita_black_bowl_1)"),
        (
            "(In butter_1 wooden_cabinet_1_bottom_region)",
            "(Open wooden_cabinet_1) (Close wooden_cabinet_1_bottom_region)",
        ),
        ("(Open wooden", "(Close wooden_cabinet_1) (Open wooden"),
    ],
)
def test_what_can_be_is_taken(old: str, new: str) -> None:
    assert old in KITCHEN
    check_task_file(parse_problem(KITCHEN.replace(old, new)), find_pack("primitive"))


def test_a_thing_may_be_asked_in_a_zone_of_the_floor_and_not_where_it_starts() -> None:
    """On the floor flat things are within LIBERO's zones."""
    text = read_text(bddl_path(get_task("libero_object", 0)))
    start = next(c for c in parse_problem(text).init if c[1] == "butter_1")[2]
    goal = "(In alphabet_soup_1 basket_1_contain_region)"
    assert goal in text
    pack = find_pack("primitive")
    check_task_file(parse_problem(text.replace(goal, "(In butter_1 floor_target_object_region)")), pack)
    with pytest.raises(BddlError, match="holds already at reset"):
        check_task_file(parse_problem(text.replace(goal, f"(In butter_1 {start})")), pack)


def test_a_region_of_a_thing_without_parts_is_refused() -> None:
    text = KITCHEN.replace("(cook_region (:target flat_stove_1))", "(lid (:target ketchup_1))")
    text = text.replace("flat_stove_1_cook_region", "ketchup_1_lid")
    with pytest.raises(BddlError, match="line 10: ketchup_1 has no parts that could be a region"):
        check_task_file(parse_problem(text), find_pack("primitive"))


def test_categories_say_what_can_be_a_fixture() -> None:
    """Of the pack's 33 categories LIBERO makes 18 movable only; 4 have joints."""
    where = {category: section for category, section, *_ in describe_categories(find_pack("primitive"))[1:]}
    assert (where["basket"], where["flat_stove"]) == (":objects", ":fixtures")
    assert where["wine_rack"] == ":objects or :fixtures"
    assert [list(where.values()).count(section) for section in (":objects", ":fixtures")] == [18, 4]


def test_files_of_libero_s_own_are_taken() -> None:
    for task in list_tasks():
        check_task_file(read_problem(bddl_path(task)), find_pack("primitive"))
