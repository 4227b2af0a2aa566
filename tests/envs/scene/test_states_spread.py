"""The spread of initial states: known answers on made-up states, and what the command prints."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tgrpo_envs.__main__ import main
from tgrpo_envs.scene import Scene, load_scene, official_states
from tgrpo_envs.scene.spread import Spread, detail_rows, measure_spread, summary_row, task_spread
from tgrpo_envs.sim.init_states import InitStates
from tgrpo_envs.tasks import get_task

TASK = get_task("libero_object", 0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(TASK, "primitive")


def address(scene: Scene, name: str) -> int:
    found = next(entry.qpos_address for entry in scene.record.objects if entry.name == name)
    assert found is not None
    return 1 + found


def test_two_states_three_and_four_millimetres_apart(scene: Scene) -> None:
    """x differs by 3 mm and y by 4 mm: variances 1.5^2 and 2^2, so std 2.5 mm, and the larger range is 4 mm."""
    states = official_states(scene).take(np.array([0, 0]))
    soup, milk = address(scene, "alphabet_soup_1"), address(scene, "milk_1")
    states.states_NX[1, soup : soup + 2] += [0.003, -0.004]
    states.states_NX[1, milk + 2] += 0.5  # heights and rotations do not count
    spread = measure_spread(scene, "two", states)
    by_name = {entry.name: entry for entry in spread.objects}
    assert len(by_name) == 7 and spread.count == 2
    assert by_name["alphabet_soup_1"].in_goal and not by_name["milk_1"].in_goal
    assert by_name["alphabet_soup_1"].std == pytest.approx(2.5) and by_name["alphabet_soup_1"].ptp == pytest.approx(4.0)
    assert (by_name["milk_1"].std, by_name["milk_1"].ptp) == (0.0, 0.0)
    assert spread.widest_goal_object == by_name["alphabet_soup_1"] and spread.nearly_one_state


def test_fixtures_are_measured_by_their_poses(scene: Scene) -> None:
    """Two cabinets in an object's place, 6 mm apart."""
    record = scene.record.objects[-1].model_copy(update={"name": "cabinet_1", "qpos_address": None})
    other = dataclasses.replace(scene, record=scene.record.model_copy(update={"objects": (record,)}))
    poses_NF7 = np.zeros((2, 1, 7))
    poses_NF7[1, 0, 0] = 0.006
    spread = measure_spread(other, "two", InitStates(np.zeros((2, 1 + scene.model.nq + scene.model.nv)), poses_NF7))
    (fixture,) = spread.fixtures
    assert fixture.std == pytest.approx(3.0) and fixture.ptp == pytest.approx(6.0)
    assert fixture == Spread("cabinet_1", in_goal=False, std=fixture.std, ptp=fixture.ptp)
    assert spread.objects == () and not spread.nearly_one_state


def test_the_official_soup_stands_on_one_spot_and_ours_do_not() -> None:
    official, train, heldout = task_spread(TASK, "primitive")
    assert official.nearly_one_state and not train.nearly_one_state and not heldout.nearly_one_state
    assert (official.count, train.count, heldout.count) == (50, 200, 200)
    for spread in (train, heldout):  # a square of 50 mm: range just below it, std 50 / sqrt(6) over both axes
        assert spread.widest_goal_object is not None
        assert 48.0 < spread.widest_goal_object.ptp <= 50.0
        assert spread.widest_goal_object.std == pytest.approx(50 / np.sqrt(6), rel=0.07)
    row = summary_row(TASK, (official, train, heldout))
    assert row[:2] == ("libero_object", "0") and row[-1] == "nearly one state"
    heading, soup, *_ = detail_rows((official, train, heldout))
    assert heading == ("what", "in goal", "official (50)", "train (200)", "heldout (200)")
    assert soup[:2] == ("alphabet_soup_1", "yes") and soup[2].endswith("mm")


def test_the_command_prints_a_row_for_each_thing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["states", "--task", "0", "--assets", "primitive", "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| what | in goal | official (50)") and set(lines[1]) == set("|- ")
    assert len(lines) == 2 + 7
