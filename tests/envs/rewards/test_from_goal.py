"""The deterministic compiler: what it writes for every goal of LIBERO, what it refuses, and that its specs work."""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tgrpo_envs.bddl import Problem, Region, read_problem
from tgrpo_envs.errors import SpecError
from tgrpo_envs.rewards import CreditProfile, StageSpec, StageTracker, goals_spec, parse_spec, spec_from_goal
from tgrpo_envs.rewards.predicates import Actuated, AtOpening, Goal, Lifted, Near
from tgrpo_envs.rewards.ramps import Approach, InsideDepth, Raise
from tgrpo_envs.rewards.shipped import shipped_spec
from tgrpo_envs.rewards.spec import goal_indices, topological_order
from tgrpo_envs.rewards.vocabulary import Condition, children
from tgrpo_envs.sim.snapshot import Snapshot, SnapshotLayout
from tgrpo_envs.tasks import Task, bddl_path, get_task, list_tasks

PUSH = "push_the_plate_to_the_front_of_the_stove"
HIDDEN_DRAWER = "open_the_top_drawer_and_put_the_bowl_inside"


def problem_with(*goal: tuple[str, ...]) -> Problem:
    regions = {
        "basket_1_contain_region": Region("basket_1_contain_region", "basket_1"),
        "tray_1_contain_region": Region("tray_1_contain_region", "tray_1"),
        "floor_left_region": Region("floor_left_region", "floor", ((0.0, 0.0, 0.1, 0.1),)),
    }
    objects = {"soup_1": "soup", "bowl_1": "bowl", "bowl_2": "bowl", "basket_1": "basket", "tray_1": "tray"}
    return Problem(
        name="libero_floor_manipulation",
        language="",
        regions=regions,
        fixtures={"floor": "floor", "stove_1": "flat_stove"},
        objects=objects,
        init=(),
        goal=goal,
        objects_of_interest=(),
    )


def compiled(*goal: tuple[str, ...]) -> StageSpec:
    return spec_from_goal(problem_with(*goal), Task("libero_object", 0, "test", "test", goal))


def goal_index(condition: Condition) -> int:
    """The conjunct that a condition on the goal asks for."""
    assert isinstance(condition, Goal)
    return condition.index


def test_one_conjunct_is_a_chain_of_five() -> None:
    spec = compiled(("in", "soup_1", "basket_1_contain_region"))
    names = ["reach_soup_1", "grasp_soup_1", "lift_soup_1", "carry_soup_1", "place_soup_1"]
    assert [stage.id for stage in spec.stages] == names
    assert [stage.after for stage in spec.stages] == [(), *[(name,) for name in names[:-1]]]
    assert [stage.effort for stage in spec.stages] == [1, 2, 1, 3, 2]
    assert (spec.task.suite, spec.task.name) == ("libero_object", "test")


def test_independent_conjuncts_are_parallel_branches() -> None:
    spec = compiled(("in", "soup_1", "basket_1_contain_region"), ("on", "bowl_1", "floor_left_region"))
    after = {stage.id: stage.after for stage in spec.stages}
    assert after["reach_soup_1"] == after["reach_bowl_1"] == ()
    assert after["carry_soup_1"] == ("lift_soup_1",) and after["carry_bowl_1"] == ("lift_bowl_1",)
    assert [goal_index(stage.done) for stage in spec.stages if stage.id.startswith("place")] == [0, 1]


