"""Reads and checks the fields of a demonstration file; an error names the field's place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import BddlError, CheckpointError
from tgrpo_envs.files import load_json
from tgrpo_envs.tasks import CUSTOM, Task, list_tasks, task_from_text
from tgrpo_trainer.config import Pictures, Rows
from tgrpo_trainer.types import ACTION_DIM

Float = NDArray[np.float64]
T = TypeVar("T")
Goal = tuple[tuple[str, ...], ...]

PROPRIO_DIM = 12
GRIPPER_RAMP = 0.25
"""Change of the gripper's commanded state in one control step: robosuite moves it by 0.01 in each of 25 substeps."""
MAX_ACTION = 1.0 + 1e-6
MAX_POSE = 10.0  # metres: nothing of a LIBERO scene is farther away, and rotations and joints are smaller
MAX_ANGLE = 2 * np.pi + 1e-3  # robosuite's axis times angle keeps the angle in [0, 2 pi]
MAX_SHIFT = 2  # rows by which labels are looked for elsewhere
MAX_BYTES = 2**32  # of one array; a damaged or foreign header may promise more than memory holds
ROWS: dict[str, Rows] = {"before its action": "before", "after its action": "after"}
"""Values of the attribute `observation_row`. Files that tgrpo records have it, LIBERO's and OpenVLA's do not."""
CONVENTIONS: dict[str, Pictures] = {"opengl": "opengl", "opencv": "upright"}
"""Values of robosuite's attribute `macros_image_convention`, which LIBERO's files have and OpenVLA's do not."""

CONTROL = {"type": "OSC_POSE", "control_delta": True, "output_max": [0.05, 0.05, 0.05, 0.5, 0.5, 0.5]}
"""LIBERO's controller in robosuite's words: metres and radians of the largest action are those of its environments."""


@dataclass(frozen=True)
class StoredDemo:
    """One demonstration of T rows as it is stored.

    Attributes:
        name: Its group, e.g. ``data/demo_0``.
        actions_TA: Executed actions.
        labels_TA: What to learn: the expert's clean answers where the file has them, else the executed actions.
        pose_TQ: The first eleven numbers of `proprio`: position, x and y axes of the gripper's site, finger joints.
        command_T: The last one, the gripper's commanded state; None where it has to be derived from the actions.
        agentview_THWC: Pictures, stored any way up.
        wrist_THWC: Pictures, stored any way up.
    """

    name: str
    actions_TA: Float
    labels_TA: Float
    pose_TQ: Float
    command_T: Float | None
    agentview_THWC: NDArray[np.uint8]
    wrist_THWC: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.actions_TA)

    def proprio_TP(self, rows: Rows) -> NDArray[np.float32]:
        """The environment's `proprio`.

        A command that the file lacks starts open, as LIBERO's demonstrations do, and follows the actions' signs.
        """
        command_T = self.command_T
        if command_T is None:
            state, after = -1.0, []
            for direction in np.sign(self.actions_TA[:, -1]):
                state = float(np.clip(state + GRIPPER_RAMP * direction, -1.0, 1.0))
                after.append(state)
            command_T = np.array(after if rows == "after" else [-1.0, *after[:-1]])
        return np.column_stack([self.pose_TQ, command_T]).astype(np.float32)


@contextmanager
def open_demonstrations(path: Path) -> Iterator[h5py.Group]:
    """The group ``data`` of a demonstration file.

    Raises:
        CheckpointError: It is missing, damaged or not HDF5, also where that shows only while it is read.
    """
    try:
        with h5py.File(path, "r") as file:
            data = file.get("data")
            if not isinstance(data, h5py.Group):
                raise CheckpointError(f"{path} has no group data; give a demonstration file in LIBERO's HDF5 format.")
            yield data
    except CheckpointError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(
            f"{path} is not a readable HDF5 file: {error}; check the path, or copy or record it again."
        ) from error


