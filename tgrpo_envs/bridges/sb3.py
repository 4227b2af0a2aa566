"""The native vector environment as Stable-Baselines3's VecEnv: one process, no wrapper in between."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from tgrpo_envs.arrays import as_integers, shown, whole_number
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.extras import needs_extra
from tgrpo_envs.vector import LiberoVectorEnv

with needs_extra("sb3"):
    from stable_baselines3.common.vec_env import VecEnv


def make_vec(env_id: str, num_envs: int, *, seed: int | None = None, **settings: Any) -> Sb3VecEnv:
    """An environment that Stable-Baselines3's algorithms take, with ``MultiInputPolicy``.

    Args:
        env_id: Such as ``tgrpo_envs:TGRPO-LiberoObject-v0``.
        num_envs: Members.
        seed: Of the first reset.
        **settings: As of `gym.make_vec`; ``observe="state"`` learns without pictures. Finished members start anew in
            the same step, as Stable-Baselines3 wants it.

    Raises:
        ConfigError: Another autoreset mode, or ``copy=False``.
        MissingExtraError: Stable-Baselines3 is not installed.
    """
    mode = settings.pop("autoreset_mode", AutoresetMode.SAME_STEP)
    if mode not in (AutoresetMode.SAME_STEP, AutoresetMode.SAME_STEP.value):
        raise ConfigError(f"autoreset_mode={mode!r} is not what Stable-Baselines3 takes; leave it out.")
    env = gym.make_vec(env_id, num_envs=num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **settings).unwrapped
    if not isinstance(env, LiberoVectorEnv):
        raise ConfigError(f"{env_id!r} is not an environment of tgrpo_envs.")
    adapted = Sb3VecEnv(env)
    adapted.seed(seed)
    return adapted


class Sb3VecEnv(VecEnv):  # type: ignore[misc] # the library has no types here
    """N members of a `LiberoVectorEnv` with Stable-Baselines3's calls.

    A member's last observation is ``info["terminal_observation"]``, its return and length are ``info["episode"]``.

    Raises:
        ConfigError: Another autoreset mode than ``SameStep``, or ``copy=False``.
    """

    def __init__(self, env: LiberoVectorEnv) -> None:
        if env.autoreset_mode is not AutoresetMode.SAME_STEP or not env.copy:
            raise ConfigError(
                f"autoreset_mode={env.autoreset_mode.value!r} and copy={env.copy} do not fit: Stable-Baselines3 takes "
                "'SameStep', and keeps observations while the next step is played, so copy stays True."
            )
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._seed: int | None = None
        self._actions: NDArray[Any] | None = None
        self._returns_N = np.zeros(env.num_envs)
        self._lengths_N: NDArray[np.int64] = np.zeros(env.num_envs, dtype=np.int64)
        self._began = time.time()

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Seed the next reset: member i with ``seed + i``."""
        self._seed = None if seed is None else whole_number("seed", seed, 0)
        return [None if seed is None else seed + row for row in range(self.num_envs)]

    def reset(self) -> dict[str, NDArray[Any]]:
        """Start all members anew, as the last `set_options` said of each.

        Raises:
            ConfigError: The members' options differ in more than their `init_state_ids`, or hold states of their own.
        """
        observations, infos = self.env.reset(seed=self._seed, options=_joined(self._options))
        self._seed = None
        self._reset_options()
        self._returns_N[:], self._lengths_N[:] = 0.0, 0
        self.reset_infos = self._infos(infos)
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Play the step."""
        if self._actions is None:
            raise ConfigError("No actions are waiting; call step_async() before step_wait(), or step().")
        observations, rewards_N, terminated_N, truncated_N, infos = self.env.step(self._actions)
        done_N = terminated_N | truncated_N
        self._returns_N += rewards_N
        self._lengths_N += 1
        infos_N = self._infos(infos)
        for row in np.flatnonzero(done_N).tolist():
            last = infos["final_info"]
            infos_N[row] |= {key: values[row] for key, values in last.items() if not key.startswith("_")}
            infos_N[row] |= {
                "terminal_observation": infos["final_obs"][row],
                "TimeLimit.truncated": bool(truncated_N[row] and not terminated_N[row]),
                "episode": {
                    "r": float(self._returns_N[row]),
                    "l": int(self._lengths_N[row]),
                    "t": time.time() - self._began,
                },
            }
        self._returns_N[done_N], self._lengths_N[done_N] = 0.0, 0
        return observations, rewards_N.astype(np.float32), done_N, infos_N

    def close(self) -> None:
        """Release the simulator."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the chosen members; the environment's own where members have none."""
        rows = list(self._get_indices(indices))
        if hasattr(self.env, attr_name) and not hasattr(self.env.members[0], attr_name):
            return [getattr(self.env, attr_name) for _ in rows]
        values = self.env.get_attr(attr_name)
        return [values[row] for row in rows]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the chosen members."""
        for row in self._get_indices(indices):
            setattr(self.env.members[row], attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of the chosen members."""
        return [self.env.members[row].value(method_name, *args, **kwargs) for row in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Any = None) -> list[bool]:
        """Never, but for SB3's Monitor, whose ``info["episode"]`` is here already."""
        from stable_baselines3.common.monitor import Monitor

        return [wrapper_class is Monitor for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """The agentview of every member, where `render_mode` is ``rgb_array``."""
        return self.env.render() or [None] * self.num_envs

    def _infos(self, infos: dict[str, Any]) -> list[dict[str, Any]]:
        """A dictionary for each member, of what holds for it."""
        keys = [key for key in infos if not key.startswith("_") and key not in ("final_obs", "final_info")]
        return [{key: infos[key][row] for key in keys if infos[f"_{key}"][row]} for row in range(self.num_envs)]


def _joined(options_N: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Options of single environments as those of a vector environment, where each member has its `init_state_ids`."""
    joined, ids = dict(options_N[0]), "init_state_ids"
    states = joined.get("init_states")
    named = states is None or isinstance(states, str)
    others = joined.keys() - {ids}
    alike = (
        one.keys() == joined.keys() and all(np.array_equal(one[key], joined[key]) for key in others)
        for one in options_N
    )
    if not named or not all(alike):
        raise ConfigError(
            "All members start from one set of states, with equal options; name it for each in init_states, with one "
            "of its init_state_ids."
        )
    if ids in joined:
        ids_N1 = [as_integers(one[ids], f"{ids} of each member") for one in options_N]
        if any(ids_1.shape != (1,) for ids_1 in ids_N1):
            raise ConfigError(f"{ids}={shown([one[ids] for one in options_N])} must be a list of one for each member.")
        joined[ids] = np.concatenate(ids_N1)
    return joined
