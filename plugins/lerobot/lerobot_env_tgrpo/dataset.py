"""Demonstrations in LIBERO's HDF5 format as a LeRobotDataset, in the form of the published `lerobot/libero`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from lerobot_env_tgrpo.config import FPS, STATE_SIZE
from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_envs.settings import ACTION_SIZE

PICTURES = {f"{OBS_IMAGES}.image": "agentview_rgb", f"{OBS_IMAGES}.image2": "eye_in_hand_rgb"}
ROW_BEFORE_ACTION = "before its action"


def write_dataset(files: Sequence[Path], out: Path, repo_id: str) -> str:
    """Write the episodes of the files, which `python -m tgrpo_envs demos` recorded, as one data set.

    A frame is the observation before its action, at 20 frames a second: pictures turned by 180 degrees from how LIBERO
    draws them, the state of eight numbers, the executed action of seven.

    Args:
        files: HDF5 files, one for each task, all with pictures of one size.
        out: The data set's folder, which must not exist yet.
        repo_id: Its name, ``owner/name``.

    Returns:
        A sentence about what was written.

    Raises:
        ConfigError: The folder exists, there is no file, or they have pictures of several sizes; nothing is written.
        CheckpointError: One is no such file.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already; name a folder that does not.")
    sizes = sorted({_picture_size(path) for path in files})
    if len(sizes) != 1:
        raise ConfigError(
            f"Files with pictures of one size make a data set; {len(files)} with {sizes} pixels were given."
        )
    (size,) = sizes
    picture = {"dtype": "video", "shape": (size, size, 3), "names": ["height", "width", "channel"]}
    features = {
        **dict.fromkeys(PICTURES, picture),
        OBS_STATE: {"dtype": "float32", "shape": (STATE_SIZE,), "names": None},
        ACTION: {"dtype": "float32", "shape": (ACTION_SIZE,), "names": None},
    }
    dataset = LeRobotDataset.create(repo_id, fps=FPS, features=features, root=out, robot_type="panda")
    try:
        for path in files:
            with h5py.File(path) as file:
                _add_file(dataset, file["data"])
    finally:
        dataset.finalize()
    return f"{out}: {dataset.num_episodes} episodes, {dataset.num_frames} frames."


def _picture_size(path: Path) -> int:
    """Side of a file's pictures, pixels, where it is one that can be written.

    Raises:
        CheckpointError: It is not.
    """
    try:
        with h5py.File(path) as file:
            data = file["data"]
            if data.attrs.get("observation_row") != ROW_BEFORE_ACTION:
                raise CheckpointError(
                    f"{path} does not say that its rows are observations before their action; record it anew."
                )
            json.loads(data.attrs["problem_info"])["language_instruction"]
            sizes = {
                data[f"demo_{number}/obs/agentview_rgb"].shape[1] for number in range(int(data.attrs["num_demos"]))
            }
            (size,) = sizes
            return int(size)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is no file of `python -m tgrpo_envs demos` ({' '.join(str(error).split())}); record it anew."
        ) from error


def _add_file(dataset: LeRobotDataset, data: h5py.Group) -> None:
    instruction = json.loads(data.attrs["problem_info"])["language_instruction"]
    for number in range(int(data.attrs["num_demos"])):
        demo = data[f"demo_{number}"]
        obs = demo["obs"]
        states_T8 = np.hstack([obs["ee_states"], obs["gripper_states"]]).astype(np.float32)
        actions_TA = demo["actions"][()].astype(np.float32)
        pictures = {name: obs[key][()][:, ::-1, ::-1] for name, key in PICTURES.items()}
        for t, (state_8, action_A) in enumerate(zip(states_T8, actions_TA, strict=True)):
            frame = {name: pictures_THWC[t] for name, pictures_THWC in pictures.items()}
            dataset.add_frame({**frame, OBS_STATE: state_8, ACTION: action_A, "task": instruction})
        dataset.save_episode()