def test_an_object_is_carried_onto_another_after_that_one_is_placed() -> None:
    spec = compiled(("on", "bowl_1", "bowl_2"), ("in", "bowl_2", "tray_1_contain_region"))
    after = {stage.id: stage.after for stage in spec.stages}
    assert after["carry_bowl_1"] == ("lift_bowl_1", "place_bowl_2")
    order = [spec.stages[k].id for k in topological_order(spec)]
    assert order.index("place_bowl_2") < order.index("carry_bowl_1")


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (("open", "stove_1"), r"\(open stove_1\) of test: templates cover \(in OBJECT REGION\)"),
        (("in", "soup_1", "bowl_1"), r"\(in soup_1 bowl_1\)"),
        (("on", "stove_1", "floor_left_region"), r"\(on stove_1 floor_left_region\)"),
        (("on", "soup_1", "shelf_9"), r"\(on soup_1 shelf_9\).*check its names"),
    ],
)
def test_other_goals_are_refused_by_name(goal: tuple[str, ...], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        compiled(goal)


def test_goals_that_no_spec_can_have_are_refused_in_a_sentence() -> None:
    with pytest.raises(SpecError, match="two places of soup_1 in the goal of test; write a spec of your own"):
        compiled(("in", "soup_1", "basket_1_contain_region"), ("on", "soup_1", "bowl_1"))
    with pytest.raises(SpecError, match=r"in a circle.*\(carry_bowl_1 -> .* carry_bowl_1\); correct it"):
        compiled(("on", "bowl_1", "bowl_2"), ("on", "bowl_2", "bowl_1"))
    task = Task("custom", 0, "x" * 201, "test", (("on", "bowl_1", "bowl_2"),))
    for write in (goals_spec, lambda task: spec_from_goal(problem_with(*task.goal), task)):
        with pytest.raises(SpecError, match=r"'x{30}'\.\.\. has 201 .* have 200; give its file a shorter name"):
            write(task)
        with pytest.raises(SpecError, match="has 13 conjuncts, and a spec has at most 12 stages; ask for fewer"):
            write(dataclasses.replace(task, name="test", goal=task.goal * 13))
    problem = problem_with(("on", "soup-can_1", "bowl_1"))
    problem = dataclasses.replace(problem, objects={**problem.objects, "soup-can_1": "soup-can"})
    with pytest.raises(SpecError, match=r"stages\[0\].id: got 'reach_soup-can_1'(?s:.*)\n  Correct the task, write"):
        spec_from_goal(problem, Task("custom", 0, "test", "test", problem.goal))


def test_ramps_fill_exactly_where_their_stage_is_done() -> None:
    """A ramp that fills early leaves a dead zone; one that fills late leaves a gap at the threshold."""
    spec = compiled(("in", "soup_1", "basket_1_contain_region"), ("on", "bowl_1", "bowl_2"))
    for stage in spec.stages:
        near = [part for part in (stage.done, *children(stage.done)) if isinstance(part, Near)]
        if isinstance(stage.ramp, Approach) and near:
            assert stage.ramp.to_m == near[0].within_m and stage.ramp.axes == near[0].axes
        if isinstance(stage.ramp, Raise):
            assert isinstance(stage.done, Lifted) and stage.ramp.to_m == stage.done.by_m


def test_lowering_into_the_basket_pays_all_the_way_to_success() -> None:
    """From 15 cm over the rim to inside, in steps of 1 cm: progress never stalls and ends at 1 with the goal."""
    spec = compiled(("in", "soup_1", "basket_1_contain_region"))
    layout = SnapshotLayout(
        objects=("soup_1", "basket_1"),
        num_movables=2,
        sites=("basket_1_contain_region",),
        site_half_sizes_S3=np.array([[0.06108, 0.06108, 0.06949]]),  # LIBERO's basket
        site_parents_S=np.array([1]),
        joints=(),
        joint_objects_J=np.zeros(0, dtype=np.int64),
        joint_sites_J=np.zeros(0, dtype=np.int64),
    )
    tracker = StageTracker(spec, CreditProfile(), layout, 1, 280)
    now, every, rim = Snapshot.empty(layout, 1), np.array([True]), 0.07185 + 0.06949
    now.object_mat_NO33[:] = now.site_mat_NS33[:] = np.eye(3)
    now.site_pos_NS3[0, 0] = 0, 0.26, 0.07185
    now.object_pos_NO3[0] = [(0.05, -0.1, 0.04), (0, 0.26, 0)]
    now.gripper_pos_N3[0] = 0, 0, 0.4
    tracker.reset(now, np.array([[False]]), every)
    now.finger_contact_NO2[0, 0] = now.touch_NO[0, 0] = True
    progress = []
    for step in range(1, 21):
        height = rim + 0.155 - 0.01 * max(step - 4, 0)
        now.object_pos_NO3[0, 0] = now.gripper_pos_N3[0] = 0, 0.26, height
        goal_NC = np.array([[height < rim]])
        report = tracker.step(now, goal_NC, every, np.array([step]))
        progress.append(float(report.progress_N[0]))
    assert progress[3] == pytest.approx(7 / 9)  # reached, grasped, lifted and carried
    assert (np.diff(progress[4:]) > 0).all() and progress[-1] == 1.0
    assert report.reward_N[0] > 0.5  # the success jump


def carry_and_place(suite: str, index: int) -> tuple[float, str, float | None]:
    """Where the one object of a task is carried to, and from how far lowering earns."""
    *_, carry, place = real(suite, index).stages
    assert isinstance(carry.done, Near | AtOpening) and isinstance(place.ramp, Approach | InsideDepth)
    return carry.done.within_m, place.ramp.op, place.ramp.from_m


def test_carrying_ends_where_the_target_lets_the_last_stage_begin() -> None:
    zone, shelf, top, basket = (70, 37), (40, 42), (41, 43), 0
    # A zone counts as soon as an object is over it, up to 10 cm high: the last stage begins 5 cm before its edge.
    assert {carry_and_place("libero_90", index) for index in zone} == {(0.10, "approach", None)}
    # What is slid into a shelf or a microwave comes to its opening first.
    assert {carry_and_place("libero_90", index) for index in shelf} == {(0.10, "inside_depth", 0.15)}
    fronts = [real("libero_90", shelf[0]), real("libero_10", 9)]
    assert [sum(stage.done.model_dump().get("op") == "at_opening" for stage in spec.stages) for spec in fronts] == [
        1,
        1,
    ]
    assert {carry_and_place("libero_90", index) for index in top} == {(0.05, "approach", 0.15)}  # lowered from above
    assert carry_and_place("libero_object", basket) == (0.05, "inside_depth", 0.15)


def real(suite: str, index: int) -> StageSpec:
    task = get_task(suite, index)
    return spec_from_goal(read_problem(bddl_path(task)), task)


def test_every_task_is_compiled_into_the_number_of_stages_its_goals_ask_for() -> None:
    """Counted by hand over the goals of all 130 tasks: 5 to place, 3 to push, open, close or turn, none to maintain."""
    total = 0
    for task in list_tasks():
        problem = read_problem(bddl_path(task))
        spec = spec_from_goal(problem, task)
        verbs = collections.Counter(c[0] in ("in", "on") for c in task.goal if c not in problem.init)
        expected = 5 * verbs[True] + 3 * verbs[False]
        expected -= 2 * (task.name == PUSH) - 3 * (task.name == HIDDEN_DRAWER)
        assert len(spec.stages) == expected, task.name
        total += expected
    assert total == 696


def test_the_committed_specs_are_what_the_compiler_writes() -> None:
    """After a wanted change: python -m tgrpo_envs rewards compile --suite SUITE --out tgrpo_envs/rewards/specs."""
    for task in list_tasks():
        assert shipped_spec(task, "compiled") == spec_from_goal(read_problem(bddl_path(task)), task), task.name


def test_a_drawer_that_no_goal_opens_is_opened_first() -> None:
    task = next(task for task in list_tasks("libero_goal") if task.name == HIDDEN_DRAWER)
    spec = real("libero_goal", task.index)
    after = {stage.id: stage.after for stage in spec.stages}
    opened = "open_wooden_cabinet_1_top_region"
    assert after["reach_akita_black_bowl_1"] == (opened,)
    assert after[opened] == (f"touch_to_{opened}",) and after[f"reach_to_{opened}"] == ()
    done = next(stage for stage in spec.stages if stage.id == opened)
    assert isinstance(done.done, Actuated)
    assert (done.done.op, done.done.toward, done.latch) == ("actuated", "open", "live")


def test_what_starts_in_a_shut_drawer_is_let_out_before_that_is_shut_again() -> None:
    """The bowl of LIBERO-Spatial's task 4, whose drawer starts open, and a goal that wants it shut."""
    task, drawer, plated = get_task("libero_spatial", 4), "wooden_cabinet_1_top_region", "place_akita_black_bowl_1"
    problem = read_problem(bddl_path(task))
    shut = dataclasses.replace(
        problem,
        init=(*(held for held in problem.init if held[0] != "open"), ("close", drawer)),
        goal=(*problem.goal, ("close", drawer)),
    )
    spec = spec_from_goal(shut, task)
    after = {stage.id: stage.after for stage in spec.stages}
    assert after["reach_akita_black_bowl_1"] == (f"open_{drawer}",)
    assert after[f"reach_to_close_{drawer}"] == (plated,)
    assert after[f"close_{drawer}"][-1] == plated  # it is shut at reset, which earns nothing
    assert not spec.maintain
    assert "open" not in spec_from_goal(problem, task).model_dump_json()


def test_a_plate_is_lifted_out_of_a_drawer() -> None:
    task, drawer = get_task("libero_spatial", 4), "wooden_cabinet_1_top_region"
    problem = read_problem(bddl_path(task))
    zone = ("on", "plate_1", next(name for name, region in problem.regions.items() if region.ranges))
    inside = dataclasses.replace(problem, init=(("in", "plate_1", drawer),), goal=(zone,))
    kinds = [stage.id.partition("_")[0] for stage in spec_from_goal(inside, task).stages]
    assert kinds == ["reach", "touch", "open", "reach", "grasp", "lift", "carry", "place"]


def test_what_starts_open_needs_no_opening() -> None:
    spec = real("libero_90", 2)  # put the black bowl in the top drawer, which is open
    assert [stage.id.partition("_")[0] for stage in spec.stages] == ["reach", "grasp", "lift", "carry", "place"]


def test_what_holds_at_reset_is_maintained_and_never_paid() -> None:
    spec = real("libero_10", 8)  # both moka pots on the stove, which is on
    assert [goal_index(maintain.holds) for maintain in spec.maintain] == [2]
    assert not any(goal_indices(stage.done) & {2} for stage in spec.stages)


@pytest.mark.parametrize(
    ("suite", "index", "placed", "shut"),
    [
        (
            "libero_10",
            3,
            "place_akita_black_bowl_1",
            "reach_to_close_white_cabinet_1_bottom_region",
        ),  # close listed first
        ("libero_10", 9, "place_white_yellow_mug_1", "reach_to_close_microwave_1"),
        ("libero_90", 3, "place_butter_2", "reach_to_close_wooden_cabinet_1_top_region"),
    ],
)
def test_a_container_is_shut_after_it_is_filled_whatever_the_goal_lists_first(
    suite: str, index: int, placed: str, shut: str
) -> None:
    assert {stage.id: stage.after for stage in real(suite, index).stages}[shut] == (placed,)


def test_a_goal_that_opens_and_fills_opens_first() -> None:
    after = {stage.id: stage.after for stage in real("libero_90", 8).stages}
    assert after["reach_akita_black_bowl_1"] == ("open_wooden_cabinet_1_top_region",)


def test_order_free_goals_stay_order_free() -> None:
    for suite, index in (("libero_10", 2), ("libero_90", 1), ("libero_90", 23), ("libero_90", 21), ("libero_10", 4)):
        roots = [stage.id for stage in real(suite, index).stages if not stage.after]
        assert len(roots) == 2, (suite, index)


def test_a_plate_is_pushed() -> None:
    task = next(task for task in list_tasks("libero_goal") if task.name == PUSH)
    ops = [stage.done.model_dump()["op"] for stage in real("libero_goal", task.index).stages]
    assert ops == ["near", "touching", "goal"]


def test_of_two_alike_the_goal_s_own_is_named() -> None:
    """LIBERO's two butters: the task moves the one at the back, butter_2 (KITCHEN_SCENE10)."""
    text = real("libero_90", 3).model_dump_json()
    assert "butter_2" in text and "butter_1" not in text


def test_a_real_task_compiles_to_its_own_names() -> None:
    task = get_task("libero_object", 0)
    spec = spec_from_goal(read_problem(bddl_path(task)), task)
    assert spec.stages[0].id == "reach_alphabet_soup_1"
    ramp = spec.stages[-1].ramp
    assert isinstance(ramp, InsideDepth) and ramp.b == "basket_1_contain_region"


def test_the_documented_example_is_what_the_compiler_writes() -> None:
    text = (Path(__file__).parents[3] / "docs" / "rewards.md").read_text(encoding="utf-8")
    example = text.partition("```json\n")[2].partition("```")[0]
    task = get_task("libero_object", 0)
    assert parse_spec(example) == spec_from_goal(read_problem(bddl_path(task)), task)


def test_every_task_has_the_goals_spec() -> None:
    for task in list_tasks():
        stages = goals_spec(task).stages
        assert [goal_index(stage.done) for stage in stages] == list(range(len(task.goal)))


def test_the_earlier_name_works_and_says_the_new_one() -> None:
    with pytest.warns(DeprecationWarning, match="spec_from_goal"):
        from tgrpo_envs.rewards import compile_spec
    assert compile_spec is spec_from_goal
