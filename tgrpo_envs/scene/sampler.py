"""Draws a scene's initial state by LIBERO's rules, in numpy.

What robosuite's samplers do with the ranges of the BDDL file (libero/libero/envs/regions and
`BDDLBaseDomain._reset_internal`), without either package and from a generator of the caller's. Metres, radians;
quaternions are in MuJoCo's order (w, x, y, z) unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from tgrpo_envs.errors import SceneError
from tgrpo_envs.scene.records import ObjectRecord, PlacementRecord
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.snapshot import FloatArray

if TYPE_CHECKING:
    from tgrpo_envs.scene.scene import Scene

MAX_DRAWS = 5000  # per object, robosuite's number; then the whole scene is drawn again
MAX_RESTARTS = 100

Pose = tuple[FloatArray, FloatArray]


class StateSampler:
    """Draws initial states of one scene.

    Args:
        scene: The scene.
        whole_regions: Let an object's centre fall anywhere in its BDDL region. LIBERO's reset does so in 100 of its
            tasks; in the others (LIBERO-Object among them) it shrinks the region by the object's radius, which leaves
            some objects a single point.
    """

    def __init__(self, scene: Scene, *, whole_regions: bool) -> None:
        self._scene = scene
        self._whole_regions = whole_regions
        self._objects = {entry.name: entry for entry in scene.record.objects}
        self._data = mujoco.MjData(scene.model)

    def draw(self, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """One state.

        Returns:
            The state, (X,) time, qpos and qvel; and the fixtures' poses, (F, 7).

        Raises:
            SceneError: The regions are too full to place everything.
        """
        for _ in range(MAX_RESTARTS):
            qpos = self._start_qpos()
            self._draw_joints(qpos, rng)
            placed = self._draw_placements(self._scene.record.placements, qpos, rng)
            if placed is not None:
                return self._state(qpos, placed), self._fixture_poses(placed)
        raise SceneError(f"{self._scene.task.name}: no room for all objects after {MAX_RESTARTS} draws of the scene.")

    def draw_fixtures(self, rng: np.random.Generator) -> FloatArray:
        """Poses (F, 7) of the fixtures alone, drawn by the same rules.

        Raises:
            SceneError: The regions are too full to place everything.
        """
        rules = [rule for rule in self._scene.record.placements if self._objects[rule.object].qpos_address is None]
        for _ in range(MAX_RESTARTS):
            placed = self._draw_placements(rules, self._start_qpos(), rng)
            if placed is not None:
                return self._fixture_poses(placed)
        raise SceneError(f"{self._scene.task.name}: no room for all fixtures after {MAX_RESTARTS} draws of them.")

    def draw_beside(
        self, state_X: FloatArray, fixtures_F7: FloatArray, name: str, rng: np.random.Generator
    ) -> FloatArray | None:
        """The state with one object drawn anew by the same rules, and all others where they are.

        Args:
            state_X: Time, qpos and qvel.
            fixtures_F7: The fixtures' poses.
            name: What to draw.
            rng: Draws.

        Returns:
            The state, or None when there was no room.
        """
        qpos = state_X[1 : 1 + self._scene.model.nq].copy()
        fixtures = iter(fixtures_F7)
        others: dict[str, Pose] = {}
        for entry in self._scene.record.objects:
            at = entry.qpos_address
            pose_7 = next(fixtures) if at is None else qpos[at : at + 7]
            if entry.name != name:
                others[entry.name] = (pose_7[:3], pose_7[3:])
        rules = [rule for rule in self._scene.record.placements if rule.object == name]
        placed = self._draw_placements(rules, qpos, rng, others)
        return None if placed is None else self._state(qpos, placed)

    def centred_fixtures(self) -> FloatArray:
        """Poses (F, 7) of the fixtures at the centre of their first interval, where no draw is wanted."""
        placed: dict[str, Pose] = {}
        for rule in self._scene.record.placements:
            entry = self._objects[rule.object]
            if entry.qpos_address is None:
                x, y = np.mean(rule.x_ranges[0]), np.mean(rule.y_ranges[0])
                pos = np.array([x, y, rule.z_offset - entry.bottom]) + rule.origin
                angles = [(low + high) / 2 for _, low, high in rule.rotations]
                placed[rule.object] = (pos, _quaternion(rule, angles))
        return self._fixture_poses(placed)

    def _start_qpos(self) -> FloatArray:
        qpos: FloatArray = self._scene.model.qpos0.copy()
        robot = self._scene.record.robot.init_qpos
        qpos[: len(robot)] = robot
        return qpos

    def _draw_joints(self, qpos: FloatArray, rng: np.random.Generator) -> None:
        for rule in self._scene.record.joint_ranges:
            value = rng.uniform(rule.low, rule.high)
            for joint in rule.joints:
                qpos[self._scene.model.joint(joint).qposadr[0]] = value

    def _draw_placements(
        self,
        rules: Sequence[PlacementRecord],
        qpos: FloatArray,
        rng: np.random.Generator,
        others: Mapping[str, Pose] = MappingProxyType({}),
    ) -> dict[str, Pose] | None:
        """Poses of what stands there and of everything that the rules place, or None when one found no room."""
        if any(rule.site for rule in rules):
            # LIBERO reads sites where they are before anything is placed.
            self._data.qpos[:] = qpos
            mujoco.mj_kinematics(self._scene.model, self._data)
        placed = dict(others)
        for rule in rules:
            pose = self._draw_pose(rule, placed, rng)
            if pose is None:
                return None
            placed[rule.object] = pose
        return placed

    def _draw_pose(self, rule: PlacementRecord, placed: dict[str, Pose], rng: np.random.Generator) -> Pose | None:
        entry = self._objects[rule.object]
        base = self._base(rule, placed)
        # Objects inside a site are drawn as if they had no width, yet checked against others with it.
        ignored = rule.kind == "in_site" or (rule.kind == "region" and self._whole_regions)
        inset = entry.radius if rule.inset and not ignored else 0.0
        for _ in range(MAX_DRAWS):
            choice = int(rng.integers(len(rule.x_ranges)))
            x = _draw(rule.x_ranges[choice], inset, rng) + base[0]
            y = _draw(rule.y_ranges[choice], inset, rng) + base[1]
            pos = np.array([x, y, rule.z_offset + base[2] - entry.bottom])
            if rule.checked and self._overlaps(entry, pos, placed):
                continue
            return pos, _quaternion(rule, [rng.uniform(low, high) for _, low, high in rule.rotations])
        return None

    def _base(self, rule: PlacementRecord, placed: dict[str, Pose]) -> FloatArray:
        """The point that a rule's intervals are relative to."""
        if rule.kind == "region":
            return np.array(rule.origin)
        if rule.reference not in placed:
            raise SceneError(f"{rule.object} stands on {rule.reference}, which the task file does not place before it.")
        pos, quat = placed[rule.reference]
        base = pos.copy()
        if rule.kind != "in_site":
            base[2] += self._objects[rule.reference].top
        if rule.site is not None:
            turned = np.empty(3)
            mujoco.mju_rotVecQuat(turned, self._data.site(rule.site).xpos, quat)
            base += turned
        return base

    def _overlaps(self, entry: ObjectRecord, pos: FloatArray, placed: dict[str, Pose]) -> bool:
        """Robosuite's test: circles that meet, unless the new object starts above the other's top."""
        for name, (other_pos, _) in placed.items():
            other = self._objects[name]
            near = np.hypot(pos[0] - other_pos[0], pos[1] - other_pos[1]) <= other.radius + entry.radius
            if near and pos[2] - other_pos[2] <= other.top - entry.bottom:
                return True
        return False

    def _state(self, qpos: FloatArray, placed: dict[str, Pose]) -> FloatArray:
        for name, (pos, quat) in placed.items():
            address = self._objects[name].qpos_address
            if address is not None:
                qpos[address : address + 3] = pos
                qpos[address + 3 : address + 7] = quat
        return np.concatenate([[0.0], qpos, np.zeros(self._scene.model.nv)])

    def _fixture_poses(self, placed: dict[str, Pose]) -> FloatArray:
        model = self._scene.model
        poses = []
        for entry in self._scene.record.objects:
            if entry.qpos_address is None:
                default = (model.body_pos[entry.body], model.body_quat[entry.body])
                poses.append(np.concatenate(placed.get(entry.name, default)))
        return np.array(poses).reshape(-1, 7)


