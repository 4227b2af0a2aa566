"""The stage language on an environment that is not LIBERO's: robosuite's Lift, driven by a few lines."""

import json
import logging

import numpy as np
import robosuite
from robosuite.controllers import load_controller_config

from tgrpo_envs.bridges.stage_rewards import StageRewardWrapper
from tgrpo_envs.rewards import parse_spec
from tgrpo_envs.sim.snapshot import Snapshot, SnapshotLayout

logging.disable(logging.WARNING)  # robosuite's remarks on its macros
HORIZON = 120
STAGES = [
    {
        "id": "reach",
        "effort": 1,
        "ramp": {"op": "approach", "a": "gripper", "b": "cube_1", "to_m": 0.03},
        "done": {"op": "near", "a": "gripper", "b": "cube_1", "within_m": 0.03},
    },
    {
        "id": "grasp",
        "effort": 2,
        "after": ["reach"],
        "done": {"op": "grasped", "a": "cube_1"},
        "hold_steps": 3,
        "latch": "live",
    },
    {
        "id": "lift",
        "effort": 2,
        "after": ["grasp"],
        "while": [{"op": "grasped", "a": "cube_1"}],
        "ramp": {"op": "raise", "a": "cube_1", "to_m": 0.04},
        "done": {"op": "goal", "index": 0},
        "latch": "live",
    },
]


class Lift:
    """What robosuite's Lift shows: the cube, the gripper, and what the fingers touch."""

    def __init__(self, env) -> None:
        self.env = env
        self.layout = SnapshotLayout.of_objects(("cube_1",))

    def read(self, snapshot: Snapshot) -> np.ndarray:
        """Row 0 as things stand; the goal has one conjunct, robosuite's own."""
        data, robot, cube = self.env.sim.data, self.env.robots[0], self.env.cube_body_id
        snapshot.object_pos_NO3[0, 0] = data.body_xpos[cube]
        snapshot.object_mat_NO33[0, 0] = data.body_xmat[cube].reshape(3, 3)
        snapshot.gripper_pos_N3[0] = data.site_xpos[robot.eef_site_id]
        snapshot.gripper_mat_N33[0] = data.site_xmat[robot.eef_site_id].reshape(3, 3)
        pads = [robot.gripper.important_geoms[side] for side in ("left_fingerpad", "right_fingerpad")]
        snapshot.pad_contact_NO2[0, 0] = [self.env.check_contact(pad, self.env.cube) for pad in pads]
        snapshot.finger_contact_NO2[0, 0] = snapshot.pad_contact_NO2[0, 0]
        snapshot.touch_NO[0, 0] = snapshot.pad_contact_NO2[0, 0].any()
        return np.array([self.env._check_success()])


lift = robosuite.make(
    "Lift",
    robots="Panda",
    controller_configs=load_controller_config(default_controller="OSC_POSE"),
    has_renderer=False,
    has_offscreen_renderer=False,
    use_camera_obs=False,
    horizon=HORIZON,
)
spec = parse_spec(
    json.dumps({"schema": "stage-spec/1", "task": {"suite": "robosuite", "name": "Lift"}, "stages": STAGES})
)
env = StageRewardWrapper(lift, Lift(lift), spec, horizon=HORIZON)
observation = env.reset()
total, held = 0.0, False
for step in range(1, HORIZON + 1):
    way = observation["cube_pos"] - observation["robot0_eef_pos"]
    near = np.linalg.norm(way) < 0.02
    move = [0.0, 0.0, 0.5 if held else 0.0] if near or held else np.clip(way / 0.05, -1.0, 1.0)
    observation, reward, _, info = env.step([*move, 0.0, 0.0, 0.0, 1.0 if near or held else -1.0])
    held = bool(info["stages"][1])
    total += reward
    if reward > 0.0:
        print(f"step {step}: reward {reward:.4f}, stages {info['stages'].tolist()}")
    if info["success"]:
        break
print(f"success {info['success']}, return {total:.3f}")
