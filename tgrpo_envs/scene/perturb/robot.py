"""A perturbation of the robot's start: the arm's joints bent a little, touching nothing in a drawn state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tgrpo_envs.errors import SceneError
from tgrpo_envs.perturbation import Perturbation
from tgrpo_envs.scene.sampler import StateSampler
from tgrpo_envs.scene.scene import Scene
from tgrpo_envs.sim.controller import ARM
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.init_states import InitStates
from tgrpo_envs.sim.pictures import ROBOT, body_rows

JOINT_RAD = (0.1, 0.2, 0.35)  # the largest change of a joint, by level
LOWEST_M = 0.08  # how far the gripper may come down
_DRAWS = 200


def moved_robot(scene: Scene, perturbation: Perturbation) -> Scene:
    """The scene with another start of the robot: the pose its controller begins with and holds its posture by.

    The start is one for all states, and is tried in a single one: in others a tall object may stand where the hand is.

    Raises:
        SceneError: No such start was free.
    """
    rng, limit = perturbation.rng(), perturbation.at_level(*JOINT_RAD)
    robot, model = scene.record.robot, scene.model
    data = mujoco.MjData(model)
    state_X, _ = StateSampler(scene, whole_regions=True).draw(perturbation.rng(1))
    rows_G = body_rows(model, scene.record)[model.geom_bodyid]
    for _ in range(_DRAWS):
        arm_7 = np.array(robot.init_qpos[:ARM]) + rng.uniform(-limit, limit, ARM)
        data.qpos[:] = state_X[1 : 1 + model.nq]
        data.qpos[:ARM] = arm_7
        mujoco.mj_forward(model, data)
        within = (model.jnt_range[:ARM, 0] <= arm_7) & (arm_7 <= model.jnt_range[:ARM, 1])
        touches = ((rows_G[data.contact.geom] == ROBOT).any(axis=1) & (data.contact.dist < 0.0)).any()
        place_3 = data.site_xpos[robot.grip_site]
        if within.all() and not touches and place_3[2] >= robot.eef_pos[2] - LOWEST_M:
            begun = robot.model_copy(
                update={
                    "init_qpos": (*map(float, arm_7), *robot.init_qpos[ARM:]),
                    "eef_pos": tuple(map(float, place_3)),
                    "eef_mat": tuple(map(float, data.site_xmat[robot.grip_site])),
                }
            )
            return replace(scene, record=scene.record.model_copy(update={"robot": begun}))
    raise SceneError(f"{scene.task.name}: the arm touched something in {_DRAWS} perturbed starts; take another seed.")


def bend_arm(states: InitStates, scene: Scene, moved: Scene) -> InitStates:
    """The states with the arm's joints changed by what the scenes' starts differ in."""
    starts = [np.array(each.record.robot.init_qpos[:ARM]) for each in (scene, moved)]
    states_NX = states.states_NX.copy()
    states_NX[:, 1 : 1 + ARM] += starts[1] - starts[0]
    return replace(states, states_NX=states_NX)
