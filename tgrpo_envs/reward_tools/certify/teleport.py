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
    """States in which one more conjunct of the goal should hold each time: carriers first, joints last.

    Args:
        scene: The scene.
        simulator: Holds the state to start from, and is stepped by the caller in between; it is reset to states on the
            way, to read where regions are.
    """
    placed: list[Conjunct] = []
    for conjunct in _in_order(scene):
        state = simulator.get_states()
        state.states_NX[:, 1 + scene.model.nq :] = 0.0
        if conjunct.test is None:
            rank, count = _place_among_twins(scene, conjunct)
            _move_object(scene, simulator, conjunct, rank, count, state.states_NX)
        else:
            before_NS3 = simulator.snapshot.site_pos_NS3.copy()
            _move_joints(scene, conjunct, state.states_NX)
            simulator.reset(state, np.ones(len(state), dtype=bool), settle=False)
            shift_NS3 = simulator.snapshot.site_pos_NS3 - before_NS3
            for earlier in placed:  # what lies in a drawer moves with it
                if earlier.site_row >= 0:
                    state.states_NX[:, _position(scene, earlier)] += shift_NS3[:, earlier.site_row]
        placed.append(conjunct)
        yield state


def _in_order(scene: Scene) -> list[Conjunct]:
    """What carries another is placed before it, and joints move after all is in place."""
    places = [conjunct for conjunct in scene.goal if conjunct.test is None]
    moved = {conjunct.object_row for conjunct in places}
    places.sort(key=lambda conjunct: conjunct.support_row in moved)
    return [*places, *(conjunct for conjunct in scene.goal if conjunct.test is not None)]


def _place_among_twins(scene: Scene, conjunct: Conjunct) -> tuple[int, int]:
    """Rank of the conjunct among those with its target, and how many there are."""
    target = (conjunct.site_row, conjunct.support_row)
    twins = [other for other in scene.goal if other.test is None and (other.site_row, other.support_row) == target]
    return twins.index(conjunct), len(twins)


def _position(scene: Scene, conjunct: Conjunct) -> slice:
    """Where the position of the conjunct's object lies in a state row."""
    address = scene.record.objects[conjunct.object_row].qpos_address
    assert address is not None
    return slice(1 + address, 4 + address)


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
    snapshot, bottom = simulator.snapshot, scene.record.objects[conjunct.object_row].bottom
    if conjunct.site_row >= 0:
        size_3 = scene.layout.site_half_sizes_S3[conjunct.site_row]
        mat_N33 = snapshot.site_mat_NS33[:, conjunct.site_row]
        wide = int(size_3[1] > size_3[0])
        aside = size_3[wide] * ((2 * rank + 1) / count - 1)
        pos_N3 = snapshot.site_pos_NS3[:, conjunct.site_row] + aside * mat_N33[:, :, wide]
        on_floor_N = DROP_M - bottom - np.abs(mat_N33 @ size_3)[:, 2]
        # Tall objects would not be in LIBERO's box on its floor: their origin goes to the box's centre.
        pos_N3[:, 2] += np.minimum(on_floor_N, 0.0) if conjunct.predicate == "in" else size_3[2] + DROP_M - bottom
    else:
        pos_N3 = snapshot.object_pos_NO3[:, conjunct.support_row].copy()
        pos_N3[:, 2] += scene.record.objects[conjunct.support_row].top + DROP_M - bottom
    states_NX[:, _position(scene, conjunct)] = pos_N3
