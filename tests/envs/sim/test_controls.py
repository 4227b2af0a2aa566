"""The kinds of control against robosuite's own controllers in LIBERO's environment, and as options of ours."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from tgrpo_envs.assets import find_pack
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.scene import load_scene, official_states
from tgrpo_envs.scene.build import official_env
from tgrpo_envs.sim.control import JOINT_HIGH, JOINT_LOW, Control
from tgrpo_envs.sim.controller import GOAL_MAT, GRIPPER, PHASE, RUN
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.tasks import get_task

ONE = np.ones(1, dtype=bool)
ID = "tgrpo_envs:TGRPO-LiberoObject-v0"
SETTINGS: dict[str, Any] = {"assets": "primitive", "detail": "off"}
STEPS = 30
TOLERANCE = 1e-6  # radians and metres, after STEPS control steps


@pytest.mark.parametrize(
    "control",
    [
        Control("pose_delta", scale=0.5),
        Control("pose"),
        Control("joint_delta"),
        Control("joint_delta", scale=2.0),
        Control("joint"),
    ],
    ids=str,
)
def test_a_control_moves_the_arm_as_robosuites_controller_does(control: Control) -> None:
    """From one state in the middle of an episode, the same random actions: joints and fingers stay equal."""
    task, name = get_task("libero_object", 0), "JOINT_POSITION" if "joint" in control.kind else "OSC_POSE"
    scene = load_scene(task, "primitive")
    official = official_env(task, find_pack("primitive").folder, controller=name)
    init = official_states(scene).take(np.array([0]))
    official.seed(0)
    official.reset()
    official.set_init_state(init.states_NX[0])
    for _ in range(10):
        official.step([0.0] * official.env.action_dim)
    ours = Simulator(scene, 1, control=control)
    ours.reset(init, ONE, settle=False)
    follow(ours, official)
    arm = official.env.robots[0].controller
    configure(arm, control)
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        action_A = action(arm, control, rng)
        official.step(action_A)
        ours.step(action_A[None], ONE)
    moved = np.abs(ours.datas[0].qpos[:7] - init.states_NX[0, 1:8]).max()
    assert moved > 0.02
    np.testing.assert_allclose(ours.datas[0].qpos[:9], official.sim.data.qpos[:9], rtol=0, atol=TOLERANCE)
    ours.close()
    official.close()


def follow(ours: Simulator, official: Any) -> None:
    """Put ours where LIBERO's is."""
    (data,), (block,), source = ours.datas, ours.blocks, official.sim.data._data
    data.time, data.qpos[:], data.qvel[:] = source.time, source.qpos, source.qvel
    data.qacc_warmstart[:] = source.qacc_warmstart
    block[GRIPPER] = official.env.robots[0].gripper.current_action[1]
    block[GOAL_MAT : GOAL_MAT + 9] = getattr(official.env.robots[0].controller, "goal_ori", np.eye(3)).ravel()
    block.view(np.int64)[PHASE] = RUN


def configure(arm: Any, control: Control) -> None:
    """What one writes to robosuite's controller for the same meaning."""
    arm.output_max, arm.output_min, arm.action_scale = (
        arm.output_max * control.scale,
        arm.output_min * control.scale,
        None,
    )
    if control.kind == "pose":
        arm.use_delta = False
    if control.kind == "joint":  # which robosuite's controller offers by this argument alone
        set_goal = arm.set_goal
        arm.set_goal = lambda action: set_goal(np.zeros(7), set_qpos=np.array(action))


def action(arm: Any, control: Control, rng: np.random.Generator) -> np.ndarray:
    """A random one in reach."""
    from robosuite.utils.transform_utils import mat2quat, quat2axisangle

    fingers = rng.choice([-1.0, 1.0])
    arm.update(force=True)
    if control.kind == "pose":
        position = arm.ee_pos + rng.uniform(-0.03, 0.03, 3)
        return np.array([*position, *(quat2axisangle(mat2quat(arm.ee_ori_mat)) + rng.uniform(-0.1, 0.1, 3)), fingers])
    if control.kind == "joint":
        return np.array([*(arm.joint_pos + rng.uniform(-0.04, 0.04, 7)), fingers])
    return np.array([*rng.uniform(-1.0, 1.0, control.size - 1), fingers])


def test_joint_bounds_are_the_models() -> None:
    ranges_72 = load_scene(get_task("libero_object", 0), "primitive").model.jnt_range[:7]
    np.testing.assert_allclose(ranges_72, np.stack([JOINT_LOW, JOINT_HIGH], axis=1), atol=1e-9)


@pytest.mark.parametrize(("control", "size"), [("pose_delta", 7), ("pose", 7), ("joint_delta", 8), ("joint", 8)])
def test_an_environment_of_any_control_starts_alike_and_plays_its_actions(control: str, size: int) -> None:
    env = gym.make(ID, control=control, action_chunk=2, **SETTINGS)
    assert env.action_space.shape == (2, size)
    assert isinstance(env.action_space, gym.spaces.Box)
    assert np.isfinite(env.action_space.low).all()
    observation, _ = env.reset(seed=0)
    plain = gym.make(ID, **SETTINGS)
    assert np.array_equal(observation["proprio"], plain.reset(seed=0)[0]["proprio"])  # settled by LIBERO's own
    env.action_space.seed(0)
    after, *_ = env.step(env.action_space.sample())
    assert np.abs(after["proprio"] - observation["proprio"]).max() > 1e-3
    for one in (env, plain):
        one.close()


def test_a_pose_is_reached_and_held() -> None:
    """Ten centimetres up, the hand as it is: the grip site goes there and stays."""
    env = gym.make(ID, control="pose", **SETTINGS)
    observation, _ = env.reset(seed=0)
    target = observation["proprio"][:3] + np.array([0.0, 0.0, 0.1])
    down = [np.pi, 0.0, 0.0]  # half a turn about x: the hand points down
    for _ in range(60):
        observation, *_ = env.step(np.array([*target, *down, -1.0], dtype=np.float32))
    np.testing.assert_allclose(observation["proprio"][:3], target, atol=2e-3)
    np.testing.assert_allclose(observation["proprio"][3:9], [1, 0, 0, 0, -1, 0], atol=2e-2)
    env.close()


def test_a_binary_gripper_opens_from_a_half_on_and_never_keeps() -> None:
    control = Control(gripper="binary")
    actions_NCA = np.zeros((4, 1, 7))
    actions_NCA[:, 0, 6] = [0.0, 0.49, 0.5, 7.0]
    assert control.played(actions_NCA)[:, 0, 6].tolist() == [1.0, 1.0, -1.0, -1.0]
    assert (control.low[-1], control.high[-1]) == (0.0, 1.0)
    assert Control().played(np.full((1, 1, 7), -3.0)).tolist() == [[[-1.0] * 7]]


def test_a_wrong_control_is_said() -> None:
    with pytest.raises(UnknownNameError, match="poses"):
        gym.make(ID, control="poses", **SETTINGS)
    with pytest.raises(UnknownNameError, match="soft"):
        gym.make(ID, gripper="soft", **SETTINGS)
    for scale in (0.0, -1, np.nan, True, "2", 11):
        with pytest.raises(ConfigError, match="action_scale"):
            gym.make(ID, action_scale=scale, **SETTINGS)
