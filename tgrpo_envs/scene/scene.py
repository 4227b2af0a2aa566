"""A task's compiled scene: found in the cache by its key, or built there by a process that has LIBERO."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tgrpo_envs.assets import AssetPack, find_pack
from tgrpo_envs.bddl import Problem, in_file, parse_problem, read_problem
from tgrpo_envs.command import run_child
from tgrpo_envs.errors import AssetError, SceneError
from tgrpo_envs.files import cache_dir, writing
from tgrpo_envs.scene.files import RECORD_FILE, read_drawn_model, read_exact_model, read_scene
from tgrpo_envs.scene.records import FORMAT_VERSION, SceneRecord
from tgrpo_envs.scene.task_file import check_task_file
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.raster.drawing import Drawing, read_drawing
from tgrpo_envs.sim.snapshot import NO_PARENT, SnapshotLayout
from tgrpo_envs.sim.success import Goal, compile_goal
from tgrpo_envs.tasks import CUSTOM, Task, bddl_path, get_task, task_from_text

# The versions whose files and rules a scene is made of. Constants, so that a machine without the two packages computes
# the same key and finds a scene that was copied to it.
LIBERO_VERSION = "0.1.4"  # hf-libero
ROBOSUITE_VERSION = "1.4.0"

# mujoco versions that agree with LIBERO's published numbers.
OLDEST_MUJOCO = (3, 2, 7)
FIRST_DIFFERENT_MUJOCO = (3, 3, 3)

_BUILD_SECONDS = 300


@dataclass(frozen=True)
class Scene:
    """One task on one asset pack, ready to simulate.

    Attributes:
        task: The task.
        record: Names, ids, sizes and placement rules.
        model: The compiled model. Shared by everything that uses the scene: do not write to it.
        folder: Where it is stored.
        layout: Rows of the snapshots of this scene.
        problem: The parsed task file.
        goal: The goal, compiled for `tgrpo_envs.sim.success.goal_truth`.
    """

    task: Task
    record: SceneRecord
    model: mujoco.MjModel
    folder: Path
    layout: SnapshotLayout
    problem: Problem
    goal: Goal

    @property
    def pack_name(self) -> str:
        """Asset pack: ``primitive``, ``libero``, or the name of a folder."""
        return self.record.pack_name

    @property
    def digest(self) -> str:
        """Digest of the compiled model."""
        return self.record.model_sha256

    @property
    def drawn_model(self) -> mujoco.MjModel:
        """What is drawn in place of the model at detail ``fast``, read anew each time."""
        return read_drawn_model(self.folder, self.record)

    @cached_property
    def exact_model(self) -> mujoco.MjModel:
        """LIBERO's whole model, which is drawn at detail ``exact``: as the model, and what is only looked at."""
        return read_exact_model(self.folder, self.record)

    @cached_property
    def drawing(self) -> Drawing:
        """The same as arrays. Shared by everything that draws the scene: do not write to them."""
        return read_drawing(self.drawn_model)

    @cached_property
    def fixture_bodies(self) -> tuple[int, ...]:
        """Ids of the fixtures' root bodies, in the order of axis F (the layout's objects after the movables)."""
        return tuple(entry.body for entry in self.record.objects if entry.qpos_address is None)


def load_scene(task: Task, assets: str | Path = "auto") -> Scene:
    """The scene of a task, built on first use (seconds, in a process of its own) and cached on disk.

    Args:
        task: The task.
        assets: ``auto``, ``primitive``, ``libero``, or a folder; see `tgrpo_envs.assets.find_pack`.

    Raises:
        AssetError: The pack is missing or incomplete, or LIBERO is needed and not installed.
        BddlError: A task file of the user's own asks for what cannot be built.
        SceneError: The scene could not be built.
    """
    _check_mujoco_version(mujoco.__version__)
    pack = find_pack(assets)
    folder = scene_folder(task, pack)
    if os.path.exists(folder):  # pathlib raises where it may not look, and writing says why
        try:
            scene = open_scene(folder)
            _check_bddl(scene, task)
            return scene
        except SceneError as error:
            warnings.warn(f"{error} Building it anew.", stacklevel=2)
            _remove(folder)
    _build(task, pack, folder)
    return open_scene(folder)


