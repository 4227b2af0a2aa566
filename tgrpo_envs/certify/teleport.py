"""Reaches a goal by writing the state: objects put to their targets, joints past LIBERO's thresholds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tgrpo_envs.scene import InitStates, Scene
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import FloatArray
from tgrpo_envs.sim.success import Conjunct

PAST_THRESHOLD = 0.2  # share of a joint's way to go beyond LIBERO's threshold, so that settling does not undo it
DROP_M = 0.01  # objects are let go this high over what carries them


def goal_teleports(scene: Scene, simulator: Simulator) -> Iterator[InitStates]:
    """States in which the first 1, 2, ... conjuncts of the goal should hold, things put in place before joints move.

    Args:
        scene: The scene.
        simulator: Settled in the states to start from; it is reset to intermediate states, to read where regions are.
    """
    start = simulator.get_states()
    velocities = slice(1 + scene.model.nq, None)
    start.states_NX[:, velocities] = 0.0
    order = sorted(scene.goal, key=lambda conjunct: conjunct.test is not None)
    for count in range(1, len(order) + 1):
        states_NX = start.states_NX.copy()
        for conjunct in order[:count]:
            if conjunct.test is not None:
                _move_joints(scene, conjunct, states_NX)
        for place, conjunct in enumerate(order[:count]):
            if conjunct.test is None:
                simulator.reset(InitStates(states_NX, start.fixtures_NF7), np.ones(len(states_NX), bool), settle=False)
                twins = [other for other in order if _target(other) == _target(conjunct)]
                _move_object(scene, simulator, conjunct, twins.index(order[place]), len(twins), states_NX)
        yield InitStates(states_NX, start.fixtures_NF7)


def _target(conjunct: Conjunct) -> tuple[int, int] | None:
    return None if conjunct.test is not None else (conjunct.site_row, conjunct.support_row)


def _move_joints(scene: Scene, conjunct: Conjunct, states_NX: FloatArray) -> None:
    """Put the joints between LIBERO's threshold and their stop."""
    assert conjunct.test is not None
    sense, bound = conjunct.test
    for row in conjunct.joints:
        entry = scene.record.joints[row]
        low, high = scene.model.joint(entry.name).range
        stop = low if sense == "<" else high
        states_NX[:, 1 + entry.qpos_address] = bound + PAST_THRESHOLD * (stop - bound)


def _move_object(
    scene: Scene, simulator: Simulator, conjunct: Conjunct, rank: int, count: int, states_NX: FloatArray
) -> None:
    """Put the object into its region or over its support; objects of one target side by side."""
    snapshot, record = simulator.snapshot, scene.record.objects[conjunct.object_row]
    assert record.qpos_address is not None
    if conjunct.site_row >= 0:
        size_3 = scene.layout.site_half_sizes_S3[conjunct.site_row]
        mat_N33 = snapshot.site_mat_NS33[:, conjunct.site_row]
        wide = int(size_3[1] > size_3[0])
        aside = size_3[wide] * ((2 * rank + 1) / count - 1)
        pos_N3 = snapshot.site_pos_NS3[:, conjunct.site_row] + aside * mat_N33[:, :, wide]
        floor = -np.abs(mat_N33 @ size_3)[:, 2] if conjunct.predicate == "in" else size_3[2]
    else:
        pos_N3 = snapshot.object_pos_NO3[:, conjunct.support_row].copy()
        floor = scene.record.objects[conjunct.support_row].top
    pos_N3[:, 2] += floor - record.bottom + DROP_M
    states_NX[:, 1 + record.qpos_address : 4 + record.qpos_address] = pos_N3
