"""Puts the geoms of a drawn model where the bodies of a simulation are."""

from __future__ import annotations

import numpy as np

from tgrpo_envs.sim.engine import mujoco


class Puppet:
    """A drawn model (`tgrpo_envs.scene.drawn`) with poses that follow a simulation's.

    Args:
        model: The drawn model. Its sites' colours are overwritten.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._data = mujoco.MjData(model)
        self._pos_G31 = model.geom_pos[:, :, None].copy()
        self._mat_G33 = np.zeros((model.ngeom, 3, 3))
        for geom, quat in enumerate(model.geom_quat):
            mat_9 = np.zeros(9)
            mujoco.mju_quat2Mat(mat_9, quat)
            self._mat_G33[geom] = mat_9.reshape(3, 3)

    def follow(self, model: mujoco.MjModel, data: mujoco.MjData) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """The drawn model and its data as the simulation is now.

        Args:
            model: The simulation's model, for the colours of its sites.
            data: The simulation; positions must be current.
        """
        mine, bodies_G = self._data, self._model.geom_bodyid
        turn_G33 = data.xmat[bodies_G].reshape(-1, 3, 3)
        mine.geom_xpos[:] = data.xpos[bodies_G] + (turn_G33 @ self._pos_G31)[:, :, 0]
        mine.geom_xmat[:] = (turn_G33 @ self._mat_G33).reshape(-1, 9)
        mine.site_xpos[:], mine.site_xmat[:] = data.site_xpos, data.site_xmat
        mine.cam_xpos[:], mine.cam_xmat[:] = data.cam_xpos, data.cam_xmat
        mine.light_xpos[:], mine.light_xdir[:] = data.light_xpos, data.light_xdir
        # LIBERO hides sites by a negative alpha; MuJoCo draws them all the same, and twice, as everything transparent.
        np.maximum(model.site_rgba, 0.0, out=self._model.site_rgba)
        return self._model, mine
