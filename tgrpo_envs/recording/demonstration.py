"""A demonstration in LIBERO's HDF5 format as an episode: its states are shown as they were stored, and judged anew."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import CheckpointError, StateError, TgrpoError
from tgrpo_envs.extras import needs_extra
from tgrpo_envs.recording.episode_file import Episode
from tgrpo_envs.recording.play import ONE, Moment, episode_of
from tgrpo_envs.scene import InitStates, Scene, given_states, load_scene
from tgrpo_envs.settings import ACTION_SIZE
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import FloatArray
from tgrpo_envs.tasks import CUSTOM, Task, list_tasks, task_from_text

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_NUMBERS = 10**8  # of one array: a damaged header may promise more than memory holds


@dataclass(frozen=True)
class _Stored:
    """What is read of one demonstration of T rows; a row is the moment before its action, in LIBERO's files too.

    Attributes:
        task: The task it solves.
        pack: Asset pack it was recorded with, None where the file does not say.
        states_TX: Time, qpos and qvel.
        actions_TA: Executed actions.
        fixtures_F7: Poses of the fixtures, None where they are not stored as such.
        model_xml: MuJoCo's model, which LIBERO's files have; empty without.
    """

    task: Task
    pack: str | None
    states_TX: FloatArray
    actions_TA: FloatArray
    fixtures_F7: FloatArray | None
    model_xml: str


def read_episode(path: Path, demo: int = 0, assets: str = "auto") -> Episode:
    """An episode of ours, or a demonstration in LIBERO's HDF5 format.

    Args:
        path: The file; what is in it decides which of both it is.
        demo: Number of the demonstration, N in ``data/demo_N``.
        assets: Asset pack that a demonstration's states are shown in; ``auto`` takes the recorded one, if it is named.

    Raises:
        StateError: The file is missing, damaged, or its states do not fit the task.
        CheckpointError: It has no such demonstration, or does not say which task it is of.
        MissingExtraError: h5py is not installed.
    """
    if not _is_hdf5(path):
        return Episode.load(path)
    stored = _read(path, demo)
    scene = load_scene(stored.task, stored.pack or "auto" if assets == "auto" else assets)
    return _episode(stored, scene)


def _is_hdf5(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE
    except OSError:
        return False  # reading it as an episode says what is wrong


def _episode(stored: _Stored, scene: Scene) -> Episode:
    """The stored moments, and the one after the last action, which no file has: one step of physics from the last."""
    fixtures_F7 = _fixtures(stored, scene)
    states = given_states(scene, stored.states_TX)
    if fixtures_F7 is not None:
        fixtures_TF7 = np.repeat(fixtures_F7[None], len(stored.states_TX), axis=0)
        states = given_states(scene, InitStates(stored.states_TX, fixtures_TF7))
    with closing(Simulator(scene, 1, num_threads=1)) as simulator:
        moments = []
        for t in range(len(stored.states_TX)):
            simulator.reset(states.take(np.array([t])), ONE, settle=False)
            moments.append(Moment.of(simulator))
        if simulator.step(stored.actions_TA[-1:], ONE).any():
            raise StateError(f"The physics of {scene.task.name} diverged at the demonstration's last step.")
        moments.append(Moment.of(simulator))
    return episode_of(scene, moments, stored.actions_TA, states.fixtures_NF7[0])


def _fixtures(stored: _Stored, scene: Scene) -> FloatArray | None:
    """Poses of the fixtures as they stood: stored, or those of the bodies of the same names in the stored model."""
    if stored.fixtures_F7 is not None or not stored.model_xml:
        return stored.fixtures_F7
    try:
        bodies = {body.get("name"): body for body in ElementTree.fromstring(stored.model_xml).iter("body")}
        poses = []
        for body in map(scene.model.body, scene.fixture_bodies):
            found = bodies[body.name]
            poses.append(f"{found.get('pos', '0 0 0')} {found.get('quat', '1 0 0 0')}".split())
        return np.array(poses, dtype=np.float64).reshape(-1, 7)
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise StateError(f"{scene.task.name}: model_file does not say where the fixtures stand ({error}).") from error


def _read(path: Path, demo: int) -> _Stored:
    with needs_extra("demos", "Reading demonstrations"):
        import h5py
    try:
        with h5py.File(path, "r") as file:
            group, attributes = file[f"data/demo_{demo}"], file["data"].attrs
            states_TX, actions_TA = (_numbers(path, group[name]) for name in ("states", "actions"))
            fixtures, pack = group.attrs.get("fixture_poses"), attributes.get("asset_pack")
            stored = _Stored(
                task=_task(path, attributes),
                pack=None if pack is None else str(pack),
                states_TX=states_TX,
                actions_TA=np.clip(actions_TA, -1.0, 1.0),
                fixtures_F7=None if fixtures is None else np.asarray(fixtures, dtype=np.float64),
                model_xml=str(group.attrs.get("model_file", "")),
            )
    except TgrpoError:
        raise
    except KeyError as error:
        raise CheckpointError(
            f"{path} has no demonstration {demo} with states and actions in LIBERO's format "
            f"({error.args[0]}); choose another with --demo."
        ) from error
    except (OSError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise StateError(f"{path} cannot be read as HDF5 ({error}); copy or record it again.") from error
    if len(states_TX) != len(actions_TA) or not len(actions_TA) or actions_TA.shape[1] != ACTION_SIZE:
        raise StateError(
            f"{path}: demo_{demo} has states of shape {states_TX.shape} and actions of shape {actions_TA.shape}; "
            f"there must be a state for each action of {ACTION_SIZE} numbers."
        )
    return stored


def _numbers(path: Path, dataset: Any) -> FloatArray:
    """A table of finite numbers."""
    if dataset.ndim != 2 or dataset.size > MAX_NUMBERS or dataset.dtype.kind not in "fiu":
        raise StateError(f"{path}{dataset.name} is {dataset.dtype} of shape {dataset.shape}, not a table of numbers.")
    table: NDArray[np.float64] = dataset[()].astype(np.float64)
    if not np.isfinite(table).all():
        raise StateError(f"{path}{dataset.name} holds NaN or infinity; give finite numbers.")
    return table


def _task(path: Path, attributes: Mapping[str, Any]) -> Task:
    """The task as the file says, else by the file's name: LIBERO and OpenVLA call it ``<task>_demo.hdf5``."""
    said = PurePosixPath(str(attributes.get("bddl_file_name", "")))
    if said.parent.name == CUSTOM:  # such files of ours hold the whole task
        return task_from_text(said.stem, str(attributes.get("bddl_file_content", "")))
    name = said.stem or path.stem.removesuffix("_demo")
    suite = said.parent.name if said.stem else path.parent.name.removesuffix("_no_noops")
    found = [task for task in list_tasks() if task.name == name]
    if not found:
        raise CheckpointError(
            f"{path} does not say which task it is of: neither its attribute bddl_file_name nor its name is that of a "
            "task of LIBERO; name it <task>_demo.hdf5."
        )
    return next((task for task in found if task.suite == suite), found[0])
