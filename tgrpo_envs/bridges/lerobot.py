"""The native vector environment as LeRobot's evaluation takes LIBERO's: its observations, its order of states."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from tgrpo_envs import CUSTOM_ID, ENV_IDS
from tgrpo_envs.batch.reset_options import OPTION_NAMES
from tgrpo_envs.bridges.libero import hand_quaternions
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.settings import CAMERAS
from tgrpo_envs.sim.controller import ARM
from tgrpo_envs.tasks import CUSTOM
from tgrpo_envs.vector import Infos, LiberoVectorEnv

IMAGES = dict(zip(("image", "image2"), CAMERAS, strict=True))
"""LeRobot's names of LIBERO's cameras."""
ROBOT_STATE: dict[str, dict[str, tuple[int, ...]]] = {
    "eef": {"pos": (3,), "quat": (4,), "mat": (3, 3)},
    "gripper": {"qpos": (2,), "qvel": (2,)},
    "joints": {"pos": (ARM,), "vel": (ARM,)},
}
"""Shapes of what LeRobot's LIBERO says of the robot: metres, radians, a quaternion x, y, z, w of the hand, the rotation
matrix of the grip site."""


def make_vec(suite: str, num_envs: int, **settings: Any) -> LeRobotView:
    """Members that play one task for LeRobot.

    Args:
        suite: LIBERO suite, or ``custom`` with `bddl`.
        num_envs: Episodes side by side.
        **settings: As of `gym.make_vec`. Finished members wait for the next reset, which costs nothing.

    Raises:
        UnknownNameError: No such suite.
        ConfigError: Several tasks, for LeRobot has a vector environment for each; an autoreset mode; or pictures that
            are not LeRobot's two.
    """
    ids = {**ENV_IDS, CUSTOM: CUSTOM_ID}
    if suite not in ids:
        raise UnknownNameError("suite", suite, tuple(ids))
    if "tasks" in settings:
        raise ConfigError("LeRobot evaluates a vector environment for each task; give task in place of tasks.")
    if "autoreset_mode" in settings:
        raise ConfigError("LeRobot's finished members wait for the next reset; leave autoreset_mode out.")
    return LeRobotView(gym.make_vec(ids[suite], num_envs, autoreset_mode=AutoresetMode.DISABLED, **settings))


class LeRobotView(VectorWrapper):
    """Members in the form of LeRobot's LIBERO, to which its `LiberoProcessorStep` and every policy of LIBERO apply.

    Observations: ``pixels`` has ``image`` and ``image2``, uint8 (N, H, W, 3), upside down as LIBERO draws them;
    ``robot_state`` has arrays of the shapes `ROBOT_STATE`, float64.

    A reset plays the next states of a fixed set in their order, from the first, as LeRobot's LIBERO does; ``train``
    states are drawn with the seeds. Options that are none of ours, such as ``lerobot_new_rollout``, are passed over.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        if not isinstance(env.unwrapped, LiberoVectorEnv):
            raise ConfigError(f"{env} is not a vector environment of tgrpo_envs.")
        self._members = env.unwrapped
        self._next_state = 0
        pictures = env.single_observation_space
        assert isinstance(pictures, spaces.Dict)
        if not {*CAMERAS} <= pictures.keys():
            raise ConfigError(
                f"LeRobot sees {' and '.join(CAMERAS)}, and this environment observes {', '.join(pictures)}; leave "
                'cameras and observe out, and take another detail than "off".'
            )
        state: dict[str, spaces.Space[Any]] = {
            part: spaces.Dict({name: spaces.Box(-np.inf, np.inf, shape, np.float64) for name, shape in boxes.items()})
            for part, boxes in ROBOT_STATE.items()
        }
        images = spaces.Dict({name: pictures[camera] for name, camera in IMAGES.items()})
        self.single_observation_space = spaces.Dict({"pixels": images, "robot_state": spaces.Dict(state)})
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], Infos]:
        """Start all members anew."""
        chosen = {name: value for name, value in (options or {}).items() if name in OPTION_NAMES}
        episodes = self._members.episodes
        states, next_state = episodes.settings.init_states, self._next_state
        if states != "train" and not {"init_states", "init_state_ids"} & chosen.keys():
            next_state += self.num_envs
            ids_N = np.arange(self._next_state, next_state)
            chosen["init_state_ids"] = ids_N % len(episodes.fixed_states(states))
        observations, infos = self.env.reset(seed=seed, options=chosen)
        self._next_state = next_state  # a reset that failed is made again from the same
        return self._view(observations), infos

    def step(self, actions: Any) -> tuple[dict[str, Any], NDArray[Any], NDArray[Any], NDArray[Any], Infos]:
        """Play the step; finished members stay as they are."""
        observations, rewards_N, terminated_N, truncated_N, infos = self.env.step(actions)
        return self._view(observations), rewards_N, terminated_N, truncated_N, infos

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """An attribute of each member, or what its method returns; LeRobot asks for pictures this way."""
        return self._members.call(name, *args, **kwargs)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of each member."""
        return self._members.get_attr(name)

    def _view(self, observations: dict[str, NDArray[Any]]) -> dict[str, Any]:
        simulator = self._members.episodes.simulator
        snapshot, fingers = simulator.snapshot, slice(ARM, ARM + 2)
        velocities_NV = np.stack([data.qvel[: ARM + 2] for data in simulator.datas])
        state = {
            "eef": {
                "pos": snapshot.gripper_pos_N3.copy(),
                "quat": hand_quaternions(simulator, range(self.num_envs)),
                "mat": snapshot.gripper_mat_N33.copy(),
            },
            "gripper": {"qpos": snapshot.finger_qpos_N2.copy(), "qvel": velocities_NV[:, fingers]},
            "joints": {
                "pos": np.stack([data.qpos[:ARM] for data in simulator.datas]),
                "vel": velocities_NV[:, :ARM],
            },
        }
        pixels = {name: observations[camera][:, ::-1].copy() for name, camera in IMAGES.items()}
        return {"pixels": pixels, "robot_state": state}