def demonstration_groups(data: h5py.Group) -> list[h5py.Group]:
    """The groups demo_0, demo_1, ... in the order of their numbers (HDF5 sorts demo_10 before demo_2).

    Raises:
        CheckpointError: There are none, or something else that looks like one.
    """
    numbered: dict[tuple[int, str], h5py.Group] = {}
    for name in data:
        match, item = re.fullmatch(r"demo_([0-9]{1,9})", name), data.get(name)
        if match is not None and isinstance(item, h5py.Group):
            numbered[int(match[1]), name] = item
        elif name.startswith("demo") or (isinstance(item, h5py.Group) and "actions" in item):
            raise CheckpointError(
                f"{data.file.filename}: {data.name}/{name} is not a group with a name like demo_0; rename it or take "
                "it out."
            )
    if not numbered:
        raise CheckpointError(f"{data.file.filename} holds no demonstrations (groups data/demo_0, data/demo_1, ...).")
    return [numbered[key] for key in sorted(numbered)]


def stated_rows(data: h5py.Group) -> Rows | None:
    """What the file says of its rows, None if nothing.

    Raises:
        CheckpointError: Something that nobody knows.
    """
    return _stated(data, "observation_row", ROWS)


def stated_pictures(data: h5py.Group) -> Pictures | None:
    """What the file says of its pictures; ours are OpenGL's way up.

    Raises:
        CheckpointError: Something that nobody knows.
    """
    stated = _stated(data, "macros_image_convention", CONVENTIONS)
    return "opengl" if stated is None and "observation_row" in data.attrs else stated


def refuse_other_control(data: h5py.Group) -> None:
    """Actions mean what they mean to LIBERO's controller, unless the file says that it was recorded with another one.

    Raises:
        CheckpointError: It says so.
    """
    try:
        options = load_json(data.attrs["env_args"])["env_kwargs"]
        stated = {"type": options.get("controller"), **options.get("controller_configs", {})}
    except (KeyError, TypeError, ValueError, AttributeError):
        return  # nothing that is known
    for name, meant in CONTROL.items():
        if stated.get(name) not in (None, meant):
            raise CheckpointError(
                f"{data.file.filename} was recorded with a controller whose {name} is {str(stated[name])[:80]}; the "
                f"trainer learns actions of LIBERO's own, whose {name} is {meant}. Record it again with that one."
            )


def refuse_other_task(data: h5py.Group, task: Task) -> None:
    """What shows one task is not learnt under the words of another.

    Files of LIBERO and of ours name their task, and ours hold its text. One that names none of LIBERO's and has no
    text, such as a copy's, is taken. A task file of one's own may be a copy, so there the goal decides, not the name.

    Raises:
        CheckpointError: It shows another one.
    """
    stated = PurePosixPath(_text(data, "bddl_file_name"))
    name, own = stated.stem, CUSTOM in (task.suite, stated.parent.name)
    goals = {one.name: one.goal for one in list_tasks()}
    if task.suite != CUSTOM and name != task.name and name in goals:
        raise CheckpointError(
            f"{data.file.filename} shows the task {name}, and would be learnt as {task.name}; give a file of that one, "
            "or with several tasks the files in the order of the tasks."
        )
    shown = _goal(name, _text(data, "bddl_file_content")) or goals.get(name)
    if own and shown is not None and set(shown) != set(task.goal):
        raise CheckpointError(
            f"{data.file.filename} shows {name} with the goal {_words(shown)}, and would be learnt as {task.name} with "
            f"the goal {_words(task.goal)}; record it again with the file as it is now, or give a file of that task."
        )


def _text(data: h5py.Group, attribute: str) -> str:
    value = data.attrs.get(attribute, "")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _goal(name: str, bddl: str) -> Goal | None:
    """The goal of a task's text; None where it is none that we can read."""
    try:
        return task_from_text(name, bddl).goal
    except BddlError:
        return None


def _words(goal: Goal) -> str:
    return " ".join(f"({' '.join(conjunct)})" for conjunct in goal)


