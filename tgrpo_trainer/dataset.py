"""Demonstrations in LIBERO's HDF5 format as tensors: upright pictures, proprioception, chunks of the next actions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.types import ACTION_DIM

GRIPPER_RAMP = 0.25
"""Change of the gripper's commanded state in one control step: robosuite moves it by 0.01 in each of 25 substeps."""
ACTION_TOLERANCE = 1e-6
PICTURES = ("agentview_rgb", "eye_in_hand_rgb")
BEFORE_ACTION = "before its action"
"""Value of the attribute `observation_row` in files whose row t is what was seen before action t. LIBERO's own files
lack it: there, row t is what was seen after action t."""


@dataclass(frozen=True)
class DemoDataset:
    """M decisions of demonstrations of one task: every control step is the start of one.

    Attributes:
        agentview_MHWC: uint8, upright.
        wrist_MHWC: uint8, upright.
        proprio_MP: float32, the environment's `proprio`.
        actions_MCA: float32 in [-1, 1], the expert's next C actions; past the end its last one repeats.
        valid_MC: bool, False for those repeats.
        instruction: The task in words.
    """

    agentview_MHWC: Tensor
    wrist_MHWC: Tensor
    proprio_MP: Tensor
    actions_MCA: Tensor
    valid_MC: Tensor
    instruction: str

    def __len__(self) -> int:
        return self.proprio_MP.shape[0]


def load_demonstrations(
    path: Path, *, action_chunk: int, image_size: int, instruction: str | None = None
) -> DemoDataset:
    """Read a demonstration file, its own or LIBERO's.

    Labels are `expert_actions` where the file has them (the expert's clean answer while noise was executed), else
    `actions`. LIBERO's own files hold what was seen after each action, so there a row's label is the next action, and
    proprioception is rebuilt from their fields. Larger pictures are shrunk.

    Args:
        path: The HDF5 file.
        action_chunk: C, actions a decision.
        image_size: Side of the pictures wanted, in pixels.
        instruction: Words to learn the task under; None takes the file's. Give the environment's, since LIBERO's files
            and file names word some tasks differently.

    Raises:
        CheckpointError: The file is missing or damaged, lacks something needed, or holds smaller pictures.
    """
    try:
        with h5py.File(path, "r") as file:
            data = file["data"]
            words = instruction or json.loads(data.attrs["problem_info"])["language_instruction"]
            read = _read_demo if data.attrs.get("observation_row") == BEFORE_ACTION else _read_libero_demo
            demos = [read(data[name], action_chunk, image_size, words) for name in _demo_names(data)]
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is not a readable demonstration file in LIBERO's format: {error}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if not demos:
        raise CheckpointError(f"{path} holds no demonstrations (groups data/demo_0, data/demo_1, ...).")
    return DemoDataset(
        agentview_MHWC=torch.cat([demo.agentview_MHWC for demo in demos]),
        wrist_MHWC=torch.cat([demo.wrist_MHWC for demo in demos]),
        proprio_MP=torch.cat([demo.proprio_MP for demo in demos]),
        actions_MCA=torch.cat([demo.actions_MCA for demo in demos]),
        valid_MC=torch.cat([demo.valid_MC for demo in demos]),
        instruction=words,
    )


def _demo_names(data: Mapping[str, Any]) -> list[str]:
    """demo_0, demo_1, ... in the order of their numbers (HDF5 sorts demo_10 before demo_2)."""
    return sorted((name for name in data if name.startswith("demo_")), key=lambda name: int(name.split("_")[1]))


def _read_demo(demo: Mapping[str, Any], action_chunk: int, image_size: int, instruction: str) -> DemoDataset:
    """A demonstration whose rows are what was seen before their actions."""
    labels = demo["expert_actions"] if "expert_actions" in demo else demo["actions"]
    pictures = [np.asarray(demo["obs"][name]) for name in PICTURES]
    return _decisions(pictures, demo["obs"]["proprio"], labels, action_chunk, image_size, instruction)


def _read_libero_demo(demo: Mapping[str, Any], action_chunk: int, image_size: int, instruction: str) -> DemoDataset:
    """A demonstration of LIBERO's own: the label of a row is the next row's action, and the last row has none."""
    pictures = [np.asarray(demo["obs"][name])[:-1] for name in PICTURES]
    proprio_TP = _rebuild_proprio(demo["obs"], demo["actions"])[:-1]
    return _decisions(pictures, proprio_TP, demo["actions"][1:], action_chunk, image_size, instruction)


