"""Recorded demonstrations written again in the layouts that public files have, each row marked with where it belongs.

The first pixel of every upright picture holds (demonstration, step // 256, step % 256), so that every row that was read
can be asked whether it has that step's action.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tgrpo_trainer.bc.dataset import DemoDataset
from tgrpo_trainer.bc.demo_layout import FLIPS
from tgrpo_trainer.config import Pictures

PICTURES = ("agentview_rgb", "eye_in_hand_rgb")
Demo = dict[str, NDArray[Any]]
"""Datasets of one demonstration by their path in it; rows before their actions, pictures upright and marked."""


@dataclass
class Contents:
    """What goes into a file; change it at will before `write`."""

    demos: dict[str, Demo]
    attributes: dict[str, Any] = field(default_factory=dict)
    compression: str | None = None

    def write(self, path: Path) -> Path:
        with h5py.File(path, "w") as file:
            data = file.create_group("data")
            for name, value in self.attributes.items():
                data.attrs[name] = value
            for name, demo in self.demos.items():
                group = data.create_group(name)
                for field_name, array in demo.items():
                    chunked = {"compression": self.compression} if self.compression and array.size else {}
                    group.create_dataset(field_name, data=array, **chunked)
        return path


def read_marked(path: Path) -> list[Demo]:
    """The demonstrations of a file that tgrpo recorded, ready to be laid out otherwise."""
    demos: list[Demo] = []
    with h5py.File(path, "r") as file:
        for index in range(len(file["data"])):
            group, demo = file[f"data/demo_{index}"], {}
            for name in ("actions", "expert_actions", "states", "robot_states", "rewards", "dones"):
                demo[name] = group[name][()]
            for name in group["obs"]:
                demo[f"obs/{name}"] = group[f"obs/{name}"][()]
            steps = np.arange(len(demo["actions"]))
            for name in PICTURES:
                upright_THWC = demo[f"obs/{name}"][:, ::-1].copy()
                upright_THWC[:, 0, 0] = np.stack([np.full_like(steps, index), steps // 256, steps % 256], axis=1)
                demo[f"obs/{name}"] = upright_THWC
            demos.append(demo)
    return demos


def lay_out(demos: list[Demo], layout: str, pictures: Pictures = "opengl") -> Contents:
    """The same demonstrations as another program would have stored them.

    Args:
        demos: From `read_marked`.
        layout: ours; no_noops, OpenVLA's regenerated files: no attribute, rows before their actions; libero: rows after
            their actions, without the first five and without what was seen before the first action.
        pictures: One of `FLIPS`.
    """
    contents = Contents({})
    reverse_rows, reverse_columns = FLIPS[pictures]
    for index, demo in enumerate(demos):
        stored = dict(demo)
        if layout != "ours":
            del stored["expert_actions"], stored["obs/proprio"]
        if layout == "libero":
            seen = {name for name in stored if name.startswith("obs/") or name == "robot_states"}
            stored = {name: array[6:] if name in seen else array[5:-1] for name, array in stored.items()}
        for name in PICTURES:
            rows, columns = -1 if reverse_rows else 1, -1 if reverse_columns else 1
            stored[f"obs/{name}"] = stored[f"obs/{name}"][:, ::rows, ::columns]
        contents.demos[f"demo_{index}"] = stored
    if layout == "ours":
        contents.attributes["observation_row"] = "before its action"
    return contents


def wrong_rows(
    dataset: DemoDataset, demos: list[Demo], labels: str, *, tolerance: float = 1e-6, posed: bool = True
) -> int:
    """How many rows have not the action that was asked for when their pictures were taken, or another moment's pose.

    Args:
        dataset: As it was read, with pictures of the stored size.
        demos: The truth, from `read_marked`.
        labels: Where the truth stands: actions, or expert_actions.
        tolerance: For numbers stored with less precision.
        posed: Whether the file has true poses.
    """
    wrong = 0
    marks_M3, wrist_marks_M3 = dataset.agentview_MHWC[:, 0, 0].numpy(), dataset.wrist_MHWC[:, 0, 0].numpy()
    for row, (mark, wrist_mark) in enumerate(zip(marks_M3, wrist_marks_M3, strict=True)):
        index, step = int(mark[0]), 256 * int(mark[1]) + int(mark[2])
        if index >= len(demos) or step >= len(demos[index][labels]) or not np.array_equal(mark, wrist_mark):
            wrong += 1
            continue
        asked_CA = demos[index][labels][step:]
        action_CA, valid_C = dataset.actions_MCA[row].numpy(), dataset.valid_MC[row].numpy()
        expected_CA = asked_CA[: valid_C.sum()]
        near = expected_CA.shape == action_CA[valid_C].shape and np.allclose(
            action_CA[valid_C], expected_CA, atol=tolerance
        )
        pose = not posed or np.allclose(
            dataset.proprio_MP[row, :3].numpy(), demos[index]["obs/ee_pos"][step], atol=tolerance
        )
        wrong += not (near and pose)
    return wrong
