"""Builds one scene with LIBERO and robosuite and writes it as files that need neither.

The only module that imports them. `load_scene` runs it as a process of its own, so that their side effects (a question
on stdin, a changed ``MUJOCO_GL``, text on stdout) stay out of the caller's. Parity tests call `official_env` directly.
"""

from __future__ import annotations

import argparse
import bdb
import contextlib
import ctypes.util
import importlib.metadata
import io
import logging
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tgrpo_envs.bddl import read_problem, read_text
from tgrpo_envs.command import run_command
from tgrpo_envs.errors import SceneError
from tgrpo_envs.extras import INSTALL_LIBERO
from tgrpo_envs.files import cache_dir, write_atomically, writing
from tgrpo_envs.scene.drawn import make_drawn_model
from tgrpo_envs.scene.files import write_scene
from tgrpo_envs.scene.init_files import read_init_file
from tgrpo_envs.scene.parts import starts_together
from tgrpo_envs.scene.records import (
    FORMAT_VERSION,
    Interval,
    JointRangeRecord,
    JointRecord,
    ObjectRecord,
    PlacementKind,
    PlacementRecord,
    RobotRecord,
    SceneRecord,
    SiteRecord,
)
from tgrpo_envs.scene.simulated import make_simulated_model
from tgrpo_envs.sim.controller import ARM, USERDATA_SIZE
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.pictures import body_rows
from tgrpo_envs.tasks import CUSTOM, Task, bddl_path, get_task, init_states_path, task_from_file

# robosuite's sampler classes (by name, libero/libero/envs/regions) and the kind of placement they make.
_SAMPLER_KINDS: dict[str, PlacementKind] = {
    "MultiRegionRandomSampler": "region",
    "TableRegionSampler": "region",
    "Libero100TableRegionSampler": "region",
    "SiteRegionRandomSampler": "site",
    "InSiteRegionRandomSampler": "in_site",
    "ObjectBasedSampler": "object",
}
_SCALAR_FIRST_SAMPLER = "MultiRegionRandomSampler"

# robosuite solves every substep's contacts up to three times, each solve starting from the last one's result, with
# MuJoCo's tolerance of 1e-8. One solve to this tolerance ends within 1e-11 m of that, at no measurable cost.
_SOLVER_TOLERANCE = 1e-12

# Scratch memory of one environment. robosuite reserves 1.3 GB; 32 of those are more than a machine may promise to a
# process that forks, to encode a video for one. Arm and seven objects in a heap use 0.3 MB.
_ARENA_MIB = 64

_RESETS = 5  # each tries 5000 places for every object


def official_env(task: Task, pack_folder: Path, *, opengl: str | None = None, **settings: Any) -> Any:
    """LIBERO's own environment of a task on the given assets, without renderer unless `settings` ask for one.

    Args:
        task: The task.
        pack_folder: Folder laid out like LIBERO's assets.
        opengl: What robosuite loads to draw with; None takes what is here.
        **settings: Arguments of LIBERO's ControlEnv.

    Returns:
        libero.libero.envs.env_wrapper.ControlEnv

    Raises:
        SceneError: LIBERO or robosuite is not installed, or they could not make the environment.
    """
    _prepare_import(opengl)
    try:
        with _quiet():
            import libero.libero
            from libero.libero.envs.env_wrapper import ControlEnv
    except ImportError as error:
        raise SceneError(
            f"Building a scene needs LIBERO and robosuite, and importing them failed ({error}). "
            f"Install them ({INSTALL_LIBERO}), or copy a built scene from another machine: see docs/performance.md."
        ) from error
    libero.libero._assets_path_cache = str(pack_folder)
    options = {"has_offscreen_renderer": False, "use_camera_obs": False, **settings}
    with _quiet():
        return ControlEnv(bddl_file_name=str(bddl_path(task)), **options)


def build(task: Task, pack_name: str, pack_folder: Path, pack_digest: str, out: Path) -> None:
    """Build a scene and put it at `out`, whole or not at all.

    Raises:
        SceneError: See `official_env`; or the model lacks what the controller relies on.
    """
    env = _started_env(task, pack_folder)
    model, exact = _compile(env)
    _check_robot(model)
    inner = env.env
    objects = _objects(inner, model)
    record = SceneRecord(
        format_version=FORMAT_VERSION,
        suite=task.suite,
        task=task.name,
        pack_name=pack_name,
        pack_digest=pack_digest,
        versions={name: importlib.metadata.version(name) for name in ("mujoco", "hf-libero", "robosuite")},
        model_sha256="",
        drawn_sha256="",
        exact_sha256="",
        bddl=bddl_path(task).read_text(encoding="utf-8"),
        objects=objects,
        sites=_sites(inner, model),
        joints=_joints(inner, model),
        robot=_robot(env, model),
        joint_ranges=_joint_ranges(inner),
        placements=_placements(inner),
        visible_sites=_visible_sites(inner, model),
    )
    fixtures = {entry.body for entry in objects if entry.qpos_address is None}
    drawn = make_drawn_model(exact, fixtures, body_rows(exact, record))
    write_scene(out, record, model, drawn, exact, None if task.bddl else read_init_file(init_states_path(task)))


