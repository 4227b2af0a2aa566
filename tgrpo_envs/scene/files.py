"""The folder of a built scene: record, model and official states, written whole or not at all, checked when read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from tgrpo_envs.errors import SceneError
from tgrpo_envs.files import ARRAY_ERRORS, atomic_folder
from tgrpo_envs.scene.detail import reduce_meshes
from tgrpo_envs.scene.records import FORMAT_VERSION, SceneRecord
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.meshes import ReducedMeshes
from tgrpo_envs.sim.snapshot import FloatArray

RECORD_FILE = "scene.json"
MODEL_FILE = "model.mjb"
STATES_FILE = "official_states.npy"
MESHES_FILE = "reduced_meshes.npz"

_CURE = "Delete the folder to build it anew."


def write_scene(folder: Path, record: SceneRecord, model: mujoco.MjModel, official_states_NX: FloatArray) -> None:
    """Write a scene, whole or not at all; if another process was first, its scene stays.

    Raises:
        OutputError: The cache cannot be written.
    """
    with atomic_folder(folder) as temporary:
        content = np.empty(mujoco.mj_sizeModel(model), np.uint8)
        mujoco.mj_saveModel(model, None, content)  # into a file MuJoCo writes without looking whether the disk takes it
        (temporary / MODEL_FILE).write_bytes(content.tobytes())
        np.save(temporary / STATES_FILE, official_states_NX, allow_pickle=False)
        np.savez_compressed(temporary / MESHES_FILE, **vars(reduce_meshes(model)))
        record = record.model_copy(update={"model_sha256": _sha256(temporary / MODEL_FILE)})
        (temporary / RECORD_FILE).write_text(record.model_dump_json(indent=1), encoding="utf-8")


def read_scene(folder: Path) -> tuple[SceneRecord, mujoco.MjModel]:
    """Read and check a scene.

    Raises:
        SceneError: A file is missing or damaged, or of another format; the message says which and why.
    """
    try:
        record = SceneRecord.model_validate_json((folder / RECORD_FILE).read_text(encoding="utf-8"))
        digest = _sha256(folder / MODEL_FILE)
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise SceneError(f"The scene in {folder} cannot be read ({reason}). {_CURE}") from error
    if record.format_version != FORMAT_VERSION:
        raise SceneError(
            f"The scene in {folder} has format {record.format_version}; this version reads {FORMAT_VERSION}."
        )
    if digest != record.model_sha256:
        raise SceneError(f"{folder / MODEL_FILE} is damaged (its digest is wrong). {_CURE}")
    try:
        model = mujoco.MjModel.from_binary_path(str(folder / MODEL_FILE))
    except ValueError as error:
        raise SceneError(
            f"mujoco {mujoco.__version__} cannot load {folder / MODEL_FILE}, which mujoco {record.versions['mujoco']} "
            f"wrote ({error}). Install that version, or delete the folder to build it anew."
        ) from error
    if not _names_parts_of(record, model):
        raise SceneError(f"{folder / RECORD_FILE} is damaged (it numbers parts that the model has not). {_CURE}")
    return record, model


def read_states(folder: Path) -> FloatArray:
    """The benchmark's initial states of the scene's task, (50, 1 + nq + nv).

    Raises:
        SceneError: The file is missing or damaged.
    """
    try:
        states_NX: FloatArray = np.load(folder / STATES_FILE, allow_pickle=False)
    except ARRAY_ERRORS as error:
        raise SceneError(f"{folder / STATES_FILE} cannot be read ({error}). {_CURE}") from error
    if not isinstance(states_NX, np.ndarray) or states_NX.dtype != np.float64:
        raise SceneError(f"{folder / STATES_FILE} does not hold a table of numbers. {_CURE}")
    return states_NX


def read_meshes(folder: Path, model: mujoco.MjModel) -> ReducedMeshes:
    """The scene's reduced visual meshes.

    Raises:
        SceneError: The file is missing or damaged, or does not fit the scene's model.
    """
    try:
        with np.load(folder / MESHES_FILE, allow_pickle=False) as arrays:
            meshes = ReducedMeshes(**arrays)
        meshes.check(model)
        return meshes
    except ARRAY_ERRORS as error:
        raise SceneError(f"{folder / MESHES_FILE} cannot be read ({error}). {_CURE}") from error


def _names_parts_of(record: SceneRecord, model: mujoco.MjModel) -> bool:
    """Whether every number of a body, geom, site or position in the record is one of the model's."""
    robot, objects = record.robot, record.objects
    pads = [geom for pad in robot.pad_geoms for geom in pad]
    shown = [site for sites in record.visible_sites.values() for site in sites]
    free = [entry.qpos_address for entry in objects if entry.qpos_address is not None]
    numbers = (
        ([entry.body for entry in objects], model.nbody),
        ([*pads, *robot.gripper_geoms, *(geom for entry in objects for geom in entry.geoms)], model.ngeom),
        ([robot.grip_site, *shown, *(entry.site for entry in record.sites)], model.nsite),
        ([*free, *(entry.qpos_address for entry in record.joints)], model.nq),
    )
    return all(0 <= number < limit for found, limit in numbers for number in found)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
