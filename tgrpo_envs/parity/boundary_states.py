"""States at the boundary of success: joints at thresholds, objects at the faces of their targets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tgrpo_envs.parity.side_by_side import ONE, Pair
from tgrpo_envs.scene import InitStates, Scene
from tgrpo_envs.sim.snapshot import FloatArray, SnapshotLayout
from tgrpo_envs.sim.success import Conjunct

NEAR_THRESHOLD = (0.0, -1e-6, 1e-6)  # joints exactly at, just below and just above a threshold of LIBERO's
JOINT_THRESHOLDS = (0.0, -0.005, -0.14, -1.3, 0.5)  # metres or radians: success.JOINT_TESTS
CLUTTER_M = 0.08  # how far from its place an object is dropped when it is not aimed at a goal
BEYOND_BOX = 1.5  # goal positions are drawn in a region's box enlarged by this factor
AIM_ABOVE_M = (-0.02, 0.13)  # and on an object within these heights over its centre


def placed_states(pair: Pair, init: InitStates, rng: np.random.Generator, count: int) -> Iterator[InitStates]:
    """States that goals turn on: joints at thresholds, carriers turned, objects at the faces of their targets.

    Args:
        pair: Shows the states in between: where a region is depends on its carrier.
        init: The state that is varied, one row.
        rng: Source of randomness.
        count: How many.
    """
    objects = pair.scene.record.objects
    for _ in range(count):
        placed = InitStates(init.states_NX.copy(), init.fixtures_NF7)
        state_X = placed.states_NX[0]
        _scatter(state_X, pair.scene, rng)
        pair.ours.reset(placed, ONE, settle=False)
        for conjunct in pair.scene.goal:
            address = objects[conjunct.object_row].qpos_address if conjunct.object_row >= 0 else None
            if address is not None:
                state_X[address + 1 : address + 4] = _aim(pair, conjunct, rng)
        yield placed


def _scatter(state_X: FloatArray, scene: Scene, rng: np.random.Generator) -> None:
    """Write into one state: joints at thresholds, the goal's carriers turned, other objects moved about."""
    for joint in scene.record.joints:
        low, high = scene.model.joint(joint.name).range
        threshold = rng.choice(JOINT_THRESHOLDS) + rng.choice(NEAR_THRESHOLD)
        choices = [low, high, np.clip(threshold, low, high), rng.uniform(low, high)]
        state_X[1 + joint.qpos_address] = rng.choice(choices)
    carriers = {_carrier(scene.layout, conjunct) for conjunct in scene.goal}
    for row, entry in enumerate(scene.record.objects):
        address = entry.qpos_address
        if address is None:  # a fixture
            continue
        if row in carriers:
            half_yaw = rng.choice([0.0, 0.05, np.pi / 8, rng.uniform(-np.pi / 2, np.pi / 2)])
            state_X[address + 4 : address + 8] = np.cos(half_yaw), 0.0, 0.0, np.sin(half_yaw)
        elif rng.random() < 0.5:
            state_X[address + 1 : address + 3] += rng.uniform(-CLUTTER_M, CLUTTER_M, 2)


def _carrier(layout: SnapshotLayout, conjunct: Conjunct) -> int:
    """Row of the object that a goal's target belongs to; -1 where none does."""
    return int(layout.site_parents_S[conjunct.site_row]) if conjunct.site_row >= 0 else conjunct.support_row


def _aim(pair: Pair, conjunct: Conjunct, rng: np.random.Generator) -> FloatArray:
    """A position in or near a region's box, or on or near an object."""
    snapshot, site = pair.ours.snapshot, conjunct.site_row
    if site >= 0:
        half_3 = pair.scene.layout.site_half_sizes_S3[site]
        offset_3 = half_3 * rng.uniform(-BEYOND_BOX, BEYOND_BOX, 3)
        if rng.random() < 0.5:  # what stands on a region has its centre above it
            offset_3[2] = half_3[2] + rng.uniform(*AIM_ABOVE_M)
        aimed: FloatArray = snapshot.site_pos_NS3[0, site] + offset_3
        return aimed
    sideways_2 = rng.uniform(-CLUTTER_M / 2, CLUTTER_M / 2, 2)
    offset_3 = np.array([*sideways_2, rng.uniform(*AIM_ABOVE_M)])
    over: FloatArray = snapshot.object_pos_NO3[0, conjunct.support_row] + offset_3
    return over