def file_instruction(data: h5py.Group) -> str:
    """The task in the file's own words.

    Raises:
        CheckpointError: It has none.
    """
    try:
        words = load_json(data.attrs["problem_info"])["language_instruction"]
    except (KeyError, TypeError, ValueError):
        words = None
    if not isinstance(words, str) or not words:
        raise CheckpointError(
            f"{data.file.filename}: the attribute problem_info of data names no language_instruction; give the "
            "instruction yourself."
        )
    return words


def read_demo(group: h5py.Group) -> StoredDemo:
    """One demonstration.

    Raises:
        CheckpointError: A field is missing, or not what it should be.
    """
    actions_TA = _actions(group, "actions")
    steps = len(actions_TA)
    if steps == 0:
        raise CheckpointError(f"{_place(group)} holds no steps; take it out or record it again.")
    labels_TA = _actions(group, "expert_actions", steps) if "expert_actions" in group else actions_TA
    _refuse_shifted(group, actions_TA, labels_TA)
    obs = group.get("obs")
    if not isinstance(obs, h5py.Group):
        raise CheckpointError(f"{_place(group)} has no group obs; give a file in LIBERO's HDF5 format with pictures.")
    pose_TQ, command_T = _proprio(obs, steps)
    return StoredDemo(
        name=group.name.lstrip("/"),
        actions_TA=actions_TA,
        labels_TA=labels_TA,
        pose_TQ=pose_TQ,
        command_T=command_T,
        agentview_THWC=_pictures(obs, "agentview_rgb", steps),
        wrist_THWC=_pictures(obs, "eye_in_hand_rgb", steps),
    )


def _place(item: h5py.Group | h5py.Dataset) -> str:
    return f"{item.file.filename}: {item.name.lstrip('/')}"


def _stated(data: h5py.Group, attribute: str, known: dict[str, T]) -> T | None:
    if attribute not in data.attrs:
        return None
    words = _text(data, attribute)
    if words not in known:
        raise CheckpointError(
            f"{data.file.filename}: the attribute {attribute} of data is {words[:80]!r}; it should be "
            f"{' or '.join(map(repr, known))}, or not be there."
        )
    return known[words]


def _field(group: h5py.Group, name: str, shape: tuple[int | None, ...]) -> h5py.Dataset:
    """A dataset of this shape (None = any size), not read yet."""
    item = group.get(name)
    if not isinstance(item, h5py.Dataset):
        raise CheckpointError(f"{_place(group)} has no dataset {name}; give a file in LIBERO's HDF5 format.")
    found = item.shape or ()
    if len(found) != len(shape) or any(want not in (None, size) for want, size in zip(shape, found, strict=True)):
        wanted = ", ".join(
            "steps" if axis == 0 and want is None else str(want or "size") for axis, want in enumerate(shape)
        )
        raise CheckpointError(f"{_place(item)} has shape {found} instead of ({wanted}); record it again.")
    if item.nbytes > MAX_BYTES:
        raise CheckpointError(f"{_place(item)} has {item.nbytes} bytes, more than any demonstration; record it again.")
    return item


def _numbers(group: h5py.Group, name: str, shape: tuple[int | None, ...], most: float = MAX_POSE) -> Float:
    item = _field(group, name, shape)
    if item.dtype.kind not in "fiu":
        raise CheckpointError(f"{_place(item)} holds {item.dtype} instead of numbers; record it again.")
    numbers: Float = np.asarray(item[()], np.float64)
    bad = np.argwhere(~np.isfinite(numbers))
    if len(bad):
        raise CheckpointError(
            f"{_place(item)} holds {numbers[tuple(bad[0])]} in row {bad[0][0]}, not numbers; take it out."
        )
    peak = np.abs(numbers).max(initial=0.0)
    if peak > most:
        raise CheckpointError(
            f"{_place(item)} reaches {peak:g}, but LIBERO's stays in [{-most:g}, {most:g}]; store it unscaled."
        )
    return numbers


def _actions(group: h5py.Group, name: str, steps: int | None = None) -> Float:
    actions_TA = _numbers(group, name, (steps, ACTION_DIM), MAX_ACTION)
    if set(np.unique(actions_TA[:, -1])) == {0.0, 1.0}:
        raise CheckpointError(
            f"{_place(group)}/{name} has a gripper of 0 and 1, as OpenVLA's models; store LIBERO's -1 (open) and 1."
        )
    return actions_TA


