"""Puts LIBERO's own environment and ours into the same state, for every comparison of the two."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tgrpo_envs.assets import find_pack
from tgrpo_envs.errors import StateError
from tgrpo_envs.scene import Scene, load_scene
from tgrpo_envs.scene.build import official_env
from tgrpo_envs.sim.controller import GOAL_MAT, GRIPPER, PHASE, RUN
from tgrpo_envs.sim.init_states import InitStates
from tgrpo_envs.sim.simulator import SETTLE_ACTION, SETTLE_STEPS, Simulator
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray
from tgrpo_envs.sim.success import goal_truth
from tgrpo_envs.tasks import get_task

ONE = np.ones(1, dtype=bool)


@dataclass
class Pair:
    """The same task in both simulators."""

    scene: Scene
    ours: Simulator
    official: Any

    def reset(self, init: InitStates, *, settle: bool) -> None:
        """Reset both to one state, as LIBERO's evaluation does: reset, write the state, wait ten steps."""
        self.reset_official(init, settle=settle)
        self.ours.reset(init, ONE, settle=settle)

    def reset_official(self, init: InitStates, *, settle: bool) -> None:
        """Reset LIBERO's alone, with the same seed every time: the same calls then give the same bits."""
        self.official.seed(0)
        self.official.reset()
        self._place_fixtures(init)
        self.official.set_init_state(init.states_NX[0])
        if settle:
            for _ in range(SETTLE_STEPS):
                self.official.step(SETTLE_ACTION)

    def follow(self) -> None:
        """Put ours into the state LIBERO's is in between two control steps, with all that its next step starts from."""
        (data,), (block,) = self.ours.datas, self.ours.blocks
        official, robot = self.official.sim.data._data, self.official.env.robots[0]
        data.time = official.time
        data.qpos[:], data.qvel[:] = official.qpos, official.qvel
        data.qacc_warmstart[:] = official.qacc_warmstart
        block[GOAL_MAT : GOAL_MAT + 9] = robot.controller.goal_ori.ravel()
        block[GRIPPER] = robot.gripper.current_action[1]
        block.view(np.int64)[PHASE] = RUN

    def show(self, init: InitStates) -> None:
        """Write a state into both without a step."""
        self._place_fixtures(init)
        self.official.set_state(init.states_NX[0])
        self.official.sim.forward()
        self.ours.reset(init, ONE, settle=False)

    def step(self, action_A: FloatArray) -> None:
        """The same action in both.

        Raises:
            StateError: Our physics diverged.
        """
        self.official.step(action_A)
        if self.ours.step(action_A[None], ONE).any():
            raise StateError(f"The physics of {self.scene.task.name} diverged under the action {action_A}.")

    def states(self) -> tuple[FloatArray, FloatArray]:
        """Time, qpos and qvel of both: (ours, LIBERO's)."""
        return self.ours.get_states().states_NX[0], self.official.get_sim_state()

    def observed(self) -> tuple[FloatArray, FloatArray]:
        """Gripper position, finger joints and positions of movables, metres: (ours, LIBERO's).

        LIBERO's are what its sensors would read now. What its `step` returns may be a substep older: robosuite samples
        on a clock of its own, which `set_init_state` puts out of step.
        """
        inner, snapshot = self.official.env, self.ours.snapshot
        robot, data = inner.robots[0], inner.sim.data
        movables = self.scene.layout.objects[: self.scene.layout.num_movables]
        official = [
            data.site_xpos[robot.eef_site_id],
            data.qpos[robot._ref_gripper_joint_pos_indexes],
            *(data.body_xpos[inner.obj_body_id[name]] for name in movables),
        ]
        ours = [snapshot.gripper_pos_N3[0], snapshot.finger_qpos_N2[0], *snapshot.object_pos_NO3[0, : len(movables)]]
        return np.concatenate(ours), np.concatenate(official)

    def truths(self) -> tuple[BoolArray, BoolArray]:
        """Truth of each conjunct of the goal: (ours, LIBERO's)."""
        inner = self.official.env
        official = [bool(inner._eval_predicate(state)) for state in inner.parsed_problem["goal_state"]]
        ours = goal_truth(self.scene.goal, self.scene.layout, self.ours.snapshot)[0]
        return ours, np.array(official)

    def close(self) -> None:
        """End both; LIBERO's frees its simulation."""
        self.ours.close()
        self.official.close()

    def _place_fixtures(self, init: InitStates) -> None:
        model = self.official.sim.model._model
        for body, pose in zip(self.scene.fixture_bodies, init.fixtures_NF7[0], strict=True):
            model.body_pos[body], model.body_quat[body] = pose[:3], pose[3:]


def open_pair(suite: str, task: int | str, assets: str | Path) -> Pair:
    """Both simulators of a task on one asset pack, neither reset yet.

    Raises:
        AssetError: The pack is missing or incomplete.
        SceneError: LIBERO or robosuite is not installed.
    """
    scene = load_scene(get_task(suite, task), assets)
    return Pair(scene, Simulator(scene, 1), official_env(scene.task, find_pack(assets).folder))
