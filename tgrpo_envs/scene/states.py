"""Sets of initial states: LIBERO's own 50, a fixed held-out set, and fresh draws for training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgrpo_envs.errors import StateError
from tgrpo_envs.scene.files import read_states
from tgrpo_envs.scene.sampler import StateSampler
from tgrpo_envs.sim.init_states import InitStates

if TYPE_CHECKING:
    from tgrpo_envs.scene.scene import Scene

HELDOUT_COUNT = 200
HELDOUT_SEED = 0x7E1D  # never changes: results on the held-out set are compared across versions


def official_states(scene: Scene) -> InitStates:
    """LIBERO's 50 states of the task; for evaluation only.

    The files hold no fixture poses: in LIBERO's evaluation fixtures stand where its seeded reset put them. Here they
    stand at the centre of their regions.

    Raises:
        StateError: The states do not fit the scene.
        SceneError: The scene's file of states is damaged.
    """
    states_NX = read_states(scene.folder)
    width = 1 + scene.model.nq + scene.model.nv
    if states_NX.ndim != 2 or states_NX.shape[1] != width:
        raise StateError(
            f"{scene.task.name}: official states of shape {states_NX.shape}; the scene needs (50, {width})."
        )
    fixtures_F7 = StateSampler(scene, whole_regions=True).centred_fixtures()
    return InitStates(states_NX, np.repeat(fixtures_F7[None], len(states_NX), axis=0))


def heldout_states(scene: Scene) -> InitStates:
    """`HELDOUT_COUNT` draws from a stream of their own, the same on every machine; no seed of training repeats them."""
    stream = np.random.SeedSequence(HELDOUT_SEED, spawn_key=(1,))  # no plain seed has a spawn key
    return sample_train_states(scene, np.random.default_rng(stream), HELDOUT_COUNT)


def sample_train_states(scene: Scene, rng: np.random.Generator, count: int) -> InitStates:
    """Fresh states: every object uniform in its BDDL region, by LIBERO's rules for everything else.

    Args:
        scene: The scene.
        rng: Source of randomness; equal generators give equal states.
        count: How many.

    Raises:
        SceneError: The regions are too full to place everything.
    """
    sampler = StateSampler(scene, whole_regions=True)
    drawn = [sampler.draw(rng) for _ in range(count)]
    return InitStates(np.stack([state for state, _ in drawn]), np.stack([poses for _, poses in drawn]))
