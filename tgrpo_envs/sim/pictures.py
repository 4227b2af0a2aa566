"""What a picture can be of: which camera, and whether colours, depth or segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import UnknownNameError
from tgrpo_envs.sim.engine import mujoco

if TYPE_CHECKING:
    from tgrpo_envs.scene.records import SceneRecord

# Short camera names to those of LIBERO's models.
CAMERAS = {"agentview": "agentview", "wrist": "robot0_eye_in_hand"}

BACKGROUND, ROBOT, FIRST_OBJECT = 0, 1, 2  # rows of the segmentation table

Kind = Literal["rgb", "depth", "segmentation"]
Image = NDArray[np.generic]
_DTYPES: dict[Kind, type[np.generic]] = {"rgb": np.uint8, "depth": np.float32, "segmentation": np.int32}
_SUFFIXES: dict[str, Kind] = {"_depth": "depth", "_segmentation": "segmentation"}


class Picture(NamedTuple):
    """A camera's name and what is drawn of it."""

    camera: str
    kind: Kind

    def shape(self, size: int) -> tuple[int, ...]:
        """(H, W, 3) of colours, else (H, W)."""
        return (size, size, 3) if self.kind == "rgb" else (size, size)

    @property
    def dtype(self) -> type[np.generic]:
        """uint8 colours, float32 metres along the camera's axis, int32 rows of the segmentation table."""
        return _DTYPES[self.kind]


@cache
def parse_picture(key: str) -> Picture:
    """``wrist`` is the wrist camera's colours, ``wrist_depth`` its depth, ``wrist_segmentation`` its segmentation."""
    for suffix, kind in _SUFFIXES.items():
        if key.endswith(suffix):
            return Picture(key.removesuffix(suffix), kind)
    return Picture(key, "rgb")


def by_camera(images: Mapping[Picture, Image]) -> dict[str, dict[Kind, Image]]:
    """The arrays of each camera by what is drawn of it, in the order in which cameras first appear."""
    found: dict[str, dict[Kind, Image]] = {}
    for picture, image in images.items():
        found.setdefault(picture.camera, {})[picture.kind] = image
    return found


def camera_id(model: mujoco.MjModel, name: str) -> int:
    """The model's number of a camera: ``agentview``, ``wrist``, or any other camera of the scene.

    Raises:
        UnknownNameError: The scene has no such camera; the message names the nearest.
    """
    found = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, CAMERAS.get(name, name))
    if found < 0:
        names = [*CAMERAS, *(model.camera(i).name for i in range(model.ncam))]
        raise UnknownNameError("camera", name, dict.fromkeys(names))
    return int(found)


def moves(model: mujoco.MjModel, name: str) -> bool:
    """Whether a camera is on a body that joints move."""
    return bool(model.body_weldid[model.cam_bodyid[camera_id(model, name)]])


def segmentation_names(record: SceneRecord) -> tuple[str, ...]:
    """What the numbers of a segmentation stand for: ``background``, ``robot``, then the scene's objects in order."""
    return ("background", "robot", *(entry.name for entry in record.objects))


def body_rows(model: mujoco.MjModel, record: SceneRecord) -> NDArray[np.int32]:
    """Row of the segmentation table of each body: its own, or that of the object it is a part of."""
    robot_root = model.body_rootid[model.site_bodyid[record.robot.grip_site]]
    rows_B = np.where(model.body_rootid == robot_root, ROBOT, BACKGROUND).astype(np.int32)
    roots = {entry.body: FIRST_OBJECT + row for row, entry in enumerate(record.objects)}
    for body in range(1, model.nbody):  # parents come before their children
        parent = int(model.body_parentid[body])
        rows_B[body] = roots.get(body, rows_B[parent] if rows_B[parent] >= FIRST_OBJECT else rows_B[body])
    return rows_B
