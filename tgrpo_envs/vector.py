"""Many episodes of one LIBERO task as a native Gymnasium vector environment: one process, one model, threads."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from tgrpo_envs.episodes import Episodes, Observations, StepResult, parse_actions
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.resets import ResetOptions, initial_states, parse_reset_options
from tgrpo_envs.settings import EnvSettings, check_render_mode
from tgrpo_envs.sim.snapshot import BoolArray
from tgrpo_envs.tasks import Task

MAX_NUM_ENVS = 4096
AUTORESET_MODES = {mode.value: mode for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED)}


class LiberoVectorEnv(VectorEnv[Observations, NDArray[np.floating[Any]], NDArray[Any]]):
    """N episodes of one task; spaces, rewards and info keys as in `tgrpo_envs.env.LiberoEnv`, batched.

    Member i of an environment seeded with s plays the same episode as a single environment seeded with s + i.

    Reset options:
        group_size: Consecutive members that start from one state, drawn by the first of them (TGRPO's groups).
        init_states, init_state_ids: A set and one of its rows for every member.
        reset_mask: Which members to reset; the others go on.

    Args:
        suite: Set by the environment id.
        num_envs: Number of members.
        render_mode: None or ``rgb_array``.
        autoreset_mode: ``NextStep``: a finished member starts anew at the next step, whose action it ignores.
            ``Disabled``: it stays frozen with reward 0 and its last observation until it is reset.
        max_episode_steps: Limit in environment steps, beside the horizon in control steps.
        **settings: See `tgrpo_envs.settings.EnvSettings`.

    Raises:
        UnknownNameError: A name that does not exist.
        ConfigError: A number out of range.
    """

    def __init__(
        self,
        suite: str,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(num_envs, bool) or not isinstance(num_envs, int) or not 1 <= num_envs <= MAX_NUM_ENVS:
            raise ConfigError(f"num_envs={num_envs!r} must be a whole number from 1 to {MAX_NUM_ENVS}.")
        if max_episode_steps is not None:
            steps = int(max_episode_steps) * settings.get("action_chunk", 1)
            settings["horizon"] = min(steps, settings.get("horizon") or steps)
        self.settings = EnvSettings(suite, **settings)
        self.num_envs = num_envs
        self.render_mode = check_render_mode(render_mode)
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 20, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = self.settings.observation_space()
        self.single_action_space = self.settings.action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.episodes = Episodes(self.settings, num_envs)
        self._generators = [seeding.np_random()[0] for _ in range(num_envs)]
        self._terminated_N, self._truncated_N = np.zeros((2, num_envs), dtype=bool)

    @property
    def task(self) -> Task:
        """The task all members pose."""
        return self.settings.resolved_task

    @property
    def task_description(self) -> str:
        """The instruction."""
        return self.task.instruction

    @property
    def horizon(self) -> int:
        """Episode limit in control steps."""
        return self.settings.episode_horizon

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the reward's stages, in the order of ``info["stages"]``."""
        return tuple(stage.id for stage in self.episodes.spec.stages)

    def num_init_states(self, name: str) -> int:
        """Size of the ``heldout`` or ``official`` set."""
        return len(self.episodes.fixed_states(name))

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Gymnasium's `call`: the value or result of an attribute of each member; here they share it."""
        attribute = getattr(self, name)
        value = attribute(*args, **kwargs) if callable(attribute) else attribute
        return (value,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Gymnasium's `get_attr`: an attribute of each member."""
        return self.call(name)

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Reset all members, or those of ``options["reset_mask"]``; see the class for the options."""
        if seed is not None:
            seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else list(seed)
            if len(seeds) != self.num_envs:
                raise ConfigError(f"seed must be one number or {self.num_envs} of them, got {len(seeds)}.")
            self._generators = [seeding.np_random(one)[0] for one in seeds]
        parsed = parse_reset_options(options, self.num_envs)
        self._reset(parsed)
        infos = {"instruction": np.array([self.task_description] * self.num_envs, dtype=object)}
        return self.episodes.observe(), _with_masks(infos, parsed.mask_N)

    def step(
        self, actions: NDArray[np.floating[Any]]
    ) -> tuple[Observations, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Advance every running member by one environment step.

        Raises:
            ActionError: Another shape than the action space's, or NaN or infinity for a running member.
        """
        shape = self.action_space.shape
        assert shape is not None
        actions_NCA = parse_actions(actions, shape)
        done_N = self._terminated_N | self._truncated_N
        result = self.episodes.step(actions_NCA, ~done_N)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            if done_N.any():
                self._reset(ResetOptions(None, None, group_size=1, mask_N=done_N))
            self._terminated_N, self._truncated_N = result.success_N.copy(), result.truncated_N.copy()
        else:
            self._terminated_N |= result.success_N
            self._truncated_N |= result.truncated_N
        infos = self.episodes.info(self._frozen(result))
        return (
            self.episodes.observe(),
            result.rewards_N,
            self._terminated_N.copy(),
            self._truncated_N.copy(),
            _with_masks(infos, self.episodes.all_members),
        )

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """The agentview of every member, upright, or None without a render mode."""
        return tuple(self.episodes.frames()) if self.render_mode else None

    def close_extras(self) -> None:
        """Release the simulator."""
        self.episodes.close()

    def _reset(self, options: ResetOptions) -> None:
        self.episodes.reset(initial_states(self.episodes, options, self._generators), options.mask_N)
        self._terminated_N &= ~options.mask_N
        self._truncated_N &= ~options.mask_N

    def _frozen(self, result: StepResult) -> StepResult:
        """The result with the outcome of members that had ended before kept, so that `success` does not flicker."""
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            return result
        return StepResult(result.rewards_N, self._terminated_N, self._truncated_N, result.diverged_N)


def _autoreset_mode(mode: str | AutoresetMode) -> AutoresetMode:
    value = mode.value if isinstance(mode, AutoresetMode) else mode
    if value not in AUTORESET_MODES:
        raise UnknownNameError("autoreset mode", value, AUTORESET_MODES)
    return AUTORESET_MODES[value]


def _with_masks(infos: dict[str, Any], mask_N: BoolArray) -> dict[str, Any]:
    """Gymnasium's vector convention: beside every key, `_key` says for which members it holds."""
    return {**infos, **{f"_{key}": mask_N.copy() for key in infos}}
