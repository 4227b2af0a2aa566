"""Our simulator against LIBERO's own environment on the same assets: the same trajectory, the same success."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tgrpo_envs.parity.side_by_side import Pair, open_pair
from tgrpo_envs.scene import official_states, sample_train_states
from tgrpo_envs.sim.init_states import InitStates

STEPS = 200
TOLERANCE = 1e-9  # metres, radians, and those per second
LIMIT_TOLERANCE = 1e-6  # where LIBERO's own numbers carry that much rounding: singular postures, contacts that switch


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    pair = open_pair("libero_object", 0, "primitive")
    yield pair
    pair.ours.close()


def random_actions(seed: int, count: int, hold: int) -> Iterator[np.ndarray]:
    """Actions held for `hold` steps; some keep the rotation still, some ask for more than is allowed."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        if i % hold == 0:
            action = rng.uniform(-1.2, 1.2, 7)
            action[3:6] *= rng.random() < 0.7
        yield action


def worst_difference(pair: Pair, init: InitStates, *, hold: int) -> float:
    """Largest difference of qpos and qvel after settling and after each random step."""
    pair.reset(init, settle=True)
    worst = 0.0
    for action in random_actions(1, STEPS, hold):
        ours, official = pair.states()
        worst = max(worst, float(np.abs(ours - official).max()))
        pair.step(action)
        assert np.array_equal(*pair.truths())
    return worst


def test_trajectories_are_liberos(pair: Pair) -> None:
    assert worst_difference(pair, official_states(pair.scene).take(np.array([7])), hold=1) < TOLERANCE


def test_an_arm_driven_to_its_limits_moves_as_liberos(pair: Pair) -> None:
    """Held actions stretch the arm until its task-space inertia is singular, and drag objects along the floor."""
    init = sample_train_states(pair.scene, np.random.default_rng(3), 1)
    assert worst_difference(pair, init, hold=6) < LIMIT_TOLERANCE


def test_a_gripper_that_closes_on_something_moves_as_liberos(pair: Pair) -> None:
    """Contacts between pads and an object: lower the hand over the object, then close."""
    init = official_states(pair.scene).take(np.array([0]))
    soup = next(entry for entry in pair.scene.record.objects if entry.name == "alphabet_soup_1")
    assert soup.qpos_address is not None
    eef_x, eef_y, _ = pair.scene.record.robot.eef_pos
    init.states_NX[0, 1 + soup.qpos_address : 3 + soup.qpos_address] = eef_x, eef_y
    pair.reset(init, settle=True)
    touched = False
    for step in range(60):
        pair.step(np.array([0, 0, -0.6 if step < 40 else 0.0, 0, 0, 0, -1.0 if step < 40 else 1.0]))
        touched |= bool(pair.ours.snapshot.touch_NO.any())
    ours, official = pair.states()
    assert touched
    assert np.abs(ours - official).max() < LIMIT_TOLERANCE


def test_success_is_liberos_around_the_edges_of_the_basket(pair: Pair) -> None:
    init = official_states(pair.scene).take(np.array([0]))
    pair.reset(init, settle=False)
    layout, rng = pair.scene.layout, np.random.default_rng(0)
    site = layout.site_row("basket_1_contain_region")
    objects = {entry.name: entry for entry in pair.scene.record.objects}
    soup, basket = objects["alphabet_soup_1"].qpos_address, objects["basket_1"].qpos_address
    assert soup is not None
    assert basket is not None
    seen = set()
    for _ in range(150):
        half_yaw = rng.choice([0.0, 0.1, np.pi / 8, rng.uniform(-np.pi / 2, np.pi / 2)])
        init.states_NX[0, 1 + basket + 3 : 1 + basket + 7] = np.cos(half_yaw), 0, 0, np.sin(half_yaw)
        offset = layout.site_half_sizes_S3[site] * rng.uniform(-1.5, 1.5, 3)
        init.states_NX[0, 1 + soup : 1 + soup + 3] = pair.ours.snapshot.site_pos_NS3[0, site] + offset
        pair.show(init)
        ours, official = pair.truths()
        assert np.array_equal(ours, official)
        seen.add(bool(official.all()))
    assert seen == {True, False}


ARTICULATED = [
    ("libero_goal", 0),  # open the middle drawer: Open
    ("libero_goal", 7),  # turn on the stove: Turnon
    ("libero_goal", 8),  # put the bowl on the plate: On an object
    ("libero_goal", 3),  # open the top drawer and put the bowl inside: In a drawer
    ("libero_10", 3),  # put the bowl in the bottom drawer and close it: In and Close
    ("libero_10", 9),  # put the mug in the microwave and close it
    ("libero_10", 2),  # turn on the stove and put the moka pot on it: On a site with a carrier
]


@pytest.mark.libero
@pytest.mark.slow
@pytest.mark.parametrize(("suite", "task"), ARTICULATED)
def test_every_predicate_is_liberos(suite: str, task: int) -> None:
    pair = open_pair(suite, task, "libero")
    init = sample_train_states(pair.scene, np.random.default_rng(0), 1)
    pair.reset(init, settle=False)
    rng, record = np.random.default_rng(1), pair.scene.record
    places = [*pair.ours.snapshot.site_pos_NS3[0], *pair.ours.snapshot.object_pos_NO3[0]]
    seen = np.zeros((2, len(pair.scene.goal)), dtype=int)
    for _ in range(400):
        for joint in record.joints:
            low, high = pair.scene.model.joint(joint.name).range
            init.states_NX[0, 1 + joint.qpos_address] = rng.choice([low, high, 0.0, rng.uniform(low, high)])
        for entry in record.objects:
            if entry.qpos_address is not None:
                target = places[rng.integers(len(places))] + rng.uniform(-0.08, 0.08, 3)
                init.states_NX[0, 1 + entry.qpos_address : 4 + entry.qpos_address] = target
        pair.show(init)
        ours, official = pair.truths()
        assert np.array_equal(ours, official)
        seen[official.astype(int), np.arange(len(ours))] += 1
    pair.ours.close()
    assert (seen[0] > 0).all()


@pytest.mark.libero
@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "task"), [("libero_object", 0), ("libero_goal", 3), ("libero_10", 9), ("libero_90", 60)]
)
def test_trajectories_on_liberos_meshes_are_liberos(suite: str, task: int) -> None:
    pair = open_pair(suite, task, "libero")
    worst = worst_difference(pair, official_states(pair.scene).take(np.array([3])), hold=1)
    pair.ours.close()
    assert worst < LIMIT_TOLERANCE
