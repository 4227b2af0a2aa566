"""Where things touch and stand, by MuJoCo's own shapes: LIBERO's samplers go by radii and heights that are made up."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import numpy as np

from tgrpo_envs.scene.records import ObjectRecord
from tgrpo_envs.scene.scene import Scene
from tgrpo_envs.scene.simulated import colliding
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.pictures import BACKGROUND, body_rows
from tgrpo_envs.sim.snapshot import FloatArray

OVERLAP_M = 0.001  # what resting contacts have too
_FLAT_M = 0.002  # between the highest and lowest point of what a thing stands on
_GAP_M = 0.0005  # below a thing that is set down
_ABOVE_M = 0.1  # the task file's height may lie below the ground
_RING = 8  # points around a thing, below which the ground is felt
_SOLID = 0  # the group of shapes that collide, and that rays meet


class OverlapMeter:
    """Measures arrangements of one scene's objects.

    Args:
        scene: The scene; its model is not changed.
    """

    def __init__(self, scene: Scene) -> None:
        self._fixtures = list(scene.fixture_bodies)
        self._model = copy.copy(scene.model)
        self._data = mujoco.MjData(self._model)
        self._root_G = self._model.body_rootid[self._model.geom_bodyid]
        self._is_table_G = body_rows(scene.model, scene.record)[self._model.geom_bodyid] == BACKGROUND
        self._model.geom_group[:] = np.where(colliding(self._model), _SOLID, _SOLID + 1)
        self._model.geom_matid[:], self._model.geom_rgba[:, 3] = -1, 1.0  # rays pass what cannot be seen

    def put_fixtures(self, fixtures_F7: FloatArray) -> None:
        """Take the fixtures to be there from now on."""
        self._model.body_pos[self._fixtures] = fixtures_F7[:, :3]
        self._model.body_quat[self._fixtures] = fixtures_F7[:, 3:]

    def set_down(self, qpos: FloatArray, entry: ObjectRecord) -> FloatArray | None:
        """The arrangement with one object lowered or lifted onto the table or floor below it.

        Returns:
            All of qpos, or None where the ground is not flat all around, or the object would touch something.
        """
        assert entry.qpos_address is not None  # fixtures stand where they are
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, self._data)
        corners_K3 = self._corners(entry.body)
        middle_3 = qpos[entry.qpos_address : entry.qpos_address + 3]
        radius_m = float(np.hypot(*(corners_K3 - middle_3)[:, :2].T).max())
        heights = self._ground_heights(middle_3, radius_m, entry.body)
        if heights is None or np.ptp(heights) > _FLAT_M:
            return None
        stood = qpos.copy()
        stood[entry.qpos_address + 2] += max(heights) + _GAP_M - corners_K3[:, 2].min()
        return stood if self.depth(stood, [entry.body]) == 0.0 else None

    def _corners(self, body: int) -> FloatArray:
        """Corners (K, 3) of the boxes around a body's solid shapes, in the world."""
        signs_83 = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
        corners = []
        for geom in np.flatnonzero((self._model.geom_bodyid == body) & (self._model.geom_group == _SOLID)):
            middle_3, half_3 = np.split(self._model.geom_aabb[geom], 2)
            turn_33 = self._data.geom_xmat[geom].reshape(3, 3)
            corners.append(self._data.geom_xpos[geom] + (middle_3 + signs_83 * half_3) @ turn_33.T)
        return np.concatenate(corners)

    def _ground_heights(self, middle_3: FloatArray, radius_m: float, body: int) -> list[float] | None:
        """Heights of table or floor below a point and a ring around it; None where something else comes first."""
        angles_R = np.linspace(0.0, 2 * np.pi, _RING, endpoint=False)
        above_3 = middle_3 + np.array([0.0, 0.0, _ABOVE_M])
        ring_R3 = above_3 + radius_m * np.stack([np.cos(angles_R), np.sin(angles_R), np.zeros(_RING)], axis=1)
        groups, met, down_3 = np.zeros(6, np.uint8), np.zeros(1, np.int32), np.array([0.0, 0.0, -1.0])
        groups[_SOLID] = 1
        heights = []
        for point_3 in (above_3, *ring_R3):
            distance = mujoco.mj_ray(self._model, self._data, point_3, down_3, groups, 1, body, met)
            if met[0] < 0 or not self._is_table_G[met[0]]:
                return None
            heights.append(float(point_3[2]) - distance)
        return heights

    def depth(self, qpos: FloatArray, roots: Sequence[int]) -> float:
        """How deep something of these root bodies lies in something else, metres; 0 where it touches nothing.

        Table and floor do not count: LIBERO puts some objects a little into them, and settling lifts those.
        """
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_collision(self._model, self._data)
        geoms_C2 = self._data.contact.geom
        inside_C2 = np.isin(self._root_G[geoms_C2], list(roots))
        counts_C = (inside_C2[:, 0] != inside_C2[:, 1]) & ~self._is_table_G[geoms_C2].any(axis=1)
        return max(0.0, -float(min(self._data.contact.dist[counts_C], default=0.0)))
