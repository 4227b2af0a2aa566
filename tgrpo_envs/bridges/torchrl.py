"""What TorchRL's GymWrapper needs of infos: numbers only, and last observations among the last infos."""

from __future__ import annotations

from typing import Any, overload

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper

from tgrpo_envs.errors import ConfigError


@overload
def for_torchrl(env: VectorEnv[Any, Any, Any]) -> TorchRLVectorView: ...
@overload
def for_torchrl(env: gym.Env[Any, Any]) -> TorchRLView: ...
def for_torchrl(env: VectorEnv[Any, Any, Any] | gym.Env[Any, Any]) -> TorchRLVectorView | TorchRLView:
    """An environment of ours whose infos TorchRL reads, all of them: ``GymWrapper(for_torchrl(env))``.

    `auto_register_info_dict` of that wrapper then registers them; in ``SameStep`` TorchRL does it by itself.

    Args:
        env: One environment, or a vector environment with autoreset mode ``SameStep`` or ``Disabled``.

    Raises:
        ConfigError: A vector environment with ``copy=False``: TorchRL keeps the arrays of earlier steps.
    """
    if isinstance(env, VectorEnv) and not getattr(env.unwrapped, "copy", True):
        raise ConfigError("copy=False overwrites the arrays that TorchRL keeps of earlier steps; use copy=True.")
    return TorchRLVectorView(env) if isinstance(env, VectorEnv) else TorchRLView(env)


class TorchRLView(gym.Wrapper[Any, Any, Any, Any]):
    """One environment without the infos that are text: TorchRL's reader takes every info for a number."""

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(**kwargs)
        return observation, _numbers(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play the step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, _numbers(info)


class TorchRLVectorView(VectorWrapper):
    """The same of a vector environment, whose last observations TorchRL looks for among the last infos, by their keys.

    TorchRL (0.14) finds a last observation in Gymnasium's ``final_obs`` only where observations are no dictionary, and
    puts zeros in its place otherwise.
    """

    @property
    def autoreset_mode(self) -> Any:
        """By which TorchRL knows who resets."""
        return self.env.unwrapped.metadata["autoreset_mode"]

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the members."""
        observations, infos = self.env.reset(seed=seed, options=options)
        return observations, _numbers(infos)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Play the step."""
        observations, rewards_N, terminated_N, truncated_N, infos = self.env.step(actions)
        last_N = infos.pop("final_obs", None)
        numbers = _numbers(infos)
        if last_N is not None:
            rows = np.flatnonzero(infos["_final_obs"])
            final = {key: np.zeros_like(array) for key, array in observations.items()}
            for key, array in final.items():
                array[rows] = np.stack([last_N[row][key] for row in rows])
            numbers["final_info"] = _numbers(infos["final_info"]) | final
        return observations, rewards_N, terminated_N, truncated_N, numbers


def _numbers(infos: dict[str, Any]) -> dict[str, Any]:
    """What is no text, nor says of which members a text holds."""
    texts = {
        key for key, value in infos.items() if not isinstance(value, dict) and np.asarray(value).dtype.kind in "OU"
    }
    return {key: value for key, value in infos.items() if key.removeprefix("_") not in texts}
