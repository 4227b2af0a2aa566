"""The folder of a built scene: record, models and official states, written whole or not at all, checked when read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from tgrpo_envs.errors import SceneError, first_line
from tgrpo_envs.files import ARRAY_ERRORS, atomic_folder
from tgrpo_envs.scene.records import FORMAT_VERSION, SceneRecord
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.snapshot import FloatArray

RECORD_FILE = "scene.json"
MODEL_FILE = "model.mjb"
STATES_FILE = "official_states.npy"
DRAWN_FILE = "drawn.mjb"
EXACT_FILE = "exact.mjb"

SPARSE_FROM = 36
"""Degrees of freedom from which MuJoCo solves LIBERO's scenes faster with sparse matrices: 4 % of a step there, 20 % at
51. MuJoCo's own choice is 60. What is solved is the same, to rounding."""

_CURE = "Delete the folder to build it anew."


def write_scene(
    folder: Path,
    record: SceneRecord,
    model: mujoco.MjModel,
    drawn: mujoco.MjModel,
    exact: mujoco.MjModel,
    official_states_NX: FloatArray | None,
) -> None:
    """Write a scene, whole or not at all; if another process was first, its scene stays.

    Args:
        folder: Where.
        record: Names and rules; the digests of the models are filled in.
        model: What is simulated.
        drawn: What is drawn at detail ``fast``.
        exact: LIBERO's whole model, which is drawn at detail ``exact``.
        official_states_NX: LIBERO's own initial states of the task; None for one that is not LIBERO's.

    Raises:
        OutputError: The cache cannot be written.
    """
    with atomic_folder(folder) as temporary:
        if official_states_NX is not None:
            np.save(temporary / STATES_FILE, official_states_NX, allow_pickle=False)
        digests = {
            "model_sha256": _write_model(temporary / MODEL_FILE, model),
            "drawn_sha256": _write_model(temporary / DRAWN_FILE, drawn),
            "exact_sha256": _write_model(temporary / EXACT_FILE, exact),
        }
        record = record.model_copy(update=digests)
        (temporary / RECORD_FILE).write_text(record.model_dump_json(indent=1), encoding="utf-8")


def read_scene(folder: Path) -> tuple[SceneRecord, mujoco.MjModel]:
    """Read and check a scene; the model's sensors are off, and its contacts are solved by the faster of two ways.

    Raises:
        SceneError: A file is missing or damaged, or of another format; the message says which and why.
    """
    try:
        record = SceneRecord.model_validate_json((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise SceneError(f"The scene in {folder} cannot be read ({first_line(error)}). {_CURE}") from error
    if record.format_version != FORMAT_VERSION:
        raise SceneError(
            f"The scene in {folder} has format {record.format_version}; this version reads {FORMAT_VERSION}."
        )
    model = _read_model(folder / MODEL_FILE, record.model_sha256, record)
    if not _names_parts_of(record, model):
        raise SceneError(f"{folder / RECORD_FILE} is damaged (it numbers parts that the model has not). {_CURE}")
    # Force and torque at the gripper take 4 % of a physics step, and are in no observation of LIBERO's.
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
    if model.nv >= SPARSE_FROM:
        model.opt.jacobian = mujoco.mjtJacobian.mjJAC_SPARSE
    return record, model


def read_drawn_model(folder: Path, record: SceneRecord) -> mujoco.MjModel:
    """What is drawn in place of the scene's model at detail ``fast``; see `tgrpo_envs.scene.drawn`.

    Raises:
        SceneError: The file is missing or damaged.
    """
    return _read_model(folder / DRAWN_FILE, record.drawn_sha256, record)


def read_exact_model(folder: Path, record: SceneRecord) -> mujoco.MjModel:
    """LIBERO's whole model.

    Raises:
        SceneError: The file is missing or damaged.
    """
    return _read_model(folder / EXACT_FILE, record.exact_sha256, record)


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


def _write_model(path: Path, model: mujoco.MjModel) -> str:
    """Returns the file's digest."""
    content = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, content)  # into a file MuJoCo writes without looking whether the disk takes it
    path.write_bytes(content.tobytes())
    return _sha256(path)


def _read_model(path: Path, digest: str, record: SceneRecord) -> mujoco.MjModel:
    """A model whose file is whole: MuJoCo would believe whatever a damaged one says."""
    try:
        found = _sha256(path)
    except OSError as error:
        raise SceneError(f"{path} cannot be read ({error}). {_CURE}") from error
    if found != digest:
        raise SceneError(f"{path} is damaged (its digest is wrong). {_CURE}")
    try:
        return mujoco.MjModel.from_binary_path(str(path))
    except ValueError as error:
        raise SceneError(
            f"mujoco {mujoco.__version__} cannot load {path}, which mujoco {record.versions['mujoco']} "
            f"wrote ({error}). Install that version, or delete the folder to build it anew."
        ) from error


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
