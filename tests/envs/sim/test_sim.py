"""The simulator by itself: threads, groups, divergence, neighbours in the process, and what it refuses."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import mujoco
import numpy as np
import pytest

from tgrpo_envs.errors import StateError, UnknownNameError
from tgrpo_envs.scene import Scene, load_scene, official_states, sample_train_states
from tgrpo_envs.sim import controller
from tgrpo_envs.sim.init_states import InitStates
from tgrpo_envs.sim.pool import WorkerPool, _Order
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import Snapshot
from tgrpo_envs.sim.snapshot_fill import _finger_geoms
from tgrpo_envs.tasks import get_task

N = 4
ALL = np.ones(N, dtype=bool)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(get_task("libero_object", 0), "primitive")


@pytest.fixture
def simulator(scene: Scene) -> Iterator[Simulator]:
    simulator = Simulator(scene, N, num_threads=2)
    yield simulator
    simulator.close()


def drawn(scene: Scene, seed: int = 0) -> InitStates:
    return sample_train_states(scene, np.random.default_rng(seed), N)


def rollout(scene: Scene, threads: int, actions_TNA: np.ndarray) -> tuple[np.ndarray, Snapshot, np.ndarray]:
    simulator = Simulator(scene, N, num_threads=threads)
    simulator.reset(drawn(scene), ALL)
    for actions_NA in actions_TNA:
        simulator.step(actions_NA, ALL)
    result = simulator.get_states().states_NX, simulator.snapshot.copy(), simulator.proprio_NP.copy()
    simulator.close()
    return result


def test_threads_change_nothing(scene: Scene) -> None:
    actions_TNA = np.random.default_rng(1).uniform(-1, 1, (20, N, 7))
    one, three = (rollout(scene, threads, actions_TNA) for threads in (1, 3))
    assert np.array_equal(one[0], three[0])
    assert np.array_equal(one[2], three[2])
    for name in Snapshot.__dataclass_fields__:
        assert np.array_equal(getattr(one[1], name), getattr(three[1], name)), name


def test_a_group_that_starts_from_one_state_is_one_trajectory(scene: Scene, simulator: Simulator) -> None:
    """Members that were copied from the settled first one go on exactly as it does, and as one alone would."""
    same = drawn(scene).take(np.zeros(N, dtype=int))
    simulator.reset(same, ALL)
    actions_TA = np.random.default_rng(2).uniform(-1, 1, (15, 7))
    for action_A in actions_TA:
        simulator.step(np.tile(action_A, (N, 1)), ALL)
    states_NX = simulator.get_states().states_NX
    assert (states_NX == states_NX[0]).all()
    alone = Simulator(scene, 1)
    alone.reset(same.take(np.array([0])), ALL[:1])
    for action_A in actions_TA:
        alone.step(action_A[None], ALL[:1])
    assert np.array_equal(alone.get_states().states_NX[0], states_NX[0])
    alone.close()


def test_masked_environments_stand_still(scene: Scene, simulator: Simulator) -> None:
    simulator.reset(drawn(scene), ALL)
    before = simulator.get_states().states_NX
    proprio = simulator.proprio_NP.copy()
    mask = np.array([True, False, True, False])
    simulator.step(np.full((N, 7), 0.5), mask)
    after = simulator.get_states().states_NX
    assert ((before != after).any(axis=1) == mask).all()
    assert ((proprio != simulator.proprio_NP).any(axis=1) == mask).all()
    simulator.reset(drawn(scene, seed=5), ~mask)
    assert np.array_equal(simulator.get_states().states_NX[mask], after[mask])


def test_settling_takes_half_a_second_and_ends_at_rest(scene: Scene, simulator: Simulator) -> None:
    simulator.reset(drawn(scene), ALL)
    states = simulator.get_states().states_NX
    np.testing.assert_allclose(states[:, 0], 0.5)
    assert (simulator.snapshot.object_speed_NO < 0.02).all()
    assert (simulator.proprio_NP[:, 11] == -1.0).all()  # ten steps open the gripper: 250 substeps of 0.01
    np.testing.assert_allclose(simulator.snapshot.finger_qpos_N2, [[0.04, -0.04]] * N, atol=2e-3)


def test_proprioception_is_the_gripper(scene: Scene, simulator: Simulator) -> None:
    simulator.reset(drawn(scene), ALL)
    for _ in range(2):
        simulator.step(np.tile([0, 0, 0, 0, 0, 0.3, 1.0], (N, 1)), ALL)
    snapshot, proprio = simulator.snapshot, simulator.proprio_NP
    assert proprio.shape == (N, 12)
    assert proprio.dtype == np.float32
    np.testing.assert_allclose(proprio[:, :3], snapshot.gripper_pos_N3, atol=1e-6)
    np.testing.assert_allclose(proprio[:, 3:6], snapshot.gripper_mat_N33[:, :, 0], atol=1e-6)
    np.testing.assert_allclose(proprio[:, 6:9], snapshot.gripper_mat_N33[:, :, 1], atol=1e-6)
    np.testing.assert_allclose(proprio[:, 11], -0.5, atol=1e-6)  # two steps of 25 x 0.01 from -1
    determinants = np.linalg.det(snapshot.gripper_mat_N33)
    np.testing.assert_allclose(determinants, 1.0, atol=1e-9)


def test_the_first_column_of_the_gripper_is_where_its_fingers_open(scene: Scene, simulator: Simulator) -> None:
    """Promised by `Snapshot`: the expert turns the hand by it."""
    simulator.reset(drawn(scene), ALL)
    data = simulator.datas[0]
    left, right = (data.body(f"gripper0_{side}finger").xpos for side in ("left", "right"))
    direction = (left - right) / np.linalg.norm(left - right)
    columns = np.abs(simulator.snapshot.gripper_mat_N33[0].T @ direction)
    assert columns.argmax() == 0


def test_a_simulation_that_blows_up_is_reported_and_the_others_go_on(
    scene: Scene,
    simulator: Simulator,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    simulator.reset(drawn(scene), ALL)
    reference = simulator.get_states()
    simulator.datas[1].qvel[:] = 1e9
    simulator.datas[2].qpos[3] = np.nan
    with caplog.at_level(logging.WARNING):
        diverged = simulator.step(np.zeros((N, 7)), ALL)
    assert diverged.tolist() == [False, True, True, False]
    assert "unstable" in caplog.text
    assert not list(tmp_path.iterdir())  # MuJoCo would leave MUJOCO_LOG.TXT
    for name in Snapshot.__dataclass_fields__:
        assert np.isfinite(getattr(simulator.snapshot, name)).all(), name
    assert np.isfinite(simulator.proprio_NP).all()
    undisturbed = Simulator(scene, N, num_threads=1)
    undisturbed.reset(drawn(scene), ALL)
    assert np.array_equal(undisturbed.get_states().states_NX, reference.states_NX)
    undisturbed.step(np.zeros((N, 7)), ALL)
    expected = undisturbed.get_states().states_NX
    undisturbed.close()
    assert np.array_equal(simulator.get_states().states_NX[~diverged], expected[~diverged])
    assert not simulator.step(np.zeros((N, 7)), ALL).any()
    simulator.reset(drawn(scene), ALL)
    assert np.array_equal(simulator.get_states().states_NX, reference.states_NX)


def test_an_action_of_nan_is_reported(scene: Scene, simulator: Simulator) -> None:
    simulator.reset(drawn(scene), ALL)
    actions = np.zeros((N, 7))
    actions[3] = np.nan
    assert simulator.step(actions, ALL).tolist() == [False, False, False, True]
    assert not simulator.step(np.zeros((N, 7)), ALL).any()


FALLING = "<mujoco><worldbody><body><freejoint/><geom size='1'/></body></worldbody></mujoco>"
DRIVEN = """
<mujoco><size nuserdata='{size}'/><worldbody><body><joint name='j' type='slide'/><geom size='.1'/></body></worldbody>
<actuator><motor joint='j'/></actuator></mujoco>
"""


@pytest.mark.parametrize("xml", [FALLING, DRIVEN.format(size=0), DRIVEN.format(size=2), DRIVEN.format(size=300)])
def test_other_models_in_the_process_are_left_alone(simulator: Simulator, xml: str) -> None:
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    data.ctrl[:] = 0.25
    data.userdata[:] = 3.0
    mujoco.mj_step(model, data, 10)
    assert (data.ctrl == 0.25).all()
    assert (data.userdata == 3.0).all()


def test_a_callback_that_another_library_took_is_taken_back(scene: Scene, simulator: Simulator) -> None:
    simulator.reset(drawn(scene), ALL)
    mujoco.set_mjcb_control(None)
    before = simulator.snapshot.gripper_pos_N3.copy()
    for _ in range(5):
        simulator.step(np.tile([0, 0, 1.0, 0, 0, 0, 0], (N, 1)), ALL)
    assert (simulator.snapshot.gripper_pos_N3[:, 2] > before[:, 2] + 0.02).all()


def test_states_of_another_shape_are_refused(scene: Scene, simulator: Simulator) -> None:
    states = drawn(scene)
    with pytest.raises(StateError, match=r"\(4, 110\)"):
        simulator.reset(states.take(np.array([0])), ALL)
    with pytest.raises(StateError, match=r"\(4, 110\)"):
        simulator.reset(InitStates(states.states_NX[:, :-1], states.fixtures_NF7), ALL)
    with pytest.raises(UnknownNameError, match="camera"):
        Simulator(scene, 1, cameras=("agentvew",))


def test_recorded_states_can_be_shown_without_a_step(scene: Scene, simulator: Simulator) -> None:
    states = official_states(scene).take(np.arange(N))
    simulator.reset(states, ALL, settle=False)
    assert np.array_equal(simulator.get_states().states_NX, states.states_NX)
    basket = next(entry for entry in scene.record.objects if entry.name == "basket_1")
    assert basket.qpos_address is not None
    row = scene.layout.object_row("basket_1")
    expected = states.states_NX[:, 1 + basket.qpos_address : 4 + basket.qpos_address]
    np.testing.assert_allclose(simulator.snapshot.object_pos_NO3[:, row], expected)


def test_contacts_are_those_of_mujoco(scene: Scene, simulator: Simulator) -> None:
    """Put the soup into the basket and the milk far away: the first pair touches, the second does not."""
    states = drawn(scene)
    address = {entry.name: 1 + entry.qpos_address for entry in scene.record.objects if entry.qpos_address is not None}
    soup, basket, milk = (address[name] for name in ("alphabet_soup_1", "basket_1", "milk_1"))
    states.states_NX[:, soup : soup + 3] = states.states_NX[:, basket : basket + 3]
    states.states_NX[:, milk : milk + 3] += [0.0, 0.0, 1.0]
    simulator.reset(states, ALL, settle=False)
    contact_NOO = simulator.snapshot.contact_NOO
    rows = {name: scene.layout.object_row(name) for name in ("alphabet_soup_1", "basket_1", "milk_1")}
    assert contact_NOO[:, rows["alphabet_soup_1"], rows["basket_1"]].all()
    assert not contact_NOO[:, rows["milk_1"]].any()
    assert np.array_equal(contact_NOO, contact_NOO.transpose(0, 2, 1))
    assert not contact_NOO[:, np.arange(len(rows)), np.arange(len(rows))].any()
    assert not simulator.snapshot.touch_NO.any()


def test_closing_twice_is_harmless(scene: Scene) -> None:
    simulator = Simulator(scene, 1)
    simulator.close()
    simulator.close()


def test_an_error_in_a_worker_reaches_the_caller() -> None:
    pool = WorkerPool(2)
    done = []

    def work(_worker: int, item: int) -> None:
        if item == 3:
            raise ValueError("item 3")
        done.append(item)

    with pytest.raises(ValueError, match="item 3"):
        pool.map(work, range(8))
    assert sorted(done) == [0, 1, 2, 4, 5, 6, 7]
    pool.close()


def test_the_caller_is_one_of_the_workers() -> None:
    """Two items that wait for each other: neither thread can have done both."""
    pool = WorkerPool(2)
    both = threading.Barrier(2, timeout=60)
    threads: dict[int, int] = {}

    def work(worker: int, _item: int) -> None:
        both.wait()
        threads[worker] = threading.get_ident()

    pool.map(work, range(2))
    pool.close()
    assert threads[0] == threading.get_ident() != threads[1]


def test_a_thread_that_does_not_wake_is_not_waited_for() -> None:
    """Its share is done by the caller; what it is told late is nothing."""
    pool = WorkerPool(2)
    awake = threading.Event()

    def sleep(_worker: int, _item: int) -> None:
        awake.wait()

    pool._crew()[1].inbox.put(_Order(sleep, (0,)))
    done: list[tuple[int, int]] = []
    pool.map(lambda worker, item: done.append((worker, item)), range(3))
    assert done == [(0, 0), (0, 1), (0, 2)]
    awake.set()
    pool.close()
    assert len(done) == 3


def test_work_can_be_kept_to_the_first_threads() -> None:
    pool = WorkerPool(4)
    at_work: set[int] = set()
    done: list[int] = []

    def work(worker: int, item: int) -> None:
        at_work.add(worker)
        done.append(item)

    pool.map(work, range(20), own_thread=True, at_most=1)
    pool.close()
    assert at_work == {0} and sorted(done) == list(range(20))


def test_the_control_rate_is_liberos() -> None:
    assert controller.SUBSTEPS * 0.002 == 1 / 20


def test_a_finger_is_its_pad_and_what_the_pad_is_fixed_to() -> None:
    """A can held above the pads is held all the same: robosuite's own check of pads alone would miss it."""
    scene = load_scene(get_task("libero_object", 0), "primitive")
    for side, (pad,) in enumerate(scene.record.robot.pad_geoms, 1):
        names = [scene.model.geom(geom).name for geom in _finger_geoms(scene.model, pad)]
        solid = [name for name in names if name.endswith("collision")]
        assert solid == [f"gripper0_finger{side}_collision", f"gripper0_finger{side}_pad_collision"]
