"""One LIBERO task as a Gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from tgrpo_envs.arrays import whole_number
from tgrpo_envs.batch.reset_options import initial_states, parse_reset_options
from tgrpo_envs.batch.task_batch import Observations, StepResult, TaskBatch, parse_actions
from tgrpo_envs.batch.task_info import Registered
from tgrpo_envs.settings import EnvSettings, check_render_mode, warn_of_blindness
from tgrpo_envs.tasks import CONTROL_HZ


class LiberoEnv(Registered, gym.Env[dict[str, Any], NDArray[np.floating[Any] | np.integer[Any]]]):
    """A Panda arm solves one LIBERO task; the engine is our own, the physics and the success check are LIBERO's.

    ## Action space
    `Box(-1, 1, (7,), float32)`, one 20 Hz control step of robosuite's OSC_POSE controller: 0-2 move the gripper by
    up to 5 cm along world x, y, z; 3-5 turn it by up to 0.5 rad (axis-angle); 6 opens (-1) or closes (+1) the fingers.
    With `action_chunk=K` the shape is (K, 7): K control steps in one `step`, stopping where the episode ends.
    Values beyond the bounds are clipped; a wrong shape, NaN or infinity raises `ActionError`. `control`, `action_scale`
    and `gripper` choose absolute poses, joints, other scales and a binary gripper: `tgrpo_envs.sim.control.Control`.

    ## Observation space
    A flat `Dict`: `agentview` and `wrist`, uint8 (image_size, image_size, 3), upright; `proprio`, float32 (12,):
    gripper position in the world (3, metres), the first two columns of its rotation matrix (6), finger joint positions
    (2, metres), commanded gripper state (1; -1 open, +1 closed). With `observe="state"`, in place of the pictures,
    `state`, float32 (D,): poses, velocities, contacts, goal and stages; `state_layout` names its parts.

    ## Reward
    `reward="stages"`: increments of progress through the task's stages, at most 0.5 in a failed episode; a successful
    one sums to 1. `reward="sparse"`: 1 on success. A path: the stage specification in that JSON file.

    ## Starting state
    `init_states="train"`: drawn from the task's BDDL regions with the environment's generator; `"heldout"`: a fixed
    list from the same regions that training never draws; `"official"`: LIBERO's 50. Ten control steps let it settle.
    `reset(options={"init_states": "heldout", "init_state_ids": [7]})` takes exactly that state, and
    `options={"init_states": state}` one of your own: an array (time, qpos, qvel) or `tgrpo_envs.scene.InitStates`.

    ## Episode end
    `terminated` when LIBERO's success check holds; `truncated` at the horizon (LIBERO-Object: 280 control steps)
    or when the physics diverges.

    ## Copies
    Deep copies and pickles go on with the same episode, bit for bit; a forked child may go on with its parent's.

    ## Info
    `success` and `is_success` (bool), `progress` (0 to 1), `stage` (index of the first unfinished stage), `stages`
    (bool per stage), `control_steps`, `diverged`, `instruction`; the same after `reset` and `step`. Numbers are
    numpy's, truth values arrays, also those without axes.

    Args:
        suite: Set by the environment id.
        render_mode: None or ``rgb_array`` (the agentview at `render_size`), which Gymnasium's `RecordVideo` films where
            MoviePy is installed: ``pip install 'tgrpo[video]'``. `gym.make` also takes ``human``, Gymnasium's window
            around it, which needs pygame (``pip install pygame``) and a display.
        **settings: See `tgrpo_envs.settings.EnvSettings`.

    Raises:
        UnknownNameError: A suite, task, camera, reward or set of states that does not exist.
        ConfigError: A number out of range, or `official` states of a file of one's own.
        BddlError: A task file of one's own (`bddl`) is wrong; the message names its line.
        AssetError: On the first reset, when the asset pack is missing or incomplete.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium declares it on the instance
        "render_modes": ["rgb_array"],
        "render_fps": CONTROL_HZ,
    }

    def __init__(self, suite: str, *, render_mode: str | None = None, **settings: Any) -> None:
        chosen = EnvSettings(suite, **settings)
        warn_of_blindness(chosen)
        self.render_mode = check_render_mode(render_mode)
        self.metadata = {**self.metadata, "render_fps": chosen.frames_per_second}
        self._episodes = TaskBatch(chosen, num_envs=1)
        self.observation_space: spaces.Dict = chosen.observation_space(self._episodes.state_size)
        self.action_space = chosen.action_space()
        self._action_shape = self.action_space.shape  # also where a wrapper writes another space over it

    @property
    def episodes(self) -> TaskBatch:
        """The simulation, the judge of success and the reward, as a batch of one."""
        return self._episodes

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Start an episode; see the class for `options`."""
        super().reset(seed=None if seed is None else whole_number("seed", seed, 0))
        parsed = parse_reset_options(options, num_envs=1)
        self.episodes.reset(initial_states(self.episodes, parsed, [self.np_random]), self.episodes.all_members)
        return self._observe(), self._info(StepResult.of_reset(1))

    def step(
        self, action: NDArray[np.floating[Any] | np.integer[Any]]
    ) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        """Advance by one environment step; see the class for the action."""
        actions_NCA = parse_actions(action, self._action_shape, self.episodes.all_members)
        result = self.episodes.step(actions_NCA, self.episodes.all_members)
        reward, terminated, truncated = result.rewards_N[0], result.success_N[0], result.truncated_N[0]
        return self._observe(), float(reward), bool(terminated), bool(truncated), self._info(result)

    def render(self) -> NDArray[np.uint8] | None:
        """The agentview, upright, or None without a render mode."""
        return self.episodes.frames()[0] if self.render_mode else None

    def close(self) -> None:
        """Release the simulator."""
        self.episodes.close()

    def _observe(self) -> Observations:
        return {key: value[0] for key, value in self.episodes.observe().items()}

    def _info(self, result: StepResult) -> dict[str, Any]:
        """Numpy's numbers, which TorchRL's reader of infos needs; truth values as arrays without axes.

        Gymnasium's vector environments batch those as truth values, but make objects of numpy's scalar ones.
        """
        infos = self.episodes.info(result).items()
        return {key: values[0, ...] if values.dtype == np.bool_ else values[0] for key, values in infos}
