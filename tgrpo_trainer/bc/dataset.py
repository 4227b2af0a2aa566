"""Demonstrations in LIBERO's HDF5 format as tensors: upright pictures, proprioception, chunks of the next actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tgrpo_envs.errors import CheckpointError
from tgrpo_envs.tasks import Task
from tgrpo_trainer.bc.demo_file import (
    StoredDemo,
    demonstration_groups,
    file_instruction,
    open_demonstrations,
    read_demo,
    refuse_other_control,
    refuse_other_task,
    stated_pictures,
    stated_rows,
)
from tgrpo_trainer.bc.demo_layout import Evidence, Layout, find_layout, gather_evidence
from tgrpo_trainer.config import Pictures, Rows


@dataclass(frozen=True)
class DemoDataset:
    """M decisions of demonstrations of one or more tasks: every control step is the start of one.

    Attributes:
        agentview_MHWC: uint8, upright.
        wrist_MHWC: uint8, upright.
        proprio_MP: float32, the environment's `proprio`.
        actions_MCA: float32 in [-1, 1], the expert's next C actions; past the end its last one repeats.
        valid_MC: bool, False for those repeats.
        task_M: int64, the place of the row's task in `instructions`.
        instructions: The tasks in words.
        layout: How the files were read, in words.
    """

    agentview_MHWC: Tensor
    wrist_MHWC: Tensor
    proprio_MP: Tensor
    actions_MCA: Tensor
    valid_MC: Tensor
    task_M: Tensor
    instructions: tuple[str, ...]
    layout: str = ""

    def __len__(self) -> int:
        return self.proprio_MP.shape[0]

    @classmethod
    def cat(cls, parts: Sequence[DemoDataset]) -> DemoDataset:
        """The rows of all parts, at least one; parts of equal instruction are of one task."""
        if len(parts) == 1:
            return parts[0]
        instructions = tuple(dict.fromkeys(words for part in parts for words in part.instructions))
        places = [torch.tensor([instructions.index(words) for words in part.instructions]) for part in parts]
        rows = ("agentview_MHWC", "wrist_MHWC", "proprio_MP", "actions_MCA", "valid_MC")
        return cls(
            **{name: torch.cat([getattr(part, name) for part in parts]) for name in rows},
            task_M=torch.cat([place[part.task_M] for place, part in zip(places, parts, strict=True)]),
            instructions=instructions,
            layout="; ".join(dict.fromkeys(part.layout for part in parts)),
        )


def load_demonstrations(
    path: Path,
    *,
    action_chunk: int,
    image_size: int,
    task: Task | None = None,
    instruction: str | None = None,
    rows: Rows | None = None,
    pictures: Pictures | None = None,
) -> DemoDataset:
    """Read a demonstration file: tgrpo's own, LIBERO's, or one regenerated as OpenVLA does.

    Labels are `expert_actions` where the file has them (the expert's clean answer while noise was executed), else
    `actions`. Where rows were seen after their actions, a row's label is the next row's action, and a demonstration's
    last row has none. Which it is, and which way up pictures are stored, comes from the caller, the file's attributes
    or the motion in it (docs/demonstrations.md). Larger pictures are shrunk.

    Args:
        path: The HDF5 file.
        action_chunk: C, actions a decision.
        image_size: Side of the pictures wanted, in pixels.
        task: The task they are learnt for; None takes any.
        instruction: Words to learn the task under; None takes the file's. Give the environment's, since LIBERO's files
            and file names word some tasks differently.
        rows: Whether rows were seen before or after their actions; None finds out.
        pictures: How pictures are stored: opengl (upside down), upright, turned (opengl turned by 180 degrees) or
            mirrored (opengl with left and right exchanged); None finds out.

    Raises:
        CheckpointError: The file is missing or damaged, lacks something needed, holds smaller pictures, was recorded
            with another controller, is of another of LIBERO's tasks, does not tell how it is laid out, or contradicts
            what is said of it.
    """
    with open_demonstrations(path) as data:
        refuse_other_control(data)
        if task is not None:
            refuse_other_task(data, task)
        words = instruction or file_instruction(data)
        stated = stated_rows(data), stated_pictures(data)
        demos: list[StoredDemo] = []
        evidence: list[Evidence] = []
        for group in demonstration_groups(data):
            demo = read_demo(group)
            evidence.append(
                gather_evidence(demo.name, demo.actions_TA, demo.pose_TQ, demo.agentview_THWC, demo.wrist_THWC)
            )
            # Only the small pictures are kept, since the evidence needs the whole file.
            demos.append(
                replace(
                    demo,
                    agentview_THWC=_shrink(path, demo, demo.agentview_THWC, image_size),
                    wrist_THWC=_shrink(path, demo, demo.wrist_THWC, image_size),
                )
            )
    if len({demo.labels_TA is demo.actions_TA for demo in demos}) > 1:
        raise CheckpointError(
            f"{path}: only some demonstrations have expert_actions, so that clean and executed actions would be learnt "
            "together; add or delete them everywhere."
        )
    layout = find_layout(str(path), evidence, (rows, pictures), stated)
    parts = [_decisions(demo, layout, action_chunk) for demo in demos if layout.rows == "before" or len(demo) > 1]
    if not parts:
        raise CheckpointError(f"{path}: every demonstration is one row seen after its only action; nothing to learn.")
    agentview, wrist, proprio, actions, valid = (
        torch.from_numpy(np.concatenate(column)) for column in zip(*parts, strict=True)
    )
    first = torch.zeros(len(proprio), dtype=torch.int64)
    return DemoDataset(agentview, wrist, proprio, actions, valid, first, (words,), str(layout))


def _decisions(demo: StoredDemo, layout: Layout, action_chunk: int) -> tuple[NDArray[np.generic], ...]:
    """One demonstration's columns of `DemoDataset`, in their order; a row seen after its action has the next label."""
    before = layout.rows == "before"
    seen, asked = (slice(None), slice(None)) if before else (slice(-1), slice(1, None))
    actions_TCA, valid_TC = chunk_targets(demo.labels_TA[asked].astype(np.float32), action_chunk)
    return (
        _upright(demo.agentview_THWC[seen], layout.agentview),
        _upright(demo.wrist_THWC[seen], layout.wrist),
        demo.proprio_TP(layout.rows)[seen],
        actions_TCA,
        valid_TC,
    )


def chunk_targets(actions_TA: NDArray[np.float32], action_chunk: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The next C actions from every step (T, C, A), and which exist (T, C); past the end the last one repeats."""
    steps = len(actions_TA)
    index_TC = np.arange(steps)[:, None] + np.arange(action_chunk)
    return actions_TA[np.minimum(index_TC, steps - 1)], index_TC < steps


def _upright(images_THWC: NDArray[np.uint8], flips: tuple[bool, bool]) -> NDArray[np.uint8]:
    reverse_rows, reverse_columns = flips
    return images_THWC[:, :: -1 if reverse_rows else 1, :: -1 if reverse_columns else 1]


def _shrink(path: Path, demo: StoredDemo, images_THWC: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """Pictures of the size wanted, by averaging."""
    side = images_THWC.shape[1]
    if side < image_size:
        raise CheckpointError(
            f"{path}: {demo.name} has pictures of {side} pixels, too few for {image_size}; record it at that size."
        )
    if side == image_size:
        return images_THWC
    pixels_TCHW = torch.from_numpy(images_THWC).permute(0, 3, 1, 2).float()
    shrunk_TCHW = torch.nn.functional.interpolate(pixels_TCHW, size=(image_size, image_size), mode="area")
    return np.ascontiguousarray(shrunk_TCHW.round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
