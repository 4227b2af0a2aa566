"""A compiled spec on real physics: the scripted expert is paid for every stage in order, idling for none."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from tgrpo_envs.expert.scripted import ScriptedExpert
from tgrpo_envs.rewards import CreditProfile, StageReport, StageTracker, spec_from_goal
from tgrpo_envs.scene import Scene, load_scene, sample_train_states
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import Snapshot
from tgrpo_envs.sim.success import goal_truth
from tgrpo_envs.tasks import get_task

IDLE = np.array([[0, 0, 0, 0, 0, 0, -1.0]])
EVERY = np.array([True])


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(get_task("libero_object", "pick_up_the_alphabet_soup_and_place_it_in_the_basket"), "primitive")


@pytest.fixture(scope="module")
def simulator(scene: Scene) -> Iterator[Simulator]:
    simulator = Simulator(scene, 1)
    yield simulator
    simulator.close()


def play(
    scene: Scene, simulator: Simulator, act: Callable[[Snapshot], NDArray[np.float64]], steps: int
) -> list[StageReport]:
    """Reports of one episode; `act` sees the snapshot."""
    simulator.reset(sample_train_states(scene, np.random.default_rng(1), 1), EVERY)
    tracker = StageTracker(spec_from_goal(scene.problem, scene.task), CreditProfile(), scene.layout, 1, 280)
    tracker.reset(simulator.snapshot, goal_truth(scene.goal, scene.layout, simulator.snapshot), EVERY)
    reports = []
    for step in range(1, steps + 1):
        simulator.step(act(simulator.snapshot), EVERY)
        goal_NC = goal_truth(scene.goal, scene.layout, simulator.snapshot)
        reports.append(tracker.step(simulator.snapshot, goal_NC, EVERY, np.array([step])))
        if goal_NC.all():
            break
    return reports


def test_the_expert_is_paid_for_every_stage_in_order(scene: Scene, simulator: Simulator) -> None:
    expert = ScriptedExpert(scene.layout, scene.task.goal, 1)
    simulator.reset(sample_train_states(scene, np.random.default_rng(1), 1), EVERY)
    expert.reset(simulator.snapshot, EVERY)
    reports = play(scene, simulator, expert.act, 280)
    stages_TK = np.array([report.stages_NK[0] for report in reports])
    assert stages_TK[-1].all() and sum(report.reward_N[0] for report in reports) == 1.0
    first = stages_TK.argmax(axis=0)
    assert (np.diff(first) > 0).all()
    progress = np.array([report.progress_N[0] for report in reports])
    assert (np.diff(progress) >= -0.02).all()  # all but monotone: no stage works against another


def test_idling_pays_nothing_whatever_the_physics_jitters(scene: Scene, simulator: Simulator) -> None:
    reports = play(scene, simulator, lambda snapshot: IDLE, 60)
    assert all(report.reward_N[0] == 0 for report in reports)
    assert max(report.best_N[0] for report in reports) <= 0.01
