"""Each kind of perturbation changes what it says and nothing else, alike for equal seeds, more at higher levels."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from tests.helpers.unwrapped import libero_env, libero_envs
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.perturbation import KINDS, Kind, Perturbation, parse_perturbation, reworded
from tgrpo_envs.scene import Scene, heldout_states, load_scene, official_states
from tgrpo_envs.scene.perturb import load_setting
from tgrpo_envs.scene.perturb.distractors import COUNTS, HALF_X_M, HALF_Y_M
from tgrpo_envs.scene.perturb.layout import SHIFT_M, TURN_RAD
from tgrpo_envs.scene.perturb.looks import AZIMUTH_DEG, BRIGHTNESS, DISTANCE, ELEVATION_DEG, TINT
from tgrpo_envs.scene.perturb.overlap import OVERLAP_M
from tgrpo_envs.scene.perturb.robot import JOINT_RAD
from tgrpo_envs.tasks import SUITES, get_task, list_tasks
from tgrpo_envs.vector import LiberoVectorEnv

ONLY_SEEN: tuple[Kind, ...] = ("camera", "light", "background")
SUITE, TASK = "libero_goal", 0  # a table, a cabinet, a stove, a bowl, a plate, a bottle and a cheese
IDS = np.arange(3)
CROWDED = Perturbation("distractors", 3)
STANDS_M = 0.003  # what is set down may move so far


def played(perturb: Any, steps: int = 6, **settings: Any) -> dict[str, Any]:
    """Three held-out states and what they show at the start and after some actions."""
    given = {"task": TASK, "assets": "primitive", "image_size": 32, "perturb": perturb, **settings}
    env = LiberoVectorEnv(SUITE, len(IDS), **given)
    try:
        first, info = env.reset(options={"init_states": "heldout", "init_state_ids": IDS})
        settled = env.episodes.simulator.get_states().states_NX
        rng = np.random.default_rng(0)
        rewards = [env.step(rng.uniform(-1, 1, (len(IDS), 7)))[1] for _ in range(steps)]
        return {
            "first": first,
            "last": env.batch.observations,
            "began": env.episodes.simulator.init_states.copy(),
            "settled": settled,
            "states": env.episodes.simulator.get_states().states_NX,
            "rewards": np.array(rewards),
            "instruction": info["instruction"][0],
            "objects": env.episodes.scene.layout.objects,
        }
    finally:
        env.close()


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return played(None)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_are_equal_and_others_are_not(kind: str) -> None:
    one, again = (played({"kind": kind, "level": 3}, steps=2) for _ in range(2))
    np.testing.assert_array_equal(one["states"], again["states"])
    np.testing.assert_array_equal(one["last"]["agentview"], again["last"]["agentview"])
    other = played({"kind": kind, "level": 3, "seed": 2}, steps=2)
    changed = (
        one["states"].shape != other["states"].shape
        or (one["states"] != other["states"]).any()
        or (one["last"]["agentview"] != other["last"]["agentview"]).any()
        or one["instruction"] != other["instruction"]
    )
    assert changed


@pytest.mark.parametrize("kind", ONLY_SEEN)
def test_what_is_only_seen_changes_no_state(kind: Kind, plain: dict[str, Any]) -> None:
    seen = played(Perturbation(kind, 3))
    for key in ("states", "rewards", "instruction"):
        np.testing.assert_array_equal(seen[key], plain[key])
    np.testing.assert_array_equal(seen["last"]["proprio"], plain["last"]["proprio"])
    difference = np.abs(seen["first"]["agentview"].astype(int) - plain["first"]["agentview"]).mean()
    assert difference > 3  # grey levels
    if kind == "camera":  # the one on the wrist is left alone
        np.testing.assert_array_equal(seen["last"]["wrist"], plain["last"]["wrist"])


@pytest.mark.parametrize("level", [1, 3])
def test_light_brightens_and_darkens_by_what_is_drawn_and_tints_alike_at_every_level(level: int) -> None:
    scene = load_scene(get_task(SUITE, TASK), "primitive")
    for seed in range(5):
        models = [
            load_setting(scene.task, "primitive", Perturbation("light", one, seed)).scene.model for one in (1, level)
        ]
        weak_3, factor_3 = (model.light_diffuse[0] / scene.model.light_diffuse[0] for model in models)
        np.testing.assert_allclose(models[1].light_diffuse, scene.model.light_diffuse * factor_3)
        assert np.argsort(factor_3).tolist() == np.argsort(weak_3).tolist()  # the same colours lose most
        limit = np.exp(BRIGHTNESS[level - 1])
        assert (factor_3.min() > 1, factor_3.max() < 1)[seed in (0, 3)]  # seeds 1, 2 and 4 draw brighter light
        assert factor_3.max() <= limit + 1e-9 and factor_3.min() >= (1 - TINT[level - 1]) / limit - 1e-9


def test_without_a_perturbation_scene_and_states_are_the_very_same() -> None:
    setting = load_setting(get_task(SUITE, TASK), "primitive", None)
    states = heldout_states(setting.unperturbed)
    assert setting.scene is setting.unperturbed and setting.perturb(states) is states


def test_wording_changes_the_instruction_alone(plain: dict[str, Any]) -> None:
    said = played("wording")
    assert said["instruction"] != plain["instruction"]
    np.testing.assert_array_equal(said["states"], plain["states"])
    for name, pictures in plain["last"].items():
        np.testing.assert_array_equal(said["last"][name], pictures)


def test_the_camera_looks_at_the_same_point_from_within_its_limits() -> None:
    scene = load_scene(get_task(SUITE, TASK), "primitive")
    for level, seed in ((1, 0), (2, 1), (3, 2), (3, 3)):
        changed = load_setting(scene.task, "primitive", Perturbation("camera", level, seed)).scene
        target, sights = None, []
        for model in (scene.model, changed.model):
            data = mujoco.MjData(model)
            mujoco.mj_forward(model, data)
            camera = model.camera("agentview").id
            place, backwards = data.cam_xpos[camera], data.cam_xmat[camera].reshape(3, 3)[:, 2]
            if target is None:
                target = place - backwards * ((place - np.array(scene.record.robot.eef_pos)) @ backwards)
            offset = place - target
            np.testing.assert_allclose(backwards, offset / np.linalg.norm(offset), atol=1e-9)  # still aims at it
            sights.append(offset)
        before, after = sights
        ratio = np.linalg.norm(after) / np.linalg.norm(before)
        assert DISTANCE[level - 1] / 2 <= abs(ratio - 1) <= DISTANCE[level - 1] + 1e-9
        turned = np.degrees(np.arccos(before @ after / np.linalg.norm(before) / np.linalg.norm(after)))
        assert 2 < turned <= AZIMUTH_DEG[level - 1] + ELEVATION_DEG[level - 1]


@pytest.mark.parametrize("detail", ["fast", "exact"])
def test_the_background_changes_nothing_that_is_robot_or_object(detail: str) -> None:
    """Pixels of objects are lit alike, since no shadow and no reflection of the floor falls on them."""
    shown: dict[str, Any] = {"detail": detail, "segmentation": True, "image_size": 64, "steps": 0}
    before, after = played(None, **shown)["first"], played(Perturbation("background", 3), **shown)["first"]
    np.testing.assert_array_equal(before["agentview_segmentation"], after["agentview_segmentation"])
    inside = before["agentview_segmentation"] > 0
    for axis in (1, 2):  # edges are mixed with what lies behind
        for shift in (-2, -1, 1, 2):
            inside &= np.roll(inside, shift, axis)
    difference = np.abs(before["agentview"].astype(int) - after["agentview"])
    assert difference[inside].max() <= 2
    assert difference[before["agentview_segmentation"] == 0].mean() > 10


def test_the_robot_starts_bent_and_stays_so(plain: dict[str, Any]) -> None:
    """Joints differ by at most the limit; the objects lie where they lay; doing nothing does not bend it back."""
    for level in (1, 3):
        bent = played(Perturbation("robot", level))
        by = bent["began"].states_NX - plain["began"].states_NX
        limit = JOINT_RAD[level - 1]
        assert limit / 4 < np.abs(by[:, 1:8]).max() <= limit
        assert not by[:, 8:].any() and not by[:, 0].any()
        np.testing.assert_array_equal(by, by[[0, 0, 0]])
    settled = load_setting(get_task(SUITE, TASK), "primitive", Perturbation("robot", 3)).scene
    np.testing.assert_allclose(
        bent["first"]["proprio"][:, :3], np.tile(settled.record.robot.eef_pos, (3, 1)), atol=0.02
    )


@pytest.mark.parametrize(("suite", "task"), [("libero_goal", 0), ("libero_object", 0), ("libero_10", 9)])
def test_the_layout_stays_near_and_free(suite: str, task: int) -> None:
    scene = load_scene(get_task(suite, task), "primitive")
    for states in (official_states(scene).take(np.arange(4)), heldout_states(scene).take(np.arange(4))):
        for level in (1, 3):
            moved = load_setting(scene.task, "primitive", Perturbation("layout", level)).perturb(states)
            np.testing.assert_array_equal(moved.fixtures_NF7, states.fixtures_NF7)
            shifts = []
            for row in range(len(states)):
                before, after = states.states_NX[row], moved.states_NX[row]
                np.testing.assert_array_equal(before[:10], after[:10])  # time and the robot
                for entry in scene.record.objects:
                    if entry.qpos_address is None:
                        continue
                    at = slice(1 + entry.qpos_address, 8 + entry.qpos_address)
                    (x, y, z), quat = (after[at] - before[at])[:3], (before[at][3:], after[at][3:])
                    assert z == 0.0
                    turned = 2 * np.arccos(min(1.0, abs(quat[0] @ quat[1] / (quat[0] @ quat[0]))))
                    assert turned <= TURN_RAD[level - 1] + 1e-6
                    shifts.append(np.hypot(x, y))
                assert overlap(scene, after, moved.fixtures_NF7[row]) <= max(
                    OVERLAP_M, overlap(scene, before, states.fixtures_NF7[row])
                )
            # Nothing rests on anything that moves here, so that no way is longer than a pile's own.
            assert max(shifts) <= SHIFT_M[level - 1] + 1e-9
            assert np.mean(np.array(shifts) >= SHIFT_M[level - 1] / 2 - 1e-9) > 0.6


def overlap(scene: Scene, state: np.ndarray, fixtures: np.ndarray) -> float:
    """How deep two things lie in one another, by a model and data of their own; the table is none."""
    model = copy.copy(scene.model)
    data = mujoco.MjData(model)
    bodies = list(scene.fixture_bodies)
    model.body_pos[bodies], model.body_quat[bodies] = fixtures[:, :3], fixtures[:, 3:]
    data.qpos[:] = state[1 : 1 + model.nq]
    mujoco.mj_forward(model, data)
    roots = model.body_rootid[model.geom_bodyid]
    things = {entry.body for entry in scene.record.objects}
    pairs = [(set(roots[contact.geom].tolist()), contact.dist) for contact in data.contact]
    depths = [-dist for pair, dist in pairs if len(pair) == 2 and pair <= things]
    return max(depths, default=0.0)


def test_distractors_stand_free_beside_what_was_there(plain: dict[str, Any]) -> None:
    for level in (1, 3):
        perturb = Perturbation("distractors", level)
        crowded = played(perturb)
        added = set(crowded["objects"]) - set(plain["objects"])
        assert len(added) == COUNTS[level - 1] and set(plain["objects"]) < set(crowded["objects"])
        setting = load_setting(get_task(SUITE, TASK), "primitive", perturb)
        for row in IDS:
            state, own = crowded["began"].states_NX[row], plain["began"].states_NX[row]
            for entry in setting.unperturbed.record.objects:
                if entry.qpos_address is not None:
                    there = next(one for one in setting.scene.record.objects if one.name == entry.name)
                    assert there.qpos_address is not None
                    at, before = 1 + there.qpos_address, 1 + entry.qpos_address
                    np.testing.assert_array_equal(state[at : at + 7], own[before : before + 7])
            more = [one for one in setting.scene.record.objects if one.name in added]
            places = [1 + one.qpos_address for one in more if one.qpos_address is not None]
            assert len(places) == len(added)
            for at in places:
                assert abs(state[at]) <= HALF_X_M and abs(state[at + 1]) <= HALF_Y_M
                np.testing.assert_allclose(crowded["settled"][row, at : at + 3], state[at : at + 3], atol=STANDS_M)
            fixtures = plain["began"].fixtures_NF7[row]
            np.testing.assert_array_equal(crowded["began"].fixtures_NF7[row], fixtures)
            allowed = max(OVERLAP_M, overlap(setting.unperturbed, own, fixtures))
            assert overlap(setting.scene, state, fixtures) <= allowed
        assert crowded["instruction"] == plain["instruction"]


@pytest.mark.slow  # builds 130 scenes
@pytest.mark.parametrize("suite", SUITES)
def test_distractors_stay_where_they_stand_in_every_task(suite: str) -> None:
    for task in list_tasks(suite):
        env = LiberoVectorEnv(suite, 3, task=task.index, assets="primitive", detail="off", perturb=CROWDED)
        env.reset(options={"init_states": "heldout", "init_state_ids": IDS})
        began = env.episodes.simulator.init_states.states_NX
        for _ in range(20):
            env.step(np.zeros((3, 7)))
        ended = env.episodes.simulator.get_states().states_NX
        own = {entry.name for entry in load_setting(task, "primitive", CROWDED).unperturbed.record.objects}
        added = [entry for entry in env.episodes.scene.record.objects if entry.name not in own]
        assert len(added) == COUNTS[2]
        for entry in added:
            assert entry.qpos_address is not None
            place = slice(1 + entry.qpos_address, 4 + entry.qpos_address)
            np.testing.assert_allclose(ended[:, place], began[:, place], atol=STANDS_M, err_msg=f"{task}, {entry.name}")
        env.close()


def test_members_that_begin_alike_are_changed_alike_in_both_faces() -> None:
    for kind in ("layout", "distractors", "robot"):
        perturb = {"kind": kind, "level": 1}
        keywords: dict[str, Any] = {"task": TASK, "assets": "primitive", "detail": "off", "perturb": perturb}
        envs = libero_envs(gym.make_vec("tgrpo_envs:TGRPO-LiberoGoal-v0", num_envs=4, **keywords))
        env = gym.make("tgrpo_envs:TGRPO-LiberoGoal-v0", **keywords)
        envs.reset(seed=5, options={"group_size": 2})
        env.reset(seed=5)
        states = envs.episodes.simulator.init_states.states_NX
        np.testing.assert_array_equal(states[0], states[1])
        np.testing.assert_array_equal(states[0], libero_env(env).episodes.simulator.init_states.states_NX[0])
        assert (states[0] != states[2]).any()
        assert env.spec is not None and env.spec.kwargs["perturb"] == perturb
        envs.close()
        env.close()


def test_a_reset_of_some_members_leaves_the_others() -> None:
    with_layout: dict[str, Any] = {"task": TASK, "assets": "primitive", "detail": "off", "perturb": "layout"}
    envs = LiberoVectorEnv(SUITE, 3, **with_layout)
    envs.reset(options={"init_states": "heldout", "init_state_ids": np.array([4, 5, 6])})
    before = envs.episodes.simulator.init_states.states_NX.copy()
    mask = np.array([False, False, True])
    envs.reset(options={"init_states": "heldout", "init_state_ids": np.array([0, 0, 4]), "reset_mask": mask})
    after = envs.episodes.simulator.init_states.states_NX
    np.testing.assert_array_equal(after, before[[0, 1, 0]])  # state 4 is changed alike in whichever member
    envs.close()


def test_every_task_of_libero_is_said_otherwise_at_every_level() -> None:
    for task in list_tasks():
        said = {reworded(task.instruction, Perturbation("wording", level, task.index)) for level in (1, 2, 3)}
        assert len(said | {task.instruction}) == 4
    assert reworded("pick up the milk and place it in the basket", Perturbation("camera")) == (
        "pick up the milk and place it in the basket"
    )
    strange = reworded("wave at the milk", Perturbation("wording", 1))
    assert "wave at the milk" in strange and strange != "wave at the milk"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("camara", "Unknown kind of perturbation 'camara'. Did you mean 'camera'"),
        ({"kind": "light", "level": 4}, "level of a perturbation"),
        ({"kind": "light", "seed": -1}, "seed of a perturbation"),
        ({"level": 2}, "must be None, one of camera"),
        (3, "perturb=3 must be None"),
    ],
)
def test_what_is_no_perturbation_is_refused(given: object, message: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=message.replace("(", r"\(")):
        LiberoVectorEnv(SUITE, 1, task=TASK, assets="primitive", perturb=given)


def test_names_and_dictionaries_are_perturbations() -> None:
    assert parse_perturbation("layout") == Perturbation("layout", 2, 0) == parse_perturbation({"kind": "layout"})
    assert parse_perturbation(None) is None
