"""State observations: what the simulator knows of a scene as one named vector, for learners without pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.scene import Scene
from tgrpo_envs.sim.controller import ARM, GRIPPER
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import NO_PARENT, BoolArray, FloatArray
from tgrpo_envs.sim.success import Conjunct, goal_truth

NUM_FINGERS = 2
POSE = (("pos", 3), ("columns", 6), ("from_gripper", 3))
TOUCH = (("touched", 1), ("between_pads", 2))
VELOCITY = (("velocity", 3), ("spin", 3))


class StateObserver:
    """Fills the state observations of one scene.

    The numbers are float32: metres, radians, metres and radians per second, the world's frame, flags 0 or 1; poses are
    a position, the first two columns of the rotation matrix, and the position relative to the gripper's grip site.

    Args:
        scene: The scene.
        stage_names: Stages of the reward.

    Attributes:
        layout: Where each named part lies in the vector, in its order.
        size: D, numbers in all.
    """

    def __init__(self, scene: Scene, stage_names: Sequence[str]) -> None:
        snapshot_layout, model, record = scene.layout, scene.model, scene.record
        tasks = scene.task.siblings
        self._task_T = np.array([task == scene.task for task in tasks], dtype=np.float64)
        movables = [entry for entry in record.objects if entry.qpos_address is not None]
        self._movable_dofs_M6 = np.array(
            [np.arange(6) + int(model.body_dofadr[entry.body]) for entry in movables], dtype=np.int64
        ).reshape(-1, 6)
        self._joint_dofs_J = np.array(
            [int(model.joint(name).dofadr[0]) for name in snapshot_layout.joints], dtype=np.int64
        )
        self._goal = scene.goal
        self._snapshot_layout = snapshot_layout
        names = [
            ("task", len(tasks)),
            ("gripper/pos", 3),
            ("gripper/columns", 6),
            ("gripper/fingers", NUM_FINGERS),
            ("gripper/finger_velocity", NUM_FINGERS),
            ("gripper/command", 1),
            ("arm/joints", ARM),
            ("arm/joint_velocity", ARM),
            *((f"{name}/{field}", size) for name in snapshot_layout.objects for field, size in (*POSE, *TOUCH)),
            *((f"{entry.name}/{field}", size) for entry in movables for field, size in VELOCITY),
            *((f"{name}/{field}", size) for name in snapshot_layout.sites for field, size in POSE),
            *((f"{name}/{field}", 1) for name in snapshot_layout.joints for field in ("position", "joint_velocity")),
            *((f"goal_{i}/{field}", size) for i in range(len(scene.goal)) for field, size in (("to", 3), ("holds", 1))),
            *((f"stage/{name}", 1) for name in stage_names),
        ]
        self.layout = MappingProxyType(dict(_slices(names)))
        self.size = sum(size for _, size in names)

    def __getstate__(self) -> dict[str, object]:
        """For copies: the mapping's view cannot be pickled."""
        return {**vars(self), "layout": dict(self.layout)}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self.layout = MappingProxyType(dict(self.layout))

    def fill(self, state_ND: NDArray[np.float32], simulator: Simulator, done_NK: BoolArray, mask_N: BoolArray) -> None:
        """Write the vectors of the masked environments.

        Args:
            state_ND: Overwritten in the masked rows.
            simulator: As it is now.
            done_NK: Which stages count as done.
            mask_N: Which environments.
        """
        rows = np.flatnonzero(mask_N)
        if not rows.size:
            return
        snapshot = simulator.snapshot
        qpos_nQ = np.array([simulator.datas[row].qpos for row in rows])
        qvel_nV = np.array([simulator.datas[row].qvel for row in rows])
        gripper_n3 = snapshot.gripper_pos_N3[rows]
        commands_n1 = np.array([[simulator.blocks[row][GRIPPER]] for row in rows])
        objects_nOD = np.concatenate(
            [
                _poses(snapshot.object_pos_NO3[rows], snapshot.object_mat_NO33[rows], gripper_n3),
                snapshot.touch_NO[rows][:, :, None],
                snapshot.pad_contact_NO2[rows],
            ],
            axis=2,
        )
        joints_nJ2 = np.stack([snapshot.joint_qpos_NJ[rows], qvel_nV[:, self._joint_dofs_J]], axis=2)
        parts = (
            np.tile(self._task_T, (len(rows), 1)),
            gripper_n3,
            _columns(snapshot.gripper_mat_N33[rows]),
            snapshot.finger_qpos_N2[rows],
            qvel_nV[:, ARM : ARM + NUM_FINGERS],
            commands_n1,
            qpos_nQ[:, :ARM],
            qvel_nV[:, :ARM],
            objects_nOD,
            qvel_nV[:, self._movable_dofs_M6],
            _poses(snapshot.site_pos_NS3[rows], snapshot.site_mat_NS33[rows], gripper_n3),
            joints_nJ2,
            self._goals(simulator, rows),
            done_NK[rows],
        )
        state_ND[rows] = np.concatenate([part.reshape(len(rows), -1) for part in parts], axis=1)

    def _goals(self, simulator: Simulator, rows: NDArray[np.int64]) -> FloatArray:
        """For each conjunct of the goal the way that is left, (n, C, 4): from the object to where it belongs, metres.

        Where a conjunct is of a joint, it is the way from the gripper to the part that moves. The last number says
        whether the conjunct holds.
        """
        snapshot = simulator.snapshot
        holds_NC = goal_truth(self._goal, self._snapshot_layout, snapshot)
        ways = []
        for conjunct in self._goal:
            site, body = self._target(conjunct)
            target_n3 = snapshot.object_pos_NO3[rows, body] if site == NO_PARENT else snapshot.site_pos_NS3[rows, site]
            own = conjunct.object_row
            from_n3 = snapshot.gripper_pos_N3[rows] if own == NO_PARENT else snapshot.object_pos_NO3[rows, own]
            ways.append(target_n3 - from_n3)
        return np.concatenate([np.stack(ways, axis=1), holds_NC[rows][:, :, None]], axis=2)

    def _target(self, conjunct: Conjunct) -> tuple[int, int]:
        """Row of the region that a conjunct is about, else `NO_PARENT` and the row of the object."""
        if not conjunct.joints:
            return conjunct.site_row, conjunct.support_row
        layout, joint = self._snapshot_layout, conjunct.joints[0]
        return int(layout.joint_sites_J[joint]), int(layout.joint_objects_J[joint])


def _slices(names: Iterable[tuple[str, int]]) -> Iterable[tuple[str, slice]]:
    start = 0
    for name, size in names:
        yield name, slice(start, start + size)
        start += size


def _columns(mat_n33: FloatArray) -> FloatArray:
    """The first two columns of rotation matrices (..., 3, 3) as (..., 6)."""
    return np.concatenate([mat_n33[..., 0], mat_n33[..., 1]], axis=-1)


def _poses(pos_nE3: FloatArray, mat_nE33: FloatArray, gripper_n3: FloatArray) -> FloatArray:
    return np.concatenate([pos_nE3, _columns(mat_nE33), pos_nE3 - gripper_n3[:, None]], axis=2)
