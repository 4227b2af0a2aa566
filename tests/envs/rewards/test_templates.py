"""Goals of a kitchen of one's own: what opens and shuts, what is pushed, and what is left out of a long way."""

from __future__ import annotations

import dataclasses
import itertools
import random

import pytest

from tgrpo_envs.bddl import Problem, Region
from tgrpo_envs.errors import SpecError
from tgrpo_envs.reward_tools.lint import lint_spec
from tgrpo_envs.rewards import choose_spec, spec_from_goal
from tgrpo_envs.rewards.at_reset import holds_at_reset
from tgrpo_envs.rewards.predicates import Lifted
from tgrpo_envs.tasks import Task

DRAWER, SHELF = "wooden_cabinet_1_top_region", "wooden_two_layer_shelf_1_top_region"
OVEN, ZONE = "microwave_1_heating_region", "kitchen_table_goal_zone"


def kitchen(*goal: tuple[str, ...], opened: tuple[str, ...] = ()) -> tuple[Problem, Task]:
    """A task among furniture whose drawer and door are shut unless they are `opened`."""
    carriers = {DRAWER: "wooden_cabinet_1", SHELF: "wooden_two_layer_shelf_1", OVEN: "microwave_1"}
    carriers |= {"flat_stove_1_cook_region": "flat_stove_1", "basket_1_contain_region": "basket_1"}
    regions = {name: Region(name, carrier) for name, carrier in carriers.items()}
    fixtures = {name: name.removesuffix("_1") for name in carriers.values() if name != "basket_1"}
    objects = ("plate_1", "plate_2", "akita_black_bowl_1", "butter_1", "ketchup_1", "basket_1")
    problem = Problem(
        name="libero_kitchen_tabletop_manipulation",
        language="",
        regions={**regions, ZONE: Region(ZONE, "kitchen_table", ((0.0, 0.0, 0.1, 0.1),))},
        fixtures={"kitchen_table": "kitchen_table", **fixtures},
        objects={name: name[:-2] for name in objects},
        init=tuple(("open", part) for part in opened),
        goal=goal,
        objects_of_interest=(),
    )
    return problem, Task("custom", 0, "test", "test", goal)


def stages_of(*goal: tuple[str, ...], opened: tuple[str, ...] = ()) -> list[str]:
    return [stage.id for stage in spec_from_goal(*kitchen(*goal, opened=opened)).stages]


def test_goals_of_a_kitchen_give_a_spec_without_lint_errors_or_a_sentence() -> None:
    """Goals of one to three conjuncts, shut and open: the linter knows the order of stages by other means."""
    places = [("in", DRAWER), ("in", SHELF), ("in", OVEN), ("in", "basket_1_contain_region"), ("on", ZONE)]
    places += [("on", "flat_stove_1_cook_region"), ("in", "flat_stove_1_cook_region"), ("on", "akita_black_bowl_1")]
    things, parts = ("plate_1", "plate_2", "akita_black_bowl_1"), ("microwave_1", DRAWER)
    conjuncts: list[tuple[str, ...]] = [(how, name, where) for how, where in places for name in things if name != where]
    conjuncts += [("on", "butter_1", "plate_1"), ("in", "butter_1", DRAWER), ("on", "basket_1", ZONE)]
    conjuncts += [(how, part) for how in ("open", "close") for part in parts]
    goals = [goal for size in (1, 2) for goal in itertools.combinations(conjuncts, size)]
    goals += random.Random(0).sample(list(itertools.combinations(conjuncts, 3)), 300)
    refused = []
    for goal, opened in itertools.product(goals, [(), parts]):
        problem, task = kitchen(*goal, opened=opened)
        moved = [conjunct[1] for conjunct in goal if len(conjunct) == 3]
        if len(set(moved)) < len(moved) or all(holds_at_reset(problem, conjunct) for conjunct in goal):
            continue
        try:
            spec = spec_from_goal(problem, task)
        except SpecError as error:
            refused.append(str(error))
        else:
            assert not [str(finding) for finding in lint_spec(spec, problem, task) if finding.is_error], goal
    assert 0 < len(refused) < len(goals) / 10
    assert {said.partition(" needs ")[0] for said in refused} == {"The template for the goal of test"}


def test_what_holds_at_reset_is_waited_for_by_nothing() -> None:
    """It has no stages: neither what carries something, nor what is in the drawer that has to be shut."""
    carried = (("on", "plate_1", ZONE), ("on", "butter_1", "plate_1"), ("in", "ketchup_1", DRAWER), ("close", DRAWER))
    problem, task = kitchen(*carried, opened=(DRAWER,))
    problem = dataclasses.replace(problem, init=(*problem.init, carried[0], carried[2]))
    after = {stage.id: stage.after for stage in spec_from_goal(problem, task).stages}
    assert after["carry_butter_1"] == ("lift_butter_1",)
    assert after[f"reach_to_close_{DRAWER}"] == ()


