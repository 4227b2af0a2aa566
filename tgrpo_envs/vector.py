"""Many episodes of LIBERO's tasks as a native Gymnasium vector environment: one process, threads, nothing pickled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from tgrpo_envs.arrays import flag, shown, whole_number
from tgrpo_envs.batch.multi_task import MultiTaskBatch
from tgrpo_envs.batch.reset_options import ResetOptions, parse_reset_options, parse_seeds
from tgrpo_envs.batch.task_batch import Observations, StepResult, TaskBatch, parse_actions
from tgrpo_envs.batch.task_info import MemberView, Registered
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.settings import EnvSettings, check_render_mode, warn_of_blindness
from tgrpo_envs.sim.snapshot import BoolArray

MAX_NUM_ENVS = 4096
AUTORESET_MODES = {mode.value: mode for mode in AutoresetMode}

Infos = dict[str, Any]


class LiberoVectorEnv(Registered, VectorEnv[Observations, NDArray[np.floating[Any]], NDArray[Any]]):
    """N episodes in lock-step; spaces, rewards and info keys as in `tgrpo_envs.env.LiberoEnv`, batched.

    Member i of an environment seeded with s plays the same episode as a single environment of its task seeded with
    s + i.

    With several tasks, ``infos["stages"]`` is as wide as the task with most stages, and columns beyond a member's own
    are False: ``get_attr("stage_names")`` says how many a member has. `task`, `task_description` and other facts of
    one task are then asked of the members, by `get_attr`; of the environment itself they are a `ConfigError`.

    Infos follow Gymnasium's convention: ``infos["_key"]`` says for which members ``infos["key"]`` holds. `reset` and
    `step` report the same keys; members that a `reset` leaves alone have zeros there.

    Reset options:
        group_size: Consecutive members that start from one state, drawn by the first of them (TGRPO's groups).
        init_states: The name of a set, or states of your own: `tgrpo_envs.scene.InitStates`, or an array (X,) for
            every member or (N, X) of time, qpos and qvel.
        init_state_ids: For each member a row of that set.
        reset_mask: Which members to reset; the others go on.

    Args:
        suite: Set by the environment id.
        num_envs: Number of members.
        tasks: Indices or names of the suite's tasks, in place of `task`. The members are divided among them in equal
            blocks: 8 members of 4 tasks are two of the first, two of the second and so on.
        render_mode: None or ``rgb_array``.
        autoreset_mode: ``NextStep``: a finished member starts anew at the next step, whose action it ignores.
            ``SameStep``: it starts anew at once; ``infos`` has its last observation as ``final_obs`` and its last info
            as ``final_info``. ``Disabled``: it stays frozen with reward 0 and its last observation until it is reset.
        copy: Whether `reset` and `step` return arrays of their own. False returns the same arrays each time,
            overwritten in place.
        max_episode_steps: Limit in environment steps, beside the horizon in control steps, which the reward goes by.
        **settings: See `tgrpo_envs.settings.EnvSettings`.

    Raises:
        UnknownNameError: A name that does not exist.
        ConfigError: A number out of range, or members that cannot be divided among the tasks.
    """

    def __init__(
        self,
        suite: str,
        num_envs: int = 1,
        *,
        tasks: Sequence[int | str] | None = None,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        max_episode_steps: int | None = None,
        **settings: Any,
    ) -> None:
        num_envs = whole_number("num_envs", num_envs, 1, MAX_NUM_ENVS)
        settings_N = _member_settings(suite, num_envs, tasks, settings)
        limit = None
        if max_episode_steps is not None:
            limit = whole_number("max_episode_steps", max_episode_steps, 1) * settings_N[0].action_chunk
        warn_of_blindness(settings_N[0])
        self.num_envs = num_envs
        self.render_mode = check_render_mode(render_mode)
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.copy = flag("copy", copy)
        fps = settings_N[0].frames_per_second
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": fps, "autoreset_mode": self.autoreset_mode}
        self.batch = MultiTaskBatch(settings_N, limit)
        self.single_observation_space = settings_N[0].observation_space(self.batch.state_size)
        self.single_action_space = settings_N[0].action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.members = [
            MemberView(block.episodes) for block in self.batch.blocks for _ in range(block.episodes.num_envs)
        ]
        self._terminated_N, self._truncated_N, self._diverged_N = np.zeros((3, num_envs), dtype=bool)
        self._torn_N: BoolArray = np.zeros(num_envs, dtype=bool)  # a step of theirs was interrupted

    @property  # type: ignore[misc] # each member has its own, as in Gymnasium's own vector environments
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Each member's generator."""
        return self.get_attr("np_random")

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """What each member was seeded with."""
        return self.get_attr("np_random_seed")

    @property
    def _max_episode_steps(self) -> int:
        """Episode limit in environment steps, the same for all members, whatever their tasks."""
        return self.members[0]._max_episode_steps

    @property
    def episodes(self) -> TaskBatch:
        """The members' episodes, where all pose one task.

        Raises:
            ConfigError: They pose several.
        """
        if len(self.batch.blocks) > 1:
            raise ConfigError(
                f"The {self.num_envs} members pose {len(self.batch.blocks)} tasks, so this is asked of the members: "
                'use get_attr("task_description"), or batch.blocks for their episodes.'
            )
        return self.batch.blocks[0].episodes

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Gymnasium's `call`: the value or result of an attribute of each member, see `batch.task_info.MemberView`.

        ``call("render")``, by which LeRobot takes its videos, is each member's picture.
        """
        if name == "render":
            return self.render() or (None,) * self.num_envs
        return tuple(member.value(name, *args, **kwargs) for member in self.members)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Gymnasium's `get_attr`: an attribute of each member."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Gymnasium's `set_attr`: a list or tuple has a value for each member, anything else is for all.

        Raises:
            ConfigError: A list of another length.
            AttributeError: What a member says about its task cannot be set.
        """
        values_N = values if isinstance(values, (list, tuple)) else [values] * self.num_envs
        if len(values_N) != self.num_envs:
            raise ConfigError(f"Got {len(values_N)} values of {name!r} for {self.num_envs} members.")
        for member, value in zip(self.members, values_N, strict=True):
            setattr(member, name, value)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, Infos]:
        """Reset all members, or those of ``options["reset_mask"]``; see the class for the options."""
        parsed = parse_reset_options(options, self.num_envs)
        if seed is not None:
            self._seed(seed, parsed.mask_N)
        self._reset(parsed)
        infos = self.batch.info(StepResult.of_reset(self.num_envs))
        return self._observations(), _masked(infos, parsed.mask_N)

    def step(
        self, actions: NDArray[np.floating[Any]]
    ) -> tuple[Observations, NDArray[Any], NDArray[Any], NDArray[Any], Infos]:
        """Advance every running member by one environment step.

        Raises:
            ActionError: Another shape than the action space's, or NaN or infinity for a running member.
            ConfigError: A member was never reset, or not since a step was interrupted.
        """
        shape = self.action_space.shape
        assert shape is not None
        done_N = self._terminated_N | self._truncated_N
        actions_NCA = parse_actions(actions, shape, ~done_N)
        self.batch.check_started(~done_N)
        if self._torn_N.any():
            raise ConfigError("The last step was interrupted and did not end; call reset() first.")
        self._torn_N[:] = True
        result = self.batch.step(actions_NCA, ~done_N)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            infos = self._restart_ended(result)
        else:
            if self.autoreset_mode is AutoresetMode.DISABLED:
                result = self._with_earlier_ends(result)
            elif done_N.any():
                self._reset(_to_reset(done_N))
            infos = self._all_infos(result)
            self._terminated_N, self._truncated_N = result.success_N, result.truncated_N
            self._diverged_N = result.diverged_N
        observations = self._observations()
        self._torn_N[:] = False
        return observations, result.rewards_N, result.success_N.copy(), result.truncated_N.copy(), infos

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """The agentview of every member, upright, or None without a render mode."""
        return tuple(self.batch.frames()) if self.render_mode else None

    def close_extras(self, **_kwargs: Any) -> None:
        """Release the simulators."""
        self.batch.close()

    def _seed(self, seed: int | Sequence[int | None], mask_N: BoolArray) -> None:
        for member, one, chosen in zip(self.members, parse_seeds(seed, self.num_envs), mask_N, strict=True):
            if chosen and one is not None:
                member.seed(one)

    def _reset(self, options: ResetOptions) -> None:
        self.closed = False  # a reset opens what `close` has closed, and Gymnasium's does nothing where this is True
        self.batch.reset(options, [member.np_random for member in self.members])
        self._terminated_N &= ~options.mask_N
        self._truncated_N &= ~options.mask_N
        self._diverged_N &= ~options.mask_N
        self._torn_N &= ~options.mask_N

    def _all_infos(self, result: StepResult) -> Infos:
        """What holds for all members: of a step, or of the reset that took its place."""
        return _masked(self.batch.info(result), np.ones(self.num_envs, dtype=bool))

    def _observations(self) -> Observations:
        """In a dictionary of the caller's own: TorchRL renames keys in it."""
        return {key: array.copy() if self.copy else array for key, array in self.batch.observations.items()}

    def _with_earlier_ends(self, result: StepResult) -> StepResult:
        """Disabled: members that ended before keep their outcome, so that `success` does not flicker."""
        return replace(
            result,
            success_N=result.success_N | self._terminated_N,
            truncated_N=result.truncated_N | self._truncated_N,
            diverged_N=result.diverged_N | self._diverged_N,
        )

    def _restart_ended(self, result: StepResult) -> Infos:
        """SameStep: members that end with this step start anew at once."""
        ended_N = result.success_N | result.truncated_N
        if not ended_N.any():
            return self._all_infos(result)
        final_info = _masked(self.batch.info(result), ended_N)
        final_obs = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(ended_N).tolist():
            final_obs[row] = {key: array[row].copy() for key, array in self.batch.observations.items()}
        self._reset(_to_reset(ended_N))
        infos = self._all_infos(StepResult.of_reset(self.num_envs))
        infos |= {"final_obs": final_obs, "final_info": final_info}
        return infos | {"_final_obs": ended_N.copy(), "_final_info": ended_N.copy()}