def _refuse_shifted(group: h5py.Group, actions_TA: Float, labels_TA: Float) -> None:
    """Labels are nearer to what was executed at the same step than to its neighbours; noise is on translations only."""
    if len(actions_TA) <= 2 * MAX_SHIFT:
        return
    inside, steps = slice(MAX_SHIFT, -MAX_SHIFT), np.arange(len(actions_TA))
    apart = {
        shift: np.abs(labels_TA[:, 3:] - actions_TA[np.clip(steps + shift, 0, len(steps) - 1), 3:])[inside].mean()
        for shift in range(-MAX_SHIFT, MAX_SHIFT + 1)
    }
    nearest = min(apart, key=apart.__getitem__)
    if apart[nearest] < 0.5 * apart[0]:
        raise CheckpointError(
            f"{_place(group)}/expert_actions fits actions that stand {nearest:+d} rows away; record it again."
        )


def _proprio(obs: h5py.Group, steps: int) -> tuple[Float, Float | None]:
    """The environment's proprio without its command, and the command; from our own field, or LIBERO's.

    LIBERO gives the orientation of the hand as an axis times an angle; the environment gives the gripper's site, which
    robosuite's panda_gripper.xml turns by -90 degrees about the hand's z: its x is the hand's -y, its y the hand's x.
    """
    if "proprio" in obs:
        proprio_TP = _numbers(obs, "proprio", (steps, PROPRIO_DIM))
        return proprio_TP[:, :-1], proprio_TP[:, -1]
    if "ee_pos" in obs or "ee_ori" in obs:
        position_T3, vector_T3 = _numbers(obs, "ee_pos", (steps, 3)), _numbers(obs, "ee_ori", (steps, 3))
    elif "ee_states" in obs:
        position_T3, vector_T3 = np.split(_numbers(obs, "ee_states", (steps, 6)), 2, axis=1)
    else:
        raise CheckpointError(
            f"{_place(obs)} has neither proprio nor ee_pos and ee_ori nor ee_states, so the policy's proprioception "
            "cannot be had from it; give a file in LIBERO's HDF5 format."
        )
    if np.linalg.norm(vector_T3, axis=1).max() > MAX_ANGLE:
        raise CheckpointError(f"{_place(obs)}: the hand's orientation is not an axis times an angle in radians.")
    hand_T33 = _rotation_matrices(vector_T3)
    parts = (position_T3, -hand_T33[:, :, 1], hand_T33[:, :, 0], _numbers(obs, "gripper_states", (steps, 2)))
    return np.concatenate(parts, axis=1), None


def _pictures(obs: h5py.Group, name: str, steps: int) -> NDArray[np.uint8]:
    item = _field(obs, name, (steps, None, None, 3))
    if item.dtype != np.uint8:
        raise CheckpointError(f"{_place(item)} holds {item.dtype}; pictures are uint8 from 0 to 255.")
    if item.shape[1] != item.shape[2] or item.shape[1] == 0:
        raise CheckpointError(f"{_place(item)} has pictures of {item.shape[1]} x {item.shape[2]} pixels, not square.")
    pictures_THWC: NDArray[np.uint8] = item[()]
    return pictures_THWC


def _rotation_matrices(axis_angle_T3: Float) -> Float:
    """Rodrigues' formula: (T, 3) axis times angle in radians to (T, 3, 3)."""
    angle_T1 = np.linalg.norm(axis_angle_T3, axis=1, keepdims=True)
    x, y, z = (axis_angle_T3 / np.maximum(angle_T1, np.finfo(np.float64).tiny)).T
    zero = np.zeros_like(x)
    cross_T33 = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    sin_T11, cos_T11 = np.sin(angle_T1)[:, :, None], np.cos(angle_T1)[:, :, None]
    rotation_T33: Float = np.eye(3) + sin_T11 * cross_T33 + (1.0 - cos_T11) * (cross_T33 @ cross_T33)
    return rotation_T33
