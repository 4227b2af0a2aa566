"""Copies one environment's poses and contacts from mjData into its rows of the snapshot, compiled and lock-free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.snapshot import Snapshot

if TYPE_CHECKING:
    from tgrpo_envs.scene.scene import Scene

NONE = -1
ARM = 7  # arm joints come first in qpos, then the two fingers
# A finger holds against the other where it presses within 60 degrees of the direction in which they close: rims of
# plates slope by 55. Shut fingers that shove a can of 3 cm radius press at 70 degrees or more, that press down at 90.
MIN_CLOSING_COSINE = 0.5
MIN_OPENING_M = 0.0025  # walls of bowls are held by their edge with 3.3 mm between the fingers


class SnapshotWriter:
    """Fills a snapshot row from an mjData.

    Args:
        scene: Gives names, ids and the layout.
        snapshot: The arrays to write.
    """

    def __init__(self, scene: Scene, snapshot: Snapshot) -> None:
        record = scene.record
        geom_object, geom_pad, geom_finger = np.full((3, scene.model.ngeom), NONE, dtype=np.int64)
        geom_gripper = np.zeros(scene.model.ngeom, dtype=bool)
        for row, entry in enumerate(record.objects):
            geom_object[list(entry.geoms)] = row
        for side, geoms in enumerate(record.robot.pad_geoms):
            geom_pad[list(geoms)] = side
            geom_finger[_finger_geoms(scene.model, geoms[0])] = side
        geom_gripper[list(record.robot.gripper_geoms)] = True
        joint_of_body = scene.model.body_jntadr
        self._ids = (
            np.array([entry.body for entry in record.objects], dtype=np.int64),
            np.array(
                [
                    NONE if entry.qpos_address is None else scene.model.jnt_dofadr[joint_of_body[entry.body]]
                    for entry in record.objects
                ],
                dtype=np.int64,
            ),
            np.array([entry.site for entry in record.sites], dtype=np.int64),
            np.array([entry.qpos_address for entry in record.joints], dtype=np.int64),
            geom_object,
            geom_pad,
            geom_finger,
            geom_gripper,
        )
        self._grip_site = record.robot.grip_site
        self._snapshot = snapshot

    def write(self, row: int, data: mujoco.MjData) -> None:
        """Fill `row` with what LIBERO's predicates would read from `data` now."""
        s = self._snapshot
        _write(
            (data.xpos, data.xmat, data.site_xpos, data.site_xmat, data.qpos, data.qvel),
            (data.contact.geom, data.contact.frame),
            self._ids,
            self._grip_site,
            (s.object_pos_NO3[row], s.object_mat_NO33[row], s.object_speed_NO[row]),
            (s.site_pos_NS3[row], s.site_mat_NS33[row], s.joint_qpos_NJ[row]),
            (s.gripper_pos_N3[row], s.gripper_mat_N33[row], s.finger_qpos_N2[row]),
            (s.contact_NOO[row], s.pad_contact_NO2[row], s.finger_contact_NO2[row], s.touch_NO[row]),
        )


def _finger_geoms(model: mujoco.MjModel, pad: int) -> list[int]:
    """Geoms of the finger that ends in this pad: of the pad's body and of the one it is fixed to."""
    tip = model.geom_bodyid[pad]
    bodies = (tip, model.body_parentid[tip])
    return [geom for geom in range(model.ngeom) if model.geom_bodyid[geom] in bodies]


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _write(
    state: Any, touching: Any, ids: Any, grip_site: int, objects: Any, sites: Any, gripper: Any, contacts: Any
) -> None:
    xpos, xmat, site_xpos, site_xmat, qpos, qvel = state
    contact_geoms, contact_frames = touching
    bodies_O, dofs_O, sites_S, joints_J, geom_object, geom_pad, geom_finger, geom_gripper = ids
    object_pos_O3, object_mat_O33, object_speed_O = objects
    site_pos_S3, site_mat_S33, joint_qpos_J = sites
    gripper_pos_3, gripper_mat_33, finger_qpos_2 = gripper
    contact_OO, pad_contact_O2, finger_contact_O2, touch_O = contacts
    for o in range(bodies_O.size):
        _pose(xpos[bodies_O[o]], xmat[bodies_O[o]], object_pos_O3[o], object_mat_O33[o])
        dof = dofs_O[o]
        if dof >= 0:
            object_speed_O[o] = np.sqrt(qvel[dof] ** 2 + qvel[dof + 1] ** 2 + qvel[dof + 2] ** 2)
    for s in range(sites_S.size):
        _pose(site_xpos[sites_S[s]], site_xmat[sites_S[s]], site_pos_S3[s], site_mat_S33[s])
    for k in range(joints_J.size):
        joint_qpos_J[k] = qpos[joints_J[k]]
    _pose(site_xpos[grip_site], site_xmat[grip_site], gripper_pos_3, gripper_mat_33)
    finger_qpos_2[:] = qpos[ARM : ARM + 2]
    is_open = finger_qpos_2[0] - finger_qpos_2[1] >= MIN_OPENING_M
    contact_OO[:], pad_contact_O2[:], finger_contact_O2[:], touch_O[:] = False, False, False, False
    for c in range(contact_geoms.shape[0]):
        a, b = contact_geoms[c, 0], contact_geoms[c, 1]
        # MuJoCo's normal points from the first geom to the second, and the left finger closes along the column.
        frame = contact_frames[c]
        closing = frame[0] * gripper_mat_33[0, 0] + frame[1] * gripper_mat_33[1, 0] + frame[2] * gripper_mat_33[2, 0]
        for row, other, pressed in ((geom_object[a], b, -closing), (geom_object[b], a, closing)):
            if row < 0:
                continue
            if geom_object[other] >= 0 and geom_object[other] != row:
                contact_OO[row, geom_object[other]] = True
            if geom_pad[other] >= 0:
                pad_contact_O2[row, geom_pad[other]] = True
            side = geom_finger[other]
            if is_open and side >= 0 and (pressed if side == 0 else -pressed) >= MIN_CLOSING_COSINE:
                finger_contact_O2[row, side] = True
            if geom_gripper[other]:
                touch_O[row] = True


@njit(inline="always")  # type: ignore[untyped-decorator]
def _pose(pos: Any, mat: Any, pos_3: Any, mat_33: Any) -> None:
    for i in range(3):
        pos_3[i] = pos[i]
        for j in range(3):
            mat_33[i, j] = mat[3 * i + j]
