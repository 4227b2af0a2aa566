"""What a simulation needs to go on elsewhere, in arrays alone: for copies of environments, pickled ones too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import StateError
from tgrpo_envs.sim import control_block
from tgrpo_envs.sim.engine import mujoco
from tgrpo_envs.sim.init_states import InitStates
from tgrpo_envs.sim.snapshot import FloatArray, Snapshot

if TYPE_CHECKING:
    from tgrpo_envs.scene.scene import Scene
    from tgrpo_envs.sim.simulator import Simulator

_INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)  # from which MuJoCo goes on bit for bit

# Poses that pictures are drawn from: those of the last substep's start, so they do not follow from the state.
_DRAWN = (
    *("xpos", "xquat", "xmat", "geom_xpos", "geom_xmat", "site_xpos", "site_xmat"),
    *("cam_xpos", "cam_xmat", "light_xpos", "light_xdir"),
)


@dataclass(frozen=True)
class SavedSimulation:
    """N environments of one scene at one control step.

    Attributes:
        scene: Suite, task and digest of the asset pack. Not of the model: two machines' files of one model differ.
        states_NS: MuJoCo's state of integration.
        controllers_NW: What the controllers remember.
        init: The states that the episodes began with.
        drawn: MuJoCo's names of poses, and their values in each environment.
        snapshot: What the predicates read.
        proprio_NP: What is observed of the arm.
    """

    scene: tuple[str, str, str]
    states_NS: FloatArray
    controllers_NW: FloatArray
    init: InitStates
    drawn: dict[str, FloatArray]
    snapshot: Snapshot
    proprio_NP: NDArray[np.float32]


def save(simulator: Simulator) -> SavedSimulation:
    """What `load` needs; independent of the simulator, which goes on."""
    model, datas = simulator.scene.model, simulator.datas
    states_NS = np.empty((len(datas), mujoco.mj_stateSize(model, _INTEGRATION)))
    for state_S, data in zip(states_NS, datas, strict=True):
        mujoco.mj_getState(model, data, state_S, _INTEGRATION)
    return SavedSimulation(
        scene=_identity(simulator.scene),
        states_NS=states_NS,
        controllers_NW=np.stack([block[control_block.EPISODE_WORDS] for block in simulator.blocks]),
        init=simulator.init_states.copy(),
        drawn={name: np.stack([getattr(data, name) for data in datas]) for name in _DRAWN},
        snapshot=simulator.snapshot.copy(),
        proprio_NP=simulator.proprio_NP.copy(),
    )


def load(simulator: Simulator, saved: SavedSimulation) -> None:
    """Make a simulator of the same scene and size go on where another was.

    Raises:
        StateError: The scene is another one.
    """
    model = simulator.scene.model
    if _identity(simulator.scene) != saved.scene:
        raise StateError(
            f"A copied environment of {saved.scene[1]} cannot go on in this scene, {simulator.scene.task.name} of "
            f"assets {simulator.scene.pack_name!r}: give it the assets that it was made with, or reset a new one."
        )
    for row, (data, block) in enumerate(zip(simulator.datas, simulator.blocks, strict=True)):
        mujoco.mj_setState(model, data, saved.states_NS[row], _INTEGRATION)
        block[control_block.EPISODE_WORDS] = saved.controllers_NW[row]
        control_block.attach(data, block)
        for name, values_N in saved.drawn.items():
            getattr(data, name)[:] = values_N[row]
    simulator.init_states.states_NX[:] = saved.init.states_NX
    simulator.init_states.fixtures_NF7[:] = saved.init.fixtures_NF7
    simulator.snapshot.overwrite(saved.snapshot)
    simulator.proprio_NP[:] = saved.proprio_NP


def _identity(scene: Scene) -> tuple[str, str, str]:
    return scene.record.suite, scene.record.task, scene.record.pack_digest