def _draw(interval: tuple[float, float], inset: float, rng: np.random.Generator) -> float:
    """A uniform number; where the inset turns the interval over, robosuite draws between its ends all the same."""
    low, high = interval[0] + inset, interval[1] - inset
    return low + (high - low) * rng.random()


def _quaternion(rule: PlacementRecord, angles: list[float]) -> FloatArray:
    """Four numbers that MuJoCo reads as (w, x, y, z).

    LIBERO's samplers hand over (x, y, z, w) without reordering, and its categories' rotations are chosen to come out
    upright all the same; so that is what happens here.
    """
    quat = np.array([0.0, 0.0, 0.0, 1.0])
    for (axis, _, _), angle in zip(rule.rotations, angles, strict=True):
        turn = np.zeros(4)
        turn["xyz".index(axis)] = np.sin(angle / 2)
        turn[3] = np.cos(angle / 2)
        quat = _multiply(turn, quat)
    if rule.single_precision:
        quat = quat.astype(np.float32).astype(np.float64)
    return np.roll(quat, 1) if rule.scalar_first else quat


def _multiply(a: FloatArray, b: FloatArray) -> FloatArray:
    """Product of two (x, y, z, w) quaternions."""
    vector = a[3] * b[:3] + b[3] * a[:3] + np.cross(a[:3], b[:3])
    return np.append(vector, a[3] * b[3] - a[:3] @ b[:3])
