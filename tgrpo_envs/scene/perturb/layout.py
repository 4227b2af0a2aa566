"""A perturbation of where things stand: objects are moved and turned, touching nothing that they did not touch."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from tgrpo_envs.perturbation import Perturbation
from tgrpo_envs.scene.perturb.overlap import OVERLAP_M, OverlapMeter
from tgrpo_envs.scene.scene import Scene
from tgrpo_envs.scene.task_file import WORKSPACES
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.init_states import InitStates
from tgrpo_envs.sim.snapshot import FloatArray

SHIFT_M = (0.02, 0.04, 0.08)  # the farthest that an object is moved, so beyond its region, by level
TURN_RAD = (0.15, 0.4, 0.8)
_DRAWS = 100


class LayoutMover:
    """Moves the objects of one scene.

    What stands on or in something goes with it; what stands on or in a fixture stays, as fixtures do. An object for
    which no place is found stays too.

    Args:
        scene: The scene.
        perturbation: Of kind ``layout``.
    """

    def __init__(self, scene: Scene, perturbation: Perturbation) -> None:
        self._scene, self._perturbation = scene, perturbation
        self._meter = OverlapMeter(scene)
        record = scene.record
        rules = {rule.object: rule for rule in record.placements}
        entries = {entry.name: entry for entry in record.objects}

        def foot(name: str) -> str:
            reference = rules[name].reference
            return name if reference is None else foot(reference)

        self._piles = [
            [entries[name] for name in rules if foot(name) == standing.name]
            for standing in record.objects
            if standing.qpos_address is not None and standing.name in rules and rules[standing.name].reference is None
        ]
        workspace = WORKSPACES[scene.problem.name]
        self._half_2 = np.array([workspace.half_x, workspace.half_y])
        self._middle_2 = np.array(next(iter(record.placements)).origin[:2]) if record.placements else np.zeros(2)

    def move(self, states: InitStates) -> InitStates:
        """The states with every pile moved; how follows from the perturbation and the state, whatever its row."""
        rows = [self._moved(*row) for row in zip(states.states_NX, states.fixtures_NF7, strict=True)]
        return replace(states, states_NX=np.stack(rows))

    def _moved(self, state_X: FloatArray, fixtures_F7: FloatArray) -> FloatArray:
        digest = hashlib.sha256(state_X.tobytes() + fixtures_F7.tobytes()).digest()
        rng = self._perturbation.rng(int.from_bytes(digest[:8], "little"))
        self._meter.put_fixtures(fixtures_F7)
        state_X = state_X.copy()
        qpos = state_X[1 : 1 + self._scene.model.nq]  # a view
        for pile in self._piles:
            addresses = [entry.qpos_address for entry in pile if entry.qpos_address is not None]
            roots = [entry.body for entry in pile]
            allowed = max(OVERLAP_M, self._meter.depth(qpos, roots))
            for _ in range(_DRAWS):
                tried = self._shifted(qpos, addresses, rng)
                if self._is_on_table(tried, addresses[0]) and self._meter.depth(tried, roots) <= allowed:
                    qpos[:] = tried
                    break
        return state_X

    def _shifted(self, qpos: FloatArray, addresses: list[int], rng: np.random.Generator) -> FloatArray:
        """The pile moved by half of the farthest or more, and turned about its foot."""
        level = self._perturbation.at_level
        bearing, shift, turn = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0), rng.uniform(-1.0, 1.0)
        by_2 = shift * level(*SHIFT_M) * np.array([np.cos(bearing), np.sin(bearing)])
        angle = turn * level(*TURN_RAD)
        turn_4 = np.array([np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)])
        tried = qpos.copy()
        foot_2 = qpos[addresses[0] : addresses[0] + 2]
        for address in addresses:
            from_foot_3 = np.append(qpos[address : address + 2] - foot_2, 0.0)
            mujoco.mju_rotVecQuat(from_foot_3, from_foot_3.copy(), turn_4)
            tried[address : address + 2] = foot_2 + by_2 + from_foot_3[:2]
            mujoco.mju_mulQuat(tried[address + 3 : address + 7], turn_4, qpos[address + 3 : address + 7])
        return tried

    def _is_on_table(self, qpos: FloatArray, address: int) -> bool:
        return bool((np.abs(qpos[address : address + 2] - self._middle_2) <= self._half_2).all())
