"""What a task file says of the reset: as measured in the simulator, and alike for template, linter and prompt."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest

from tgrpo_envs.bddl import Conjunct, Problem, Region, read_problem
from tgrpo_envs.errors import SpecError
from tgrpo_envs.reward_tools.author.card_text import ALWAYS, goal_lines
from tgrpo_envs.reward_tools.author.cards import load_card
from tgrpo_envs.reward_tools.author.examples import traits
from tgrpo_envs.reward_tools.lint import Finding, lint_spec
from tgrpo_envs.rewards import parse_spec, spec_from_goal
from tgrpo_envs.rewards.at_reset import holds_at_reset, is_maintained, starts_open
from tgrpo_envs.rewards.spec import StageSpec
from tgrpo_envs.tasks import bddl_path, get_task, list_tasks

CABINET, MICROWAVE, STOVE, BOWL = "wooden_cabinet_1", "microwave_1", "flat_stove_1", "akita_black_bowl_1"
TOP, MIDDLE, BOTTOM = (f"{CABINET}_{row}_region" for row in ("top", "middle", "bottom"))
DRAWER_TASK, MICROWAVE_TASK = get_task("libero_goal", 3), get_task("libero_10", 9)
MUG_IN, SHUT_MICROWAVE = ("in", "white_yellow_mug_1", "microwave_1_heating_region"), ("close", MICROWAVE)


def drawers(*init: Conjunct, goal: tuple[Conjunct, ...] = ()) -> Problem:
    """The bowl, the cabinet and the stove of LIBERO-Goal, with more said of the start."""
    problem = read_problem(bddl_path(DRAWER_TASK))
    return dataclasses.replace(problem, init=(*problem.init, *init), goal=goal or problem.goal)


def microwave(*init: Conjunct, goal: tuple[Conjunct, ...] = (MUG_IN, SHUT_MICROWAVE)) -> Problem:
    """The mugs and the microwave of LIBERO-10, whose door LIBERO opens."""
    problem = read_problem(bddl_path(MICROWAVE_TASK))
    start = tuple(held for held in problem.init if held[0] != "open")
    return dataclasses.replace(problem, init=(*start, *init), goal=goal)


def test_of_all_tasks_that_holds_at_reset_which_did_in_the_simulator() -> None:
    for task in list_tasks():
        card = load_card(task)
        measured = [share >= ALWAYS for share in card.goal_true_at_reset]
        assert [holds_at_reset(card.problem, conjunct) for conjunct in card.problem.goal] == measured, task.name


@pytest.mark.parametrize(
    ("init", "wanted", "holds"),
    [
        ([], ("open", TOP), False),
        ([], ("close", TOP), False),  # at 0, which LIBERO counts as neither
        ([], ("turnoff", STOVE), False),  # likewise
        ([], ("close", MICROWAVE), True),
        ([("open", MICROWAVE)], ("close", MICROWAVE), False),
        ([("open", CABINET)], ("open", TOP), True),  # all drawers
        ([("open", TOP)], ("open", CABINET), True),  # one is enough
        ([("close", TOP)], ("close", CABINET), False),  # of three
        ([("close", TOP), ("close", MIDDLE), ("close", BOTTOM)], ("close", CABINET), True),
        ([("open", CABINET), ("close", TOP)], ("close", TOP), True),
        ([("turnon", STOVE)], ("turnon", STOVE), True),
    ],
)
def test_joints_that_the_file_does_not_name_are_at_zero(init: list[Conjunct], wanted: Conjunct, holds: bool) -> None:
    assert holds_at_reset(drawers(*init), wanted) is holds


def test_what_starts_in_a_zone_is_in_every_zone_around_it() -> None:
    problem = drawers()
    start = next(held[2] for held in problem.init if held[1] == BOWL)
    ((x0, y0, x1, y1),) = problem.regions[start].ranges
    table = problem.regions[start].target
    for name, zone in {"wide": (x0 - 0.1, y0, x1, y1), "narrow": (x0 + 0.001, y0, x1, y1)}.items():
        regions = {**problem.regions, name: Region(name, table, (zone,))}
        wanted = ("on", BOWL, name)
        assert holds_at_reset(dataclasses.replace(problem, regions=regions), wanted) is (name == "wide")


def test_a_drawer_starts_open_whichever_name_the_file_opens_it_by() -> None:
    assert not starts_open(drawers(), TOP)
    for opened in (TOP, CABINET):
        problem = drawers(("open", opened))
        assert starts_open(problem, TOP)
        spec = spec_from_goal(problem, DRAWER_TASK)
        assert [stage.id.partition("_")[0] for stage in spec.stages] == ["reach", "grasp", "lift", "carry", "place"]
        assert not errors(spec, problem)


@pytest.mark.parametrize(
    ("scene", "init", "goal"),
    [
        (drawers, [], (("on", BOWL, "flat_stove_1_cook_region"), ("open", TOP))),
        (drawers, [("open", CABINET)], (("in", BOWL, TOP), ("close", TOP))),
        (drawers, [("close", TOP)], (("in", BOWL, TOP), ("close", TOP))),
        (microwave, [], (MUG_IN, SHUT_MICROWAVE)),
        (microwave, [("close", MICROWAVE)], (MUG_IN, SHUT_MICROWAVE)),
        (microwave, [("open", MICROWAVE)], (MUG_IN, SHUT_MICROWAVE)),
        (microwave, [], (("on", "white_yellow_mug_1", "porcelain_mug_1"), SHUT_MICROWAVE)),
    ],
)
def test_what_the_template_writes_passes_the_linter(
    scene: Callable[..., Problem], init: list[Conjunct], goal: tuple[Conjunct, ...]
) -> None:
    problem = scene(*init, goal=goal)
    task = MICROWAVE_TASK if scene is microwave else DRAWER_TASK
    assert not errors(spec_from_goal(problem, task), problem)


def test_a_door_that_is_shut_and_that_nothing_passes_stays_shut() -> None:
    problem = microwave(goal=(("on", "white_yellow_mug_1", "porcelain_mug_1"), SHUT_MICROWAVE))
    spec = spec_from_goal(problem, MICROWAVE_TASK)
    assert [rule.holds.model_dump()["index"] for rule in spec.maintain] == [1]
    assert is_maintained(problem, SHUT_MICROWAVE)


def test_a_goal_that_holds_already_has_no_stages() -> None:
    with pytest.raises(SpecError, match="holds already at reset; ask for something that :init has not"):
        spec_from_goal(microwave(goal=(SHUT_MICROWAVE,)), MICROWAVE_TASK)


@pytest.mark.parametrize("init", [(), (SHUT_MICROWAVE,)])
def test_a_door_that_is_opened_on_the_way_is_shut_again_by_a_stage(init: tuple[Conjunct, ...]) -> None:
    problem = microwave(*init)
    assert holds_at_reset(problem, SHUT_MICROWAVE) and not is_maintained(problem, SHUT_MICROWAVE)
    spec = spec_from_goal(problem, MICROWAVE_TASK)
    assert not spec.maintain
    document = json.loads(spec.model_dump_json(by_alias=True))
    stages = [stage for stage in document["stages"] if f"close_{MICROWAVE}" not in stage["id"]]
    kept = document | {"stages": stages, "maintain": [{"holds": {"op": "goal", "index": 1}}]}
    (finding,) = errors(parse_spec(json.dumps(kept)), problem)
    assert (finding.code, finding.allowed) == ("E06", "the whole `done` of one stage")
    assert finding.why == "it holds at reset, but is opened on the way and has to be shut again"


def test_the_prompt_says_which_door_a_stage_has_to_shut_again() -> None:
    card = load_card(MICROWAVE_TASK)
    shut = card.bddl.replace("(Open microwave_1)", "")
    assert shut != card.bddl
    card = type(card).model_validate(card.model_dump() | {"bddl": shut, "goal_true_at_reset": (0.0, 1.0)})
    assert goal_lines(card).splitlines() == [
        "  goal 0: in(white_yellow_mug_1, microwave_1_heating_region)  [false at reset]",
        "  goal 1: close(microwave_1)  [shut at reset, opened on the way: a stage shuts it again]",
    ]
    assert "two goals" in traits(card)
    assert "maintains" not in traits(card)


def errors(spec: StageSpec, problem: Problem) -> list[Finding]:
    task = MICROWAVE_TASK if MICROWAVE in problem.fixtures else DRAWER_TASK
    return [finding for finding in lint_spec(spec, problem, task) if finding.is_error]
