"""Sets of initial states: LIBERO's own 50, a fixed held-out set, and fresh draws for training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgrpo_envs.errors import StateError, UnknownNameError
from tgrpo_envs.scene.files import read_states
from tgrpo_envs.scene.sampler import StateSampler
from tgrpo_envs.sim.init_states import InitStates
from tgrpo_envs.sim.snapshot import FloatArray
from tgrpo_envs.tasks import check_is_official

if TYPE_CHECKING:
    from tgrpo_envs.scene.scene import Scene

HELDOUT_COUNT = 200
HELDOUT_SEED = 0x7E1D  # never changes: results on the held-out set are compared across versions


def official_states(scene: Scene) -> InitStates:
    """LIBERO's 50 states of the task; for evaluation only.

    Raises:
        StateError: The states do not fit the scene.
        SceneError: The scene's file of states is damaged.
        ConfigError: The task is of a user's own file, which has none.
    """
    check_is_official(scene.task)
    return given_states(scene, read_states(scene.folder))


def fixed_states(scene: Scene, name: str) -> InitStates:
    """The states of a set that is listed, not drawn: ``heldout`` or ``official``.

    Raises:
        UnknownNameError: There is no such set.
    """
    readers = {"heldout": heldout_states, "official": official_states}
    if name not in readers:
        raise UnknownNameError("fixed set of initial states", name, readers)
    return readers[name](scene)


def given_states(scene: Scene, given: InitStates | FloatArray) -> InitStates:
    """States from elsewhere, checked.

    Rows of LIBERO's kind, (N, 1 + nq + nv), hold no poses of fixtures: in LIBERO's evaluation fixtures stand where its
    seeded reset put them. Here they stand at the centre of their regions.

    Raises:
        StateError: They do not fit the scene, or hold NaN or infinity.
    """
    states_NX, fixtures_NF7 = (given.states_NX, given.fixtures_NF7) if isinstance(given, InitStates) else (given, None)
    width = 1 + scene.model.nq + scene.model.nv
    if states_NX.ndim != 2 or states_NX.shape[1] != width:
        raise StateError(
            f"{scene.task.name}: initial states of shape {states_NX.shape}; the scene needs (N, {width}): time, "
            f"{scene.model.nq} qpos, {scene.model.nv} qvel."
        )
    if fixtures_NF7 is None:
        fixtures_F7 = StateSampler(scene, whole_regions=True).centred_fixtures()
        fixtures_NF7 = np.repeat(fixtures_F7[None], len(states_NX), axis=0)
    expected = (len(states_NX), len(scene.fixture_bodies), 7)
    if fixtures_NF7.shape != expected:
        raise StateError(f"{scene.task.name}: fixture poses of shape {fixtures_NF7.shape}; the scene needs {expected}.")
    if not (np.isfinite(states_NX).all() and np.isfinite(fixtures_NF7).all()):
        raise StateError(f"{scene.task.name}: initial states hold NaN or infinity; give finite numbers.")
    return InitStates(states_NX, fixtures_NF7)


def draw_fixtures(scene: Scene, rng: np.random.Generator) -> FloatArray:
    """Poses (F, 7) of the fixtures, each drawn from its BDDL region as LIBERO's every reset does.

    Raises:
        SceneError: The regions are too full to place everything.
    """
    return StateSampler(scene, whole_regions=True).draw_fixtures(rng)


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
