"""The measure of parity: finds none where there is none, finds what was broken, and on demand covers all tasks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tgrpo_envs.__main__ import main
from tgrpo_envs.parity import compare as parity
from tgrpo_envs.parity.boundary_states import placed_states
from tgrpo_envs.parity.side_by_side import Pair, open_pair
from tgrpo_envs.scene import official_states
from tgrpo_envs.sim import success
from tgrpo_envs.tasks import Task, get_task, list_tasks

TASK = get_task("libero_object", 3)


def test_the_command_reports_equal_simulators(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "parity.json"
    arguments = ["parity", "--suite", "libero_object", "--task", "3", "--assets", "primitive"]
    assert main([*arguments, "--steps", "20", "--states", "60", "--out", str(out)]) == 0
    (row,) = json.loads(out.read_text())
    assert row["state_error"] < parity.TOLERANCE
    assert row["observation_error"] < parity.TOLERANCE
    assert row["wrong_conjuncts"] == 0
    assert (row["steps_within"], row["single_within"], row["conjuncts"]) == (20, 20, 80)
    assert row["own_steps_within"] == 20
    assert 0 < row["own_error"] < parity.TOLERANCE
    assert row["solver_error"] is None
    assert 0 < row["true_conjuncts"] < 80
    assert "1/1 within 1e-09 for the whole trajectory; success equal in 1/1" in capsys.readouterr().out


def test_a_wrong_success_check_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(success, "BOX_BOTTOM_SLACK", 0.03)
    assert parity.compare_task(TASK, "primitive", steps=1, states=150).wrong_conjuncts > 0


def test_a_wrong_action_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    pair_step = Pair.step

    def lame(pair: Pair, action_A: np.ndarray) -> None:
        pair_step(pair, np.concatenate([action_A[:6], [-1.0]]) if action_A[6] < 0 else action_A)
        pair.ours.datas[0].qvel[0] += 1e-6

    monkeypatch.setattr(Pair, "step", lame)
    row = parity.compare_task(TASK, "primitive", steps=3, states=1)
    assert row.state_error > 1e-7
    assert row.steps_within == 0
    assert row.single_error > 1e-7
    assert row.single_within == 0
    assert row.own_error < parity.TOLERANCE, "LIBERO is as it was: nothing of this is explained by rounding"
    assert row.solver_error is not None


def test_the_last_lines_count_what_is_explained() -> None:
    same = parity.TaskParity("libero_goal", 0, 1e-15, 1e-16, 9, 9, 1e-15, 9, 1e-15, 9, None, 4, 2, 0)
    rattles = replace(same, task=1, state_error=1e-3, steps_within=3, own_error=1e-5, own_steps_within=3)
    coarse = replace(same, task=2, state_error=1e-6, steps_within=3, solver_error=1e-12)
    wrong = replace(same, task=3, state_error=1e-3, steps_within=3, single_within=2, solver_error=1e-3)
    *_, exact, explained, single = parity.report([same, rattles, coarse, wrong]).splitlines()
    assert exact.startswith("1/4 within 1e-09 ")
    assert explained.startswith("of the other 3, LIBERO leaves its own trajectory by more than 1e-09 in 1 ")
    assert "; 1 are within " in explained
    assert explained.endswith("unexplained: libero_goal 3")
    assert single.startswith("29/36 ")


def test_placed_states_reach_both_sides_of_a_goal() -> None:
    pair = open_pair("libero_object", 3, "primitive")
    init = official_states(pair.scene).take(np.array([0]))
    pair.reset(init, settle=False)
    truths = []
    for state in placed_states(pair, init, np.random.default_rng(0), 100):
        pair.show(state)
        truths.append(bool(pair.truths()[1].all()))
    pair.close()
    assert 5 < sum(truths) < 95


@pytest.mark.slow
@pytest.mark.libero
@pytest.mark.parametrize("assets", ["primitive", "libero"])
@pytest.mark.parametrize("task", list_tasks(), ids=lambda task: f"{task.suite}-{task.index}")
def test_success_is_liberos_in_every_task(task: Task, assets: str) -> None:
    """Whole trajectories are only reported: LIBERO itself leaves its own where contacts amplify the last bit, see
    docs/performance.md, "How equal is the physics"."""
    row = parity.compare_task(task, assets, steps=200, states=1000)
    print(row)
    assert row.wrong_conjuncts == 0