def test_a_drawer_is_opened_once_for_all_that_goes_in() -> None:
    ids = stages_of(("in", "butter_1", DRAWER), ("in", "plate_1", DRAWER))
    assert [name for name in ids if DRAWER in name] == [f"reach_to_open_{DRAWER}", f"open_{DRAWER}"]
    assert ids[2:6] == [f"{verb}_butter_1" for verb in ("reach", "grasp", "lift", "carry")]


def test_the_microwave_is_opened_for_what_goes_in_and_for_nothing_else() -> None:
    problem, task = kitchen(("in", "butter_1", "microwave_1_top_side"))
    top = Region("microwave_1_top_side", "microwave_1")
    spec = spec_from_goal(dataclasses.replace(problem, regions={**problem.regions, top.name: top}), task)
    assert spec.stages[0].id == "reach_butter_1"
    opening = [f"{verb}open_microwave_1" for verb in ("reach_to_", "touch_to_", "")]
    assert stages_of(("in", "butter_1", OVEN))[:3] == opening


def test_to_put_in_and_shut_what_starts_shut_leaves_out_touches_and_the_lift() -> None:
    """3 stages to open, 5 to place and 3 to shut, all in a row, of which a spec may have 8."""
    spec = spec_from_goal(*kitchen(("in", "butter_1", DRAWER), ("close", DRAWER)))
    verbs = ["reach", "grasp", "carry", "place"]
    names = [f"reach_to_open_{DRAWER}", f"open_{DRAWER}", *(f"{verb}_butter_1" for verb in verbs)]
    names += [f"reach_to_close_{DRAWER}", f"close_{DRAWER}"]
    assert [stage.id for stage in spec.stages] == names
    *after, shut = [stage.after for stage in spec.stages]
    assert after == [(), *[(name,) for name in names[:-2]]]
    assert shut == (f"reach_to_close_{DRAWER}", "place_butter_1")  # as it starts is not shut with something in it
    # Each stage takes over the effort of what was left out behind it, so that conjuncts weigh 5, 9 and 5 as always.
    assert [stage.effort for stage in spec.stages] == [2, 3, 1, 3, 3, 2, 2, 3]
    grasped, lifted = spec.stages[4].while_  # the way to the drawer pays in the air alone
    assert isinstance(lifted, Lifted) and (grasped.model_dump()["op"], lifted.by_m) == ("grasped", 0.05)


def test_touches_are_left_out_before_lifts() -> None:
    """13 stages without their one touch are 12; 15 have no touch to leave out."""
    basket = "basket_1_contain_region"
    thirteen = stages_of(("in", "butter_1", DRAWER), ("in", "ketchup_1", basket))
    assert len(thirteen) == 12 and thirteen[0] == f"reach_to_open_{DRAWER}" and "lift_butter_1" in thirteen
    fifteen = stages_of(*(("in", name, basket) for name in ("butter_1", "ketchup_1", "akita_black_bowl_1")))
    assert len(fifteen) == 12 and not [name for name in fifteen if name.startswith("lift")]
    open_already = stages_of(("in", "butter_1", DRAWER), ("close", DRAWER), opened=(DRAWER,))
    assert len(open_already) == 8 and f"touch_to_close_{DRAWER}" in open_already


def test_what_is_too_much_all_the_same_is_refused_with_both_ways_out() -> None:
    into = [("in", "butter_1", DRAWER), ("in", "ketchup_1", DRAWER), ("in", "akita_black_bowl_1", OVEN)]
    problem, task = kitchen(*into, ("close", DRAWER))
    with pytest.raises(SpecError) as refused:
        spec_from_goal(problem, task)
    assert str(refused.value) == (
        "The template for the goal of test needs 18 stages or more, 8 in a row, and a spec may have 12, 8 in a row; "
        'write a spec of your own (python -m tgrpo_envs rewards prompt), or take reward="sparse".'
    )
    assert len(choose_spec("sparse", problem, task).stages) == len(task.goal)


def test_a_plate_is_placed_like_everything_else_unless_a_push_over_the_table_will_do() -> None:
    assert stages_of(("on", "plate_1", ZONE)) == ["reach_plate_1", "touch_plate_1", "push_plate_1"]
    placed = [f"{verb}_plate_1" for verb in ("reach", "grasp", "lift", "carry", "place")]
    for how, where in (("on", "flat_stove_1_cook_region"), ("on", "plate_2"), ("in", SHELF)):
        assert stages_of((how, "plate_1", where)) == placed
    assert stages_of(("in", "plate_1", DRAWER))[2:] == [f"open_{DRAWER}", *placed]
    onto = spec_from_goal(*kitchen(("on", "plate_1", ZONE), ("on", "akita_black_bowl_1", "plate_1")))
    assert {stage.id: stage.after for stage in onto.stages}["carry_akita_black_bowl_1"][1:] == ("push_plate_1",)
    shut = spec_from_goal(*kitchen(("close", "microwave_1"), ("in", "plate_2", OVEN), opened=("microwave_1",)))
    assert shut.stages[0].after == ("place_plate_2",)
