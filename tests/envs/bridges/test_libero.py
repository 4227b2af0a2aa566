"""Adapters against LIBERO's own environment: pictures pixel for pixel, state with the axis-angle's sign, gripper."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tgrpo_envs.assets import find_pack
from tgrpo_envs.bridges.libero import axis_angle, gripper_from_openvla, proprio, state, turned
from tgrpo_envs.parity.side_by_side import Pair
from tgrpo_envs.scene import load_scene, official_states
from tgrpo_envs.scene.build import official_env
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.tasks import get_task

CAMERAS = {"agentview": "agentview_image", "wrist": "robot0_eye_in_hand_image"}
SIZE = 64
PACKS = ["primitive", pytest.param("libero", marks=pytest.mark.libero)]


@pytest.fixture(scope="module", params=PACKS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    task = get_task("libero_object", 0)
    settings: dict[str, Any] = {
        "has_offscreen_renderer": True,
        "use_camera_obs": True,
        "camera_heights": SIZE,
        "camera_widths": SIZE,
    }
    scene = load_scene(task, request.param)
    ours = Simulator(scene, 1, cameras=tuple(CAMERAS), image_size=SIZE, detail="exact")
    pair = Pair(scene, ours, official_env(task, find_pack(request.param).folder, **settings))
    yield pair
    pair.close()


def libero_state(official: Any) -> np.ndarray:
    """What LIBERO's sensors read now, through robosuite's own conversion."""
    from robosuite.utils.transform_utils import convert_quat, quat2axisangle

    inner = official.env
    robot, data = inner.robots[0], inner.sim.data
    quaternion = convert_quat(data.get_body_xquat(robot.robot_model.eef_name), to="xyzw")
    fingers = data.qpos[robot._ref_gripper_joint_pos_indexes]
    return np.concatenate([data.site_xpos[robot.eef_site_id], quat2axisangle(quaternion), fingers])


def test_pictures_turned_by_180_degrees_are_liberos(pair: Pair) -> None:
    init = official_states(pair.scene).take(np.array([3]))
    pair.reset(init, settle=False)
    observation = pair.official.set_init_state(init.states_NX[0])
    images = {camera: np.zeros((1, SIZE, SIZE, 3), np.uint8) for camera in CAMERAS}
    pair.ours.render(images, np.ones(1, dtype=bool))
    for camera, key in CAMERAS.items():
        assert np.array_equal(turned(images[camera])[0], observation[key][::-1, ::-1]), camera


def test_the_state_is_liberos_whatever_the_sign_of_the_axis_angle(pair: Pair) -> None:
    pair.reset(official_states(pair.scene).take(np.array([3])), settle=True)
    rng, seen = np.random.default_rng(0), []
    for step in range(60):
        if step % 10 == 0:
            action_A = rng.uniform(-1.0, 1.0, 7)
        ours_8 = state(pair.ours, [0])[0]
        np.testing.assert_allclose(ours_8, libero_state(pair.official), rtol=0, atol=1e-5)
        np.testing.assert_allclose(proprio(ours_8, pair.ours.proprio_NP[0, 11]), pair.ours.proprio_NP[0], atol=1e-6)
        seen.append(ours_8[3:6])
        pair.step(action_A)
    angles = np.linalg.norm(seen, axis=1)
    assert angles.min() < np.pi < angles.max()  # folding would have changed some


def test_an_axis_angle_is_not_folded() -> None:
    """q and -q are one rotation: by 200 degrees about z, or by 160 about -z. Each keeps what its sign says."""
    half = np.deg2rad(100.0)
    quaternion = np.array([[0.0, 0.0, np.sin(half), np.cos(half)]])
    np.testing.assert_allclose(axis_angle(quaternion), [[0.0, 0.0, np.deg2rad(200.0)]])
    np.testing.assert_allclose(axis_angle(-quaternion), [[0.0, 0.0, -np.deg2rad(160.0)]])
    assert np.array_equal(axis_angle(np.array([[0.0, 0.0, 0.0, 1.0]])), np.zeros((1, 3)))


def test_openvlas_gripper_opens_and_closes_liberos(pair: Pair) -> None:
    widths = {}
    for said, width in ((0.9, "open"), (0.2, "closed")):
        pair.reset(official_states(pair.scene).take(np.array([3])), settle=True)
        action_A = gripper_from_openvla(np.array([[0, 0, 0, 0, 0, 0, said]], dtype=float))[0]
        for _ in range(15):
            pair.step(action_A)
        widths[width] = libero_state(pair.official)[6:]
    assert np.abs(widths["open"]).min() > 0.035  # metres a finger
    assert np.abs(widths["closed"]).max() < 0.01
