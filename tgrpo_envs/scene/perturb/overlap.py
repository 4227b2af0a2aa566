"""How deep things lie in one another, by MuJoCo's own shapes: LIBERO's samplers go by radii that are often made up."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from tgrpo_envs.scene.scene import Scene
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.pictures import BACKGROUND, body_rows
from tgrpo_envs.sim.snapshot import FloatArray

OVERLAP_M = 0.001  # what resting contacts have too


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

    def put_fixtures(self, fixtures_F7: FloatArray) -> None:
        """Take the fixtures to be there from now on."""
        self._model.body_pos[self._fixtures] = fixtures_F7[:, :3]
        self._model.body_quat[self._fixtures] = fixtures_F7[:, 3:]

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