def _started_env(task: Task, pack_folder: Path) -> Any:
    """`official_env` after a reset. ControlEnv's own goes on for ever, whatever fails in it."""
    opengl = "glx"  # nothing is drawn, and this loads no OpenGL before it is
    _prepare_import(opengl)
    from robosuite.utils.errors import RandomizationError

    for _ in range(_RESETS):
        try:
            env = official_env(task, pack_folder, opengl=opengl)
            with _quiet():
                env.env.reset()
        except (RandomizationError, bdb.BdbQuit):  # before the former, samplers inside of regions call a debugger
            continue
        return env
    together = starts_together(read_problem(bddl_path(task)))
    named = "; ".join(f"{' and '.join(names)} in or on {carrier}" for carrier, names in together.items())
    advice = f" Things that begin over each other in one fixture may never find any: {named}." if together else ""
    raise SceneError(
        f"LIBERO found no room for all objects of {task.name} in {_RESETS} resets; make the regions of its file "
        f"larger, or move them apart.{advice}"
    )


def _prepare_import(opengl: str | None) -> None:
    """What LIBERO and robosuite read at import: a config file, and a GL backend that can be loaded."""
    os.environ["LIBERO_CONFIG_PATH"] = str(_config_folder())
    if opengl is not None:
        os.environ["MUJOCO_GL"] = opengl
        os.environ.pop("MUJOCO_EGL_DEVICE_ID", None)  # robosuite refuses some that MuJoCo takes
    elif os.environ.get("MUJOCO_GL") not in ("egl", "osmesa"):
        os.environ["MUJOCO_GL"] = "osmesa" if ctypes.util.find_library("OSMesa") else "egl"
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)


def _config_folder() -> Path:
    """Folder with a LIBERO config file. Without one LIBERO asks on stdin where its data sets are."""
    folder = cache_dir() / "libero-config"
    file = folder / "config.yaml"
    if not file.exists():
        write_atomically(file, "# Written by tgrpo; LIBERO only checks that this file exists.\n{}\n")
    return folder


