"""Numbers of any library at the edge: taken as they are, or refused in one sentence of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.helpers.unwrapped import libero_env
from tgrpo_envs.arrays import as_flags, as_integers, as_numbers, flag, whole_number
from tgrpo_envs.env import LiberoEnv
from tgrpo_envs.errors import ActionError, ConfigError, StateError, UnknownNameError
from tgrpo_envs.scene import InitStates
from tgrpo_envs.settings import EnvSettings
from tgrpo_envs.vector import LiberoVectorEnv

QUARTERS = [0.25, -0.5, 0.75, 0.0, 1.0, -1.0, 0.5]  # exact in every type of float
STATE_ONLY: dict[str, Any] = {"cameras": (), "assets": "primitive", "horizon": 20}

SAME_ACTIONS: dict[str, Any] = {
    "list": QUARTERS,
    "tuple of scalars": tuple(np.float32(value) for value in QUARTERS),
    "float16": np.array(QUARTERS, np.float16),
    "big-endian": np.array(QUARTERS, ">f8"),
    "read-only": np.broadcast_to(np.array(QUARTERS), (7,)),
    "unmasked": np.ma.masked_array(QUARTERS),
    "tensor": torch.tensor(QUARTERS),
    "tensor with gradient": torch.tensor(QUARTERS, requires_grad=True),
    "bfloat16": torch.tensor(QUARTERS, dtype=torch.bfloat16, requires_grad=True),
    "list of tensors": [torch.tensor(value, requires_grad=True) for value in QUARTERS],
    "negated view": torch.complex(torch.zeros(7), torch.tensor(QUARTERS)).conj().neg().imag,
}

NOT_ACTIONS: dict[str, Any] = {
    "strings": [str(value) for value in QUARTERS],
    "text": "up",
    "nothing": None,
    "objects": np.array([*QUARTERS[:6], None], dtype=object),
    "truth values": [True] * 7,
    "complex": np.array(QUARTERS, complex),
    "ragged": [QUARTERS[:3], QUARTERS[:4]],
    "masked": np.ma.masked_array(QUARTERS, [True] + [False] * 6),
    "dates": np.array(["2026-01-01"] * 7, "datetime64[D]"),
    "a dictionary": {"action": QUARTERS},
    "too few": QUARTERS[:6],
    "too many axes": [[QUARTERS]],
    "a number": 0.5,
    "NaN": [*QUARTERS[:6], np.nan],
    "infinity": torch.tensor([*QUARTERS[:6], float("inf")], dtype=torch.bfloat16),
    "beyond float64": [*QUARTERS[:6], 10**400],
    "a tensor without values": torch.zeros(7, device="meta"),
}


@pytest.fixture(scope="module")
def env() -> Iterator[LiberoEnv]:
    env = LiberoEnv("libero_object", **STATE_ONLY)
    yield env
    env.close()


@pytest.fixture(scope="module")
def pair() -> Iterator[LiberoVectorEnv]:
    envs = LiberoVectorEnv("libero_object", 2, **STATE_ONLY)
    yield envs
    envs.close()


def after(env: LiberoEnv, action: Any) -> list[float]:
    env.reset(seed=3)
    proprio: list[float] = env.step(action)[0]["proprio"].tolist()
    return proprio


@pytest.mark.parametrize("kind", SAME_ACTIONS)
def test_the_same_action_of_any_library_moves_the_arm_alike(env: LiberoEnv, kind: str) -> None:
    assert after(env, SAME_ACTIONS[kind]) == after(env, np.array(QUARTERS, np.float32))


@pytest.mark.parametrize("kind", NOT_ACTIONS)
def test_what_is_no_action_is_refused_in_one_sentence(env: LiberoEnv, pair: LiberoVectorEnv, kind: str) -> None:
    env.reset(seed=3)
    pair.reset(seed=3)
    given = NOT_ACTIONS[kind]
    calls: tuple[tuple[Callable[[Any], object], Any], ...] = ((env.step, given), (pair.step, [given] * 2))
    for step, action in calls:
        with pytest.raises(ActionError) as refused:
            step(action)
        assert "\n" not in str(refused.value)


def test_a_vector_environment_takes_tensors_and_lists_of_them(pair: LiberoVectorEnv) -> None:
    seen = []
    tensors: Any = [torch.tensor(QUARTERS, dtype=torch.bfloat16, requires_grad=True)] * 2
    for actions in (np.array([QUARTERS] * 2), tensors):
        pair.reset(seed=3)
        seen.append(pair.step(actions)[0]["proprio"])
    np.testing.assert_array_equal(seen[0], seen[1])


@pytest.mark.parametrize(
    ("seed", "same_as"),
    [
        (np.int64(5), 5),
        (torch.tensor(5), 5),
        (np.array(5), 5),
        (np.array([5, 9]), [5, 9]),
        (torch.tensor([5, 9]), [5, 9]),
        ((np.uint8(5), 9), [5, 9]),
    ],
)
def test_seeds_of_any_library(pair: LiberoVectorEnv, seed: Any, same_as: Any) -> None:
    first, second = pair.reset(seed=seed)[0], pair.reset(seed=same_as)[0]
    np.testing.assert_array_equal(first["proprio"], second["proprio"])
    states = [block.episodes.simulator.get_states().states_NX for block in pair.batch.blocks]
    pair.reset(seed=seed)
    np.testing.assert_array_equal(states[0], pair.batch.blocks[0].episodes.simulator.get_states().states_NX)


@pytest.mark.parametrize("seed", [1.5, "one", True, -1, [1.0, 2.0], [1], np.array([1.0, 2.0]), torch.tensor(2.0), {}])
def test_seeds_that_are_none(pair: LiberoVectorEnv, seed: Any) -> None:
    with pytest.raises(ConfigError, match="seed"):
        pair.reset(seed=seed)


def test_a_single_environment_takes_a_seed_of_numpy(env: LiberoEnv) -> None:
    env.reset(seed=np.int32(4))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"seed=4\.0"):
        env.reset(seed=4.0)  # type: ignore[arg-type]


def test_reset_options_of_any_library(pair: LiberoVectorEnv) -> None:
    simulator = pair.batch.blocks[0].episodes.simulator
    pair.reset(seed=1, options={"group_size": torch.tensor(2), "reset_mask": torch.tensor([True, True])})
    states_NX = simulator.get_states().states_NX
    np.testing.assert_array_equal(states_NX[0], states_NX[1])
    pair.reset(options={"init_states": "official", "init_state_ids": torch.tensor([3, 3], dtype=torch.int32)})
    start_NX = simulator.get_states().states_NX
    states = pair.batch.blocks[0].episodes.fixed_states("official")
    own = InitStates(torch.tensor(states.states_NX[3:4]), torch.tensor(states.fixtures_NF7[3:4]))  # type: ignore[arg-type]
    for given in (torch.tensor(states.states_NX[3], requires_grad=True), own):
        pair.reset(options={"init_states": given})
        np.testing.assert_array_equal(simulator.get_states().states_NX, start_NX)


@pytest.mark.parametrize(
    "options",
    [
        {"group_size": True},
        {"group_size": 2.0},
        {"group_size": "2"},
        {"group_size": 0},
        {"init_states": "official", "init_state_ids": [0.0, 1.0]},
        {"init_states": "official", "init_state_ids": ["0", "1"]},
        {"reset_mask": [1, 1]},
        {"reset_mask": "all"},
        {"init_states": {"state": 1}},
        {"init_states": ["official", "official"]},
        {"init_states": InitStates(None, None)},  # type: ignore[arg-type]
        ["init_states"],
    ],
)
def test_reset_options_that_are_none(pair: LiberoVectorEnv, options: object) -> None:
    with pytest.raises((ConfigError, StateError)):
        pair.reset(options=options)  # type: ignore[arg-type]


def test_settings_hold_pythons_own_numbers() -> None:
    settings = EnvSettings(
        "libero_object",
        task=np.int64(3),
        image_size=torch.tensor(32),
        action_chunk=np.array(2),
        horizon=np.uint16(40),
        depth=np.True_,
        cameras=np.array(["wrist"]),
        assets="primitive",
    )
    kept = (settings.task, settings.image_size, settings.action_chunk, settings.horizon, settings.depth)
    assert kept == (3, 32, 2, 40, True)
    assert [type(value) for value in kept] == [int, int, int, int, bool]
    assert settings.cameras == ("wrist",)


@pytest.mark.parametrize(
    "setting",
    [
        {"task": 1.0},
        {"task": True},
        {"task": None},
        {"task": [1]},
        {"image_size": 64.0},
        {"image_size": None},
        {"image_size": "64"},
        {"image_size": torch.tensor([64])},
        {"horizon": np.float32(20)},
        {"depth": 1},
        {"depth": "yes"},
        {"cameras": 3},
        {"cameras": (b"wrist",)},
        {"assets": 3},
        {"reward": np.zeros(2)},
        {"init_states": np.zeros(2)},
        {"detail": None},
    ],
)
def test_settings_of_another_kind_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises((ConfigError, UnknownNameError)) as refused:
        EnvSettings("libero_object", **setting)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("num_envs", [2.0, True, "2", 0, np.float64(2), [2]])
def test_a_number_of_environments_is_a_whole_number(num_envs: object) -> None:
    with pytest.raises(ConfigError, match="num_envs"):
        LiberoVectorEnv("libero_object", num_envs, **STATE_ONLY)  # type: ignore[arg-type]


def test_tasks_and_limits_of_numpy() -> None:
    settings: dict[str, Any] = {"cameras": (), "assets": "primitive"}
    envs = LiberoVectorEnv(
        "libero_object",
        np.int64(2),  # type: ignore[arg-type]
        tasks=np.array([4, 1]),  # type: ignore[arg-type]
        max_episode_steps=np.int64(9),  # type: ignore[arg-type]
        **settings,
    )
    assert [member.task.index for member in envs.members] == [4, 1]
    assert [member.horizon for member in envs.members] == [9, 9]
    with pytest.raises(ConfigError, match=r"max_episode_steps=2.7"):
        LiberoVectorEnv("libero_object", 2, max_episode_steps=2.7, **settings)  # type: ignore[arg-type]


def test_gymnasium_makes_it_with_numpys_numbers() -> None:
    env = gym.make("tgrpo_envs:TGRPO-LiberoObject-v0", task=np.int64(2), **STATE_ONLY)
    assert libero_env(env).task.index == 2


@pytest.mark.parametrize("value", [2**70, "x", None, 1.5, np.array([1, 2]), torch.tensor(1.0), object()])
def test_whole_numbers_have_bounds_and_a_kind(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^n=.* from 0 to 5"):
        whole_number("n", value, 0, 5)


def test_what_numbers_become() -> None:
    assert whole_number("n", 2**70, 0) == 2**70
    assert as_integers(torch.tensor([1, 2], dtype=torch.uint8), "ids").dtype == np.int64
    assert as_flags([torch.tensor(True), False], "mask").tolist() == [True, False]
    assert flag("depth", torch.tensor(True)) is True
    with pytest.raises(ConfigError):
        as_integers(np.array([2**63], np.uint64), "ids")
    with pytest.raises(ActionError, match="masked"):
        as_numbers([np.ma.masked_array([1.0], [True])], "numbers", ActionError)