def open_scene(folder: Path) -> Scene:
    """A built scene by its folder, wherever that was copied; needs neither LIBERO, robosuite nor assets.

    Raises:
        SceneError: The folder holds no scene this version can read.
    """
    record, model = read_scene(folder)
    categories = {entry.name: entry.category for entry in record.objects}
    site_joints = {entry.name: entry.joints for entry in record.sites}
    try:
        is_custom = record.suite == CUSTOM
        task = task_from_text(record.task, record.bddl) if is_custom else get_task(record.suite, record.task)
        problem = parse_problem(record.bddl)
        layout = _layout(record)
        goal = compile_goal(problem.goal, layout, categories, site_joints)
    except (KeyError, ValueError) as error:  # names that do not belong together; errors of ours among them
        raise SceneError(f"{folder / RECORD_FILE} is damaged ({error}). Delete the folder to build it anew.") from error
    return Scene(task, record, model, folder, layout, problem, goal)


def scene_folder(task: Task, pack: AssetPack) -> Path:
    """Where the scene of a task on a pack is cached, for the running mujoco and the pinned LIBERO."""
    key = [FORMAT_VERSION, mujoco.__version__, LIBERO_VERSION, ROBOSUITE_VERSION, pack.digest, task.suite, task.name]
    key += [task.bddl] if task.bddl else []
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    return cache_dir() / "scenes" / task.suite / f"{task.name}-{digest}"


def _check_bddl(scene: Scene, task: Task) -> None:
    """The task's file, if there is one, is the one the scene was built from."""
    try:
        installed = bddl_path(task).read_text(encoding="utf-8")
    except AssetError:
        return
    if installed != scene.record.bddl:
        raise SceneError(f"The scene in {scene.folder} was built from another BDDL file than the installed one.")


def _build(task: Task, pack: AssetPack, folder: Path) -> None:
    path = bddl_path(task)  # says how to install LIBERO where it is missing
    problem = read_problem(path)
    if task.suite == CUSTOM:
        with in_file(path.name):
            check_task_file(problem, pack)
    pack.check(problem.name, {*problem.objects.values(), *problem.fixtures.values()})
    told = {"suite": task.suite, "task": task.name, "bddl": path, "out": folder}
    told |= {"pack-name": pack.name, "pack-folder": pack.folder, "pack-digest": pack.digest}
    command = [sys.executable, "-m", "tgrpo_envs.scene.build"]
    command += [f"--{name}={value}" for name, value in told.items()]  # a file's name may begin with a dash
    try:
        done = run_child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout_s=_BUILD_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise SceneError(
            f"Building {task.name} took more than {_BUILD_SECONDS} s. Run again on a less busy machine."
        ) from error
    if done.returncode == 2 and (said := done.stderr.rpartition("error: ")[2].strip()):
        raise SceneError(f"Building {task.name} with assets {str(pack.folder)!r} failed: {said}")
    if done.returncode != 0 or not (folder / RECORD_FILE).exists():
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()[-8:]
        raise SceneError(f"Building {task.name} with assets {str(pack.folder)!r} failed:\n" + "\n".join(lines))


def _remove(folder: Path) -> None:
    """Move a damaged entry away first: a removal that another process sees half done would look like a new scene."""
    with writing(folder):
        grave = tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)
        with contextlib.suppress(FileNotFoundError):  # another process removed it first
            os.rename(folder, Path(grave) / "damaged")
    shutil.rmtree(grave, ignore_errors=True)


def _check_mujoco_version(version: str) -> None:
    parts = tuple(int(part) for part in version.split(".")[:3])
    if parts < OLDEST_MUJOCO:
        consequence = "it is older than any version LIBERO was checked with here"
    elif parts < FIRST_DIFFERENT_MUJOCO:
        return
    elif parts < (3, 4):
        consequence = "it lights scenes differently (LIBERO-Object's floor is darker), which policies see"
    else:
        consequence = "it lights scenes differently and computes contacts differently, which changes success rates"
    warnings.warn(
        f"mujoco {version}: {consequence}. Install mujoco 3.3.2 to compare with published results.", stacklevel=3
    )


def _layout(record: SceneRecord) -> SnapshotLayout:
    names = [entry.name for entry in record.objects]
    joint_sites = {joint: row for row, site in enumerate(record.sites) for joint in site.joints}
    return SnapshotLayout(
        objects=tuple(names),
        num_movables=sum(entry.qpos_address is not None for entry in record.objects),
        sites=tuple(entry.name for entry in record.sites),
        site_half_sizes_S3=np.array([entry.half_size for entry in record.sites]).reshape(-1, 3),
        site_parents_S=np.array(
            [names.index(entry.parent) if entry.parent else NO_PARENT for entry in record.sites], dtype=np.int64
        ),
        joints=tuple(entry.name for entry in record.joints),
        joint_objects_J=np.array([names.index(entry.object) for entry in record.joints], dtype=np.int64),
        joint_sites_J=np.array([joint_sites.get(entry.name, NO_PARENT) for entry in record.joints], dtype=np.int64),
    )