@contextlib.contextmanager
def _quiet() -> Any:
    """Drop what robosuite and LIBERO print."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _compile(env: Any) -> tuple[mujoco.MjModel, mujoco.MjModel]:
    """The environment's model with room for the controller's mark, and without robosuite's room for 5000 contacts.

    The first is what is simulated of it, the second all of it.

    It is compiled from the MJCF that robosuite generated: text exported from a compiled model has lost masses.
    """
    size = f'<size nuserdata="{USERDATA_SIZE}" memory="{_ARENA_MIB}M"/>'
    xml = re.sub(r"<size [^>]*/>", size, env.env.model.get_xml(), count=1)
    exact = mujoco.MjModel.from_xml_string(xml)
    # robosuite hides the gripper's marker sites at reset by writing into the compiled model.
    exact.site_rgba[:] = env.sim.model._model.site_rgba
    model = make_simulated_model(xml, exact)
    model.opt.tolerance = exact.opt.tolerance = _SOLVER_TOLERANCE
    return model, exact


def _check_robot(model: mujoco.MjModel) -> None:
    """The controller reads the arm's joints as the first ones, in a chain."""
    chain = list(range(-1, ARM - 1))
    addresses = [i * (i + 1) // 2 for i in range(ARM)]
    if model.nuserdata != USERDATA_SIZE:
        raise SceneError("The generated MJCF has no <size> element to carry the controller's data.")
    if list(model.dof_parentid[:ARM]) != chain or list(model.dof_Madr[:ARM]) != addresses or model.nu != ARM + 2:
        raise SceneError("The robot's joints are not the model's first ones; only LIBERO's Panda is supported.")
    if not np.isclose(model.opt.timestep, 0.002):
        raise SceneError(f"The model's time step is {model.opt.timestep} s; LIBERO's is 0.002 s.")


def _interval(values: Iterable[float]) -> Interval:
    low, high = map(float, values)
    return low, high


def _triple(values: Iterable[float]) -> tuple[float, float, float]:
    x, y, z = map(float, values)
    return x, y, z


def _geom_ids(model: mujoco.MjModel, names: Iterable[str]) -> tuple[int, ...]:
    return tuple(model.geom(name).id for name in names)


def _objects(env: Any, model: mujoco.MjModel) -> tuple[ObjectRecord, ...]:
    problem = env.parsed_problem
    by_category = [*problem["objects"].items(), *problem["fixtures"].items()]
    categories = {name: category for category, names in by_category for name in names}
    records = []
    for name, thing in [*env.objects_dict.items(), *env.fixtures_dict.items()]:
        movable = name in env.objects_dict
        records.append(
            ObjectRecord(
                name=name,
                category=categories[name],
                body=model.body(thing.root_body).id,
                geoms=_geom_ids(model, thing.contact_geoms),
                qpos_address=int(model.joint(thing.joints[-1]).qposadr[0]) if movable else None,
                bottom=float(thing.bottom_offset[-1]),
                top=float(thing.top_offset[-1]),
                radius=float(thing.horizontal_radius),
            )
        )
    return tuple(records)


def _sites(env: Any, model: mujoco.MjModel) -> tuple[SiteRecord, ...]:
    return tuple(
        SiteRecord(
            name=name,
            site=model.site(name).id,
            half_size=_triple(site.size),
            parent=site.parent_name,
            joints=tuple(site.joints or ()),
        )
        for name, site in env.object_sites_dict.items()
    )


def _joints(env: Any, model: mujoco.MjModel) -> tuple[JointRecord, ...]:
    return tuple(
        JointRecord(name=joint, object=name, qpos_address=int(model.joint(joint).qposadr[0]))
        for name, fixture in env.fixtures_dict.items()
        for joint in fixture.joints
    )


def _robot(env: Any, model: mujoco.MjModel) -> RobotRecord:
    robot = env.robots[0]
    gripper, controller = robot.gripper, robot.controller
    low, high = robot.torque_limits
    ranges = [_interval(model.actuator(name).ctrlrange) for name in gripper.actuators]
    pads = (gripper.important_geoms["left_fingerpad"], gripper.important_geoms["right_fingerpad"])
    return RobotRecord(
        init_qpos=(*map(float, robot.init_qpos), *map(float, gripper.init_qpos)),
        eef_pos=tuple(map(float, controller.initial_ee_pos)),
        eef_mat=tuple(map(float, np.ravel(controller.initial_ee_ori_mat))),
        torque_low=tuple(map(float, low)),
        torque_high=tuple(map(float, high)),
        finger_range=(ranges[0], ranges[1]),
        grip_site=model.site(gripper.important_sites["grip_site"]).id,
        pad_geoms=(_geom_ids(model, pads[0]), _geom_ids(model, pads[1])),
        gripper_geoms=_geom_ids(model, gripper.contact_geoms),
    )


def _joint_ranges(env: Any) -> tuple[JointRangeRecord, ...]:
    """LIBERO appends its samplers anew at each reset, so the last one of an object is what counts."""
    records: dict[str, JointRangeRecord] = {}
    for sampler in env.object_property_initializers:
        thing = env.get_object(sampler.name)
        low, high = map(float, sampler.joint_ranges)
        records[sampler.name] = JointRangeRecord(joints=tuple(thing.joints), low=low, high=high)
    return tuple(records.values())


def _placements(env: Any) -> tuple[PlacementRecord, ...]:
    composites = (
        env.placement_initializer,
        env.conditional_placement_initializer,
        env.conditional_placement_on_objects_initializer,
    )
    return tuple(
        _placement(sampler, composite.sample_args[name] or {})
        for composite in composites
        for name, sampler in composite.samplers.items()
    )


def _placement(sampler: Any, arguments: dict[str, str]) -> PlacementRecord:
    name = type(sampler).__name__
    if name not in _SAMPLER_KINDS or len(sampler.mujoco_objects) != 1:
        raise SceneError(f"LIBERO places {sampler.name!r} by {name}, which is not known here; report it.")
    rotation = sampler.rotation
    if isinstance(rotation, dict):
        rotations = tuple((axis, float(min(r)), float(max(r))) for axis, r in rotation.items())
    else:
        low, high = (0.0, 2.0 * np.pi) if rotation is None else (float(np.min(rotation)), float(np.max(rotation)))
        rotations = ((sampler.rotation_axis, low, high),)
    return PlacementRecord(
        object=sampler.mujoco_objects[0].name,
        kind=_SAMPLER_KINDS[name],
        x_ranges=tuple(map(_interval, sampler.x_ranges)),
        y_ranges=tuple(map(_interval, sampler.y_ranges)),
        rotations=rotations,
        scalar_first=name == _SCALAR_FIRST_SAMPLER,
        single_precision=isinstance(rotation, dict),
        inset=sampler.ensure_object_boundary_in_range,
        checked=sampler.ensure_valid_placement,
        origin=_triple(sampler.reference_pos),
        z_offset=float(sampler.z_offset),
        reference=arguments.get("reference"),
        site=arguments.get("site_name"),
    )


def _visible_sites(env: Any, model: mujoco.MjModel) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(
            model.site(site).id for site, _ in env.get_object(name).object_properties["vis_site_names"].values()
        )
        for name in env.visualization_sites_list
    }


def main() -> int:
    """Command line used by `load_scene`."""
    parser = argparse.ArgumentParser(prog="python -m tgrpo_envs.scene.build", description=__doc__)
    for name in ("suite", "task", "pack-name", "pack-folder", "pack-digest", "bddl", "out"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()

    def run() -> None:
        task = task_from_file(given.bddl) if given.suite == CUSTOM else get_task(given.suite, given.task)
        if Path(given.bddl) != bddl_path(task):  # a file of LIBERO's with something added
            task = replace(task, bddl=read_text(given.bddl))
        with writing(Path(given.out)):  # numba's cache may be what first meets a full disk, and names no file
            build(task, given.pack_name, Path(given.pack_folder), given.pack_digest, Path(given.out))

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
