"""Resetting into states of the caller's own, and where fixtures stand in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers.unwrapped import libero_envs
from tgrpo_envs.errors import ConfigError, StateError, UnknownNameError
from tgrpo_envs.scene import InitStates, Scene, draw_fixtures, heldout_states, load_scene
from tgrpo_envs.tasks import get_task
from tgrpo_envs.vector import LiberoVectorEnv

ENV_ID = "tgrpo_envs:TGRPO-LiberoObject-v0"
STATE_ONLY: dict[str, Any] = {"cameras": (), "assets": "primitive"}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(get_task("libero_object", 0), "primitive")


@pytest.fixture(scope="module")
def states(scene: Scene) -> InitStates:
    return heldout_states(scene)


@pytest.fixture
def envs() -> Iterator[LiberoVectorEnv]:
    made = libero_envs(gym.make_vec(ENV_ID, num_envs=3, **STATE_ONLY))
    yield made
    made.close()


def start(envs: LiberoVectorEnv, **options: Any) -> NDArray[np.float64]:
    envs.reset(options=options)
    return envs.episodes.simulator.snapshot.object_pos_NO3.copy()


def test_arrays_and_init_states_mean_what_the_named_set_means(envs: LiberoVectorEnv, states: InitStates) -> None:
    ids = np.array([4, 0, 4])
    named = start(envs, init_states="heldout", init_state_ids=ids)
    assert not np.array_equal(named[0], named[1]) and np.array_equal(named[0], named[2])
    rows_NX = states.states_NX[ids]
    for given in (states.take(ids), rows_NX, rows_NX.tolist()):
        assert np.array_equal(start(envs, init_states=given), named)
    for given in (states, states.states_NX):
        assert np.array_equal(start(envs, init_states=given, init_state_ids=ids), named)


def test_one_state_is_for_every_member(envs: LiberoVectorEnv, states: InitStates) -> None:
    named = start(envs, init_states="heldout", init_state_ids=np.array([7, 7, 7]))
    for given in (states.states_NX[7], states.states_NX[7:8], states.take(np.array([7]))):
        assert np.array_equal(start(envs, init_states=given), named)


def test_given_states_leave_the_generators_alone(envs: LiberoVectorEnv, states: InitStates) -> None:
    envs.reset(seed=3)
    start(envs, init_states=states.states_NX[0])
    drawn_after = start(envs)
    envs.reset(seed=3)
    assert np.array_equal(start(envs), drawn_after)


def test_states_that_do_not_fit_are_refused_with_what_would(envs: LiberoVectorEnv, states: InitStates) -> None:
    rows_NX = states.states_NX
    with pytest.raises(StateError, match=r"needs \(N, 110\)"):
        start(envs, init_states=rows_NX[:3, :-1])
    with pytest.raises(StateError, match="NaN"):
        start(envs, init_states=np.full(110, np.nan))
    with pytest.raises(StateError, match=r"needs \(3, 0, 7\)"):
        start(envs, init_states=InitStates(rows_NX[:3], np.zeros((3, 1, 7))))
    with pytest.raises(ConfigError, match="2 init_states for 3"):
        start(envs, init_states=rows_NX[:2])
    with pytest.raises(StateError, match="5 were given"):
        start(envs, init_states=rows_NX[:5], init_state_ids=np.array([0, 1, 5]))
    with pytest.raises(StateError, match="5 were given"):
        start(envs, init_states=rows_NX[:5], init_state_ids=np.array([0, 1, -1]))
    with pytest.raises(ConfigError, match="shape"):
        start(envs, init_states=np.zeros((2, 2, 2)))
    with pytest.raises(ConfigError, match="name of a set"):
        start(envs, init_states={"states": 1})
    with pytest.raises(UnknownNameError, match="heldout"):
        start(envs, init_states="held_out")


def test_a_group_of_several_states_is_refused_where_it_is_reset(states: InitStates) -> None:
    envs = libero_envs(gym.make_vec(ENV_ID, num_envs=4, **STATE_ONLY))
    alike, mixed = np.array([5, 5, 2, 2]), np.array([5, 5, 2, 3])
    named = start(envs, init_states="heldout", init_state_ids=alike, group_size=2)
    assert np.array_equal(start(envs, init_states=states.take(alike), group_size=2), named)
    for given in (
        {"init_states": "heldout", "init_state_ids": mixed},
        {"init_states": states, "init_state_ids": mixed},
        {"init_states": states.take(mixed)},
        {"init_states": states.states_NX[mixed]},
    ):
        with pytest.raises(ConfigError, match="members 2 to 3 share one initial state"):
            start(envs, group_size=2, **given)
        start(envs, group_size=2, reset_mask=np.array([True, True, True, False]), **given)
    envs.close()


def test_an_unknown_kind_of_fixture_poses_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="per_episode"):
        gym.make(ENV_ID, fixture_poses="per_episodes", **STATE_ONLY)


def test_a_scene_without_fixtures_has_none_to_draw(scene: Scene) -> None:
    assert draw_fixtures(scene, np.random.default_rng(0)).shape == (0, 7)


@pytest.mark.libero
def test_fixtures_stand_as_the_set_says_or_are_drawn_for_each_episode() -> None:
    """LIBERO-Goal's cabinet, stove and rack: regions of 20 mm around their centres."""

    def fixtures(**kwargs: Any) -> list[NDArray[np.float64]]:
        kwargs |= {"cameras": (), "assets": "libero", "reward": "sparse"}
        envs = libero_envs(gym.make_vec("tgrpo_envs:TGRPO-LiberoGoal-v0", 4, **kwargs))
        seen = []
        for options in ({"group_size": 2}, {"init_state_ids": np.arange(4) // 2, "group_size": 2}):
            envs.reset(seed=0, options=options)
            seen.append(envs.episodes.simulator.get_states().fixtures_NF7[:, :, :2])
        envs.close()
        return seen

    (centre_NF2, by_id_NF2), drawn = (
        fixtures(init_states="official"),
        fixtures(init_states="official", fixture_poses="per_episode"),
    )
    assert np.array_equal(centre_NF2, np.repeat(centre_NF2[:1], 4, axis=0)) and np.array_equal(by_id_NF2, centre_NF2)
    for poses_NF2 in drawn:
        assert np.array_equal(poses_NF2[0], poses_NF2[1]) and np.array_equal(poses_NF2[2], poses_NF2[3])
        assert not np.array_equal(poses_NF2[0], poses_NF2[2])
        assert (np.abs(poses_NF2 - centre_NF2) <= 0.010 + 1e-9).all() and np.ptp(poses_NF2) > 0
    assert not np.array_equal(drawn[0], drawn[1])