def _decisions(
    pictures: Sequence[NDArray[np.uint8]], proprio: Any, labels: Any, action_chunk: int, image_size: int, words: str
) -> DemoDataset:
    """One demonstration's decisions, checked."""
    actions_TA, proprio_TP = np.asarray(labels, np.float32), np.asarray(proprio, np.float32)
    if actions_TA.ndim != 2 or actions_TA.shape[1] != ACTION_DIM or not len(actions_TA):
        raise ValueError(f"its actions have shape {actions_TA.shape} instead of (steps, {ACTION_DIM}).")
    if not np.abs(actions_TA).max() <= 1.0 + ACTION_TOLERANCE:
        raise ValueError("its actions leave [-1, 1] or are not numbers; record it again.")
    actions_TCA, valid_TC = chunk_targets(actions_TA, action_chunk)
    agentview_THWC, wrist_THWC = (_upright(images, image_size) for images in pictures)
    lengths = [len(agentview_THWC), len(wrist_THWC), len(proprio_TP), len(actions_TA)]
    if len(set(lengths)) != 1:
        raise ValueError(f"a demonstration has {lengths} pictures, wrist pictures, proprio rows and actions.")
    return DemoDataset(
        agentview_MHWC=torch.from_numpy(agentview_THWC),
        wrist_MHWC=torch.from_numpy(wrist_THWC),
        proprio_MP=torch.from_numpy(proprio_TP),
        actions_MCA=torch.from_numpy(actions_TCA),
        valid_MC=torch.from_numpy(valid_TC),
        instruction=words,
    )


def chunk_targets(actions_TA: NDArray[np.float32], action_chunk: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The next C actions from every step (T, C, A), and which exist (T, C); past the end the last one repeats."""
    steps = len(actions_TA)
    index_TC = np.arange(steps)[:, None] + np.arange(action_chunk)
    return actions_TA[np.minimum(index_TC, steps - 1)], index_TC < steps


def _upright(images_THWC: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """Turn LIBERO's upside-down pictures (OpenGL's row order) and shrink them to the size wanted."""
    side = images_THWC.shape[1]
    if side < image_size:
        raise ValueError(f"its pictures are {side} pixels wide, too few for {image_size}; record it at that size.")
    flipped_THWC = np.ascontiguousarray(images_THWC[:, ::-1])
    if side == image_size:
        return flipped_THWC
    pixels_TCHW = torch.from_numpy(flipped_THWC).permute(0, 3, 1, 2).float()
    shrunk_TCHW = torch.nn.functional.interpolate(pixels_TCHW, size=(image_size, image_size), mode="area")
    return np.ascontiguousarray(shrunk_TCHW.round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def _rebuild_proprio(obs: Mapping[str, Any], executed_TA: Any) -> NDArray[np.float32]:
    """The environment's proprio (T, 12) from what LIBERO's own files hold.

    LIBERO gives the orientation of the hand as an axis times an angle; the environment gives the gripper's site, which
    robosuite's panda_gripper.xml turns by -90 degrees about the hand's z: its x is the hand's -y, its y the hand's x.
    The commanded gripper state follows from the actions, starting open as LIBERO's demonstrations do.
    """
    hand_T33 = _rotation_matrices(np.asarray(obs["ee_ori"], np.float64))
    directions_T = np.sign(np.asarray(executed_TA, np.float64)[:, -1])
    commanded_T = np.empty(len(directions_T))
    state = -1.0
    for step, direction in enumerate(directions_T):
        state = float(np.clip(state + GRIPPER_RAMP * direction, -1.0, 1.0))
        commanded_T[step] = state
    parts = (obs["ee_pos"], -hand_T33[:, :, 1], hand_T33[:, :, 0], obs["gripper_states"], commanded_T[:, None])
    return np.concatenate([np.asarray(part, np.float64) for part in parts], axis=1).astype(np.float32)


def _rotation_matrices(axis_angle_T3: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rodrigues' formula: (T, 3) axis times angle in radians to (T, 3, 3)."""
    angle_T1 = np.linalg.norm(axis_angle_T3, axis=1, keepdims=True)
    x, y, z = (axis_angle_T3 / np.maximum(angle_T1, np.finfo(np.float64).tiny)).T
    zero = np.zeros_like(x)
    cross_T33 = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    sin_T11, cos_T11 = np.sin(angle_T1)[:, :, None], np.cos(angle_T1)[:, :, None]
    rotation_T33: NDArray[np.float64] = np.eye(3) + sin_T11 * cross_T33 + (1.0 - cos_T11) * (cross_T33 @ cross_T33)
    return rotation_T33
