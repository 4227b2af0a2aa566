"""Measures in a built scene what a prompt says about a task: the card of `tgrpo_envs.reward_tools.author.cards`."""

from __future__ import annotations

import numpy as np

from tgrpo_envs.assets import find_pack
from tgrpo_envs.assets.layout import WORKSPACES
from tgrpo_envs.bddl import parse_problem
from tgrpo_envs.reward_tools.author.cards import ObjectFact, PartFact, RegionFact, TaskCard, Vector
from tgrpo_envs.rewards.handles import HANDLE_SUFFIX, find_handle, handle_names, handle_position, part_joints
from tgrpo_envs.scene import Scene, heldout_states, load_scene, official_states
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import NO_PARENT, FloatArray
from tgrpo_envs.sim.success import JOINT_TESTS, goal_truth
from tgrpo_envs.tasks import CUSTOM, Task

DIGITS = 3  # millimetres and milliradians
NUM_STATES = 50  # as many as LIBERO has of each of its tasks
PACK = "primitive"  # has LIBERO's dimensions, and is on every machine
SLIDE = 2  # mujoco.mjtJoint.mjJNT_SLIDE


def measure_card(task: Task) -> TaskCard:
    """The card of one task, from LIBERO's 50 initial states after settling, or 50 held-out ones where there are none.

    Raises:
        BddlError: See `tgrpo_envs.scene.load_scene`: what is wrong with a task file of one's own.
        AssetError: LIBERO is not installed.
        SceneError: The scene could not be built.
    """
    scene = load_scene(task, _pack(task))
    states = heldout_states(scene).take(np.arange(NUM_STATES)) if task.suite == CUSTOM else official_states(scene)
    simulator = Simulator(scene, len(states), num_threads=1, detail="off")
    simulator.reset(states, np.ones(len(states), dtype=bool))
    origins = [rule.origin[2] for rule in scene.record.placements if rule.kind == "region"]
    return TaskCard(
        suite=task.suite,
        name=task.name,
        bddl=scene.record.bddl,
        support_height_m=_number(origins[0]),
        gripper_at_m=_vector(simulator.snapshot.gripper_pos_N3.mean(axis=0)),
        goal_true_at_reset=tuple(
            map(_number, goal_truth(scene.goal, scene.layout, simulator.snapshot).mean(axis=0).tolist())
        ),
        objects=_objects(scene, simulator),
        regions=_regions(scene, simulator),
        parts=_parts(scene, simulator),
    )


def _pack(task: Task) -> str:
    """The built-in shapes, but for a file of one's own with things that these lack: then whatever is on the machine."""
    if task.suite != CUSTOM:
        return PACK
    problem = parse_problem(task.bddl)
    lacking = {*problem.objects.values(), *problem.fixtures.values()} - {*find_pack(PACK).contents, *WORKSPACES}
    return "auto" if lacking else PACK


def _objects(scene: Scene, simulator: Simulator) -> tuple[ObjectFact, ...]:
    facts = []
    for row, entry in enumerate(scene.record.objects):
        pos_N3 = simulator.snapshot.object_pos_NO3[:, row]
        low_3, high_3 = _box(scene, simulator, entry.geoms)
        fact = ObjectFact(
            name=entry.name,
            kind="movable" if row < scene.layout.num_movables else "fixture",
            category=entry.category,
            size_m=_vector(high_3 - low_3),
            origin_height_m=_number(pos_N3[0, 2] - low_3[2]),
            at_m=_vector(pos_N3.mean(axis=0)),
            std_m=_vector(pos_N3.std(axis=0)),
        )
        facts.append(fact)
    return tuple(facts)


def _box(scene: Scene, simulator: Simulator, geoms: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest corner of the world-aligned box around an object's contact geoms, first initial state."""
    data, rows = simulator.datas[0], list(geoms)
    aabb_G6 = scene.model.geom_aabb[rows]
    rotation_G33 = data.geom_xmat[rows].reshape(-1, 3, 3)
    centre_G3 = data.geom_xpos[rows] + np.einsum("gij,gj->gi", rotation_G33, aabb_G6[:, :3])
    half_G3 = np.einsum("gij,gj->gi", np.abs(rotation_G33), aabb_G6[:, 3:])
    return (centre_G3 - half_G3).min(axis=0), (centre_G3 + half_G3).max(axis=0)


def _regions(scene: Scene, simulator: Simulator) -> tuple[RegionFact, ...]:
    """Regions of objects and fixtures, and the zones that the goal names; others only say where things start."""
    layout, in_goal = scene.layout, {name for conjunct in scene.task.goal for name in conjunct[1:]}
    facts = []
    for row, name in enumerate(layout.sites):
        parent = int(layout.site_parents_S[row])
        if parent == NO_PARENT and name not in in_goal:
            continue
        rotation_33 = simulator.snapshot.site_mat_NS33[0, row]
        fact = RegionFact(
            name=name,
            carrier=None if parent == NO_PARENT else layout.objects[parent],
            half_size_m=_vector(np.abs(rotation_33 @ layout.site_half_sizes_S3[row])),
            at_m=_vector(simulator.snapshot.site_pos_NS3[:, row].mean(axis=0)),
        )
        facts.append(fact)
    return tuple(facts)


def _parts(scene: Scene, simulator: Simulator) -> tuple[PartFact, ...]:
    categories = {entry.name: entry.category for entry in scene.record.objects}
    facts = []
    for handle_name in handle_names(scene.layout):
        name = handle_name.removesuffix(HANDLE_SUFFIX)
        (row,) = part_joints(name, scene.layout)
        fixture = int(scene.layout.joint_objects_J[row])
        handle = find_handle(name)
        assert handle is not None
        joint = scene.model.joint(scene.layout.joints[row])
        qpos_N = simulator.snapshot.joint_qpos_NJ[:, row]
        low, high = joint.range.tolist()
        tests = {
            predicate: f"{sense} {bound:g}"
            for predicate, bounds in JOINT_TESTS.items()
            for category, (sense, bound) in bounds.items()
            if category == categories[scene.layout.objects[fixture]]
        }
        fact = PartFact(
            name=name,
            handle=handle_name,
            handle_at_m=_vector(handle_position(handle, fixture, row, simulator.snapshot).mean(axis=0)),
            unit="m" if joint.type[0] == SLIDE else "rad",
            low=_number(low),
            high=_number(high),
            start=_number(float(qpos_N.mean())),
            start_std=_number(float(qpos_N.std())),
            tests=tests,
        )
        facts.append(fact)
    return tuple(facts)


def _number(value: float) -> float:
    return round(float(value), DIGITS) + 0.0  # no -0.0


def _vector(values: FloatArray) -> Vector:
    x, y, z = (_number(value) for value in np.asarray(values).tolist())
    return x, y, z