def _member_settings(
    suite: str, num_envs: int, tasks: Sequence[int | str] | None, settings: dict[str, Any]
) -> list[EnvSettings]:
    """What each member poses: all the same, or the tasks in equal blocks."""
    if tasks is None:
        return [EnvSettings(suite, **settings)] * num_envs
    if "task" in settings:
        raise ConfigError("Got both task and tasks; give one of them.")
    try:
        chosen = [tasks] if isinstance(tasks, str) else list(tasks)
    except TypeError as error:  # one number
        raise ConfigError(f"tasks={shown(tasks)} must be a list of indices or names; give one as task.") from error
    if not chosen or num_envs % len(chosen):
        raise ConfigError(f"num_envs={num_envs} cannot be divided among {len(chosen)} tasks; give a multiple of them.")
    each = [EnvSettings(suite, task=task, **settings) for task in chosen]
    if each[0].reward_is_file and len({one.resolved_task for one in each}) > 1:
        raise ConfigError(f"reward={each[0].reward!r} holds the stages of one task; use 'stages' for several.")
    return [one for one in each for _ in range(num_envs // len(chosen))]


def _autoreset_mode(mode: str | AutoresetMode) -> AutoresetMode:
    value = mode.value if isinstance(mode, AutoresetMode) else mode
    if not isinstance(value, str) or value not in AUTORESET_MODES:
        raise UnknownNameError("autoreset mode", value, AUTORESET_MODES)
    return AUTORESET_MODES[value]


def _to_reset(mask_N: BoolArray) -> ResetOptions:
    """What an automatic reset asks for: a state of the environment's own set."""
    return ResetOptions(name=None, ids_N=None, given_N=None, group_size=1, mask_N=mask_N)


def _masked(infos: Infos, mask_N: BoolArray) -> Infos:
    """The values of the masked members, zero or None for the others, and beside every key its mask as `_key`."""
    masked: Infos = {}
    for key, values in infos.items():
        masked[key], masked[f"_{key}"] = values.copy(), mask_N.copy()
        masked[key][~mask_N] = None if values.dtype == object else 0
    return masked
