"""N episodes of one task side by side: simulate, judge success, pay reward, observe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium.vector.utils import create_empty_array
from numpy.typing import NDArray

from tgrpo_envs.arrays import as_numbers
from tgrpo_envs.batch.reward_file import load_reward_file
from tgrpo_envs.batch.state import StateObserver
from tgrpo_envs.errors import ActionError, ConfigError, UnknownNameError
from tgrpo_envs.rewards import StageReport, StageSpec, StageTracker, choose_profile, choose_spec
from tgrpo_envs.scene import InitStates, Scene, fixed_states, sample_train_states
from tgrpo_envs.scene.perturb import Setting, load_setting
from tgrpo_envs.settings import INIT_STATE_SETS, EnvSettings
from tgrpo_envs.sim.saved import SavedSimulation, load, save
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray
from tgrpo_envs.sim.success import goal_truth

Observations = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class StepResult:
    """What one environment step did to N episodes; rows that were not live are zero.

    Attributes:
        rewards_N: Reward summed over the control steps of the chunk.
        success_N: LIBERO's own success check held and ended the episode.
        truncated_N: The horizon was reached, or the physics diverged.
        diverged_N: The physics became unstable; the episode says nothing about the policy.
    """

    rewards_N: FloatArray
    success_N: BoolArray
    truncated_N: BoolArray
    diverged_N: BoolArray

    @classmethod
    def of_reset(cls, num_envs: int) -> StepResult:
        """Before the first step of N episodes: nothing was paid and nothing ended."""
        return cls(np.zeros(num_envs), *np.zeros((3, num_envs), dtype=bool))


class TaskBatch:
    """N episodes of one task in lock-step, without seeds, autoreset or wrappers.

    The scene and the simulator are opened by the first `reset`, so constructing one is cheap and safe
    before a fork. A copy, pickled or not, goes on with the same episodes.

    An exception may come out of a signal's handler anywhere inside `reset` and `step`. The episodes that they were
    at must then be reset before the next step.

    Args:
        settings: The validated choices of the user; a reward that is a file is read and checked here.
        num_envs: How many episodes run side by side.
        max_control_steps: Limit beside the horizon, which it leaves to the reward as it is; None is no other.

    Attributes:
        limit: Control steps after which an episode is truncated.
        observations: The present observations, overwritten in place by `reset` and `step`.
    """

    def __init__(self, settings: EnvSettings, num_envs: int, max_control_steps: int | None = None) -> None:
        self.settings = settings
        self.num_envs = num_envs
        self.limit = min(max_control_steps or settings.episode_horizon, settings.episode_horizon)
        self.all_members: BoolArray = np.ones(num_envs, dtype=bool)
        self.control_steps_N: NDArray[np.int64] = np.zeros(num_envs, dtype=np.int64)
        self.stage_report: StageReport | None = None
        self._file_spec = load_reward_file(settings) if settings.reward_is_file else None
        self._setting: Setting | None = None
        self.state_observer = self._new_state_observer() if settings.observes_state else None
        self.observations = new_observations(settings, num_envs, self.state_size)
        self._pictures = tuple(settings.picture_spaces())
        self._started_N: BoolArray = np.zeros(num_envs, dtype=bool)  # and not left half-way since
        self._saved: SavedSimulation | None = None  # where a copy's simulator begins, once it is opened
        self._simulator: Simulator | None = None
        self._fixed_states: dict[str, InitStates] = {}

    def __getstate__(self) -> dict[str, Any]:
        """For copies: what the episodes go on with, without threads and MuJoCo's memory."""
        state = {**vars(self), "_simulator": None, "_fixed_states": {}, "_setting": None}
        return state if self._simulator is None else {**state, "_saved": save(self._simulator)}

    def write_into(self, observations: Observations) -> None:
        """Keep the observations in these arrays of N rows from now on."""
        for key, array in self.observations.items():
            observations[key][:] = array
        self.observations = observations

    @property
    def state_size(self) -> int:
        """Numbers of a state observation, 0 without."""
        return self.state_observer.size if self.state_observer is not None else 0

    @property
    def simulator(self) -> Simulator:
        """The simulator, opened on first use."""
        if self._simulator is None:
            self._open()
        assert self._simulator is not None
        return self._simulator

    @property
    def scene(self) -> Scene:
        """The compiled scene, loaded on first use."""
        return self.simulator.scene

    @property
    def setting(self) -> Setting:
        """The scene beside the one without perturbation, loaded on first use."""
        if self._setting is None:
            settings = self.settings
            self._setting = load_setting(settings.resolved_task, settings.assets, settings.perturbation)
        return self._setting

    @property
    def spec(self) -> StageSpec:
        """The stage specification that pays the reward."""
        self.simulator  # noqa: B018 - opening fills the specification
        return self._spec

    def _open(self) -> None:
        settings = self.settings
        scene = self.setting.scene
        self._spec = self._choose_spec()
        simulator = Simulator(
            scene,
            self.num_envs,
            num_threads=settings.num_threads,
            cameras=settings.cameras,
            image_size=settings.image_size,
            render_size=settings.render_size,
            detail=settings.detail,
            control=settings.actions,
        )
        if self._saved is None:
            profile = choose_profile(settings.reward, settings.credit)
            self._tracker = StageTracker(self._spec, profile, scene.layout, self.num_envs, settings.episode_horizon)
        else:
            load(simulator, self._saved)
        self._simulator = simulator

    def _new_state_observer(self) -> StateObserver:
        return StateObserver(self.setting.scene, [stage.id for stage in self._choose_spec().stages])

    def _choose_spec(self) -> StageSpec:
        problem = self.setting.unperturbed.problem
        return self._file_spec or choose_spec(self.settings.reward, problem, self.settings.resolved_task)

    def fixed_states(self, name: str) -> InitStates:
        """The held-out or the official initial states, without perturbation.

        Raises:
            UnknownNameError: `name` is not a fixed set (``train`` is drawn, not listed).
        """
        if name not in self._fixed_states:
            self._fixed_states[name] = fixed_states(self.setting.unperturbed, name)
        return self._fixed_states[name]

    def draw_state(self, name: str, rng: np.random.Generator) -> InitStates:
        """One state of the set `name`: fresh from the BDDL regions for ``train``, else a random row of the list."""
        if name not in INIT_STATE_SETS:
            raise UnknownNameError("set of initial states", name, INIT_STATE_SETS)
        if name == "train":
            return sample_train_states(self.setting.unperturbed, rng, 1)
        states = self.fixed_states(name)
        return states.take(rng.integers(len(states), size=1))

    def states_by_id(self, name: str, ids_M: NDArray[np.int64]) -> InitStates:
        """Rows of a fixed set.

        Raises:
            StateError: An index outside the set.
        """
        return self.fixed_states(name).pick(ids_M, name)

    def reset(self, init: InitStates, mask_N: BoolArray) -> None:
        """Put the masked episodes into their initial states and settle them.

        Args:
            init: N states; rows outside the mask are ignored.
            mask_N: Which episodes start anew.
        """
        self._started_N &= ~mask_N
        self.simulator.reset(init, mask_N, images=self._images())
        self.control_steps_N[mask_N] = 0
        snapshot = self.simulator.snapshot
        goal_NC = goal_truth(self.scene.goal, self.scene.layout, snapshot)
        self.stage_report = self._tracker.reset(snapshot, goal_NC, mask_N)
        self._observe_numbers(mask_N)
        self._started_N |= mask_N

    def check_started(self, live_N: BoolArray) -> None:
        """Make sure that the episodes can be stepped and shown.

        Raises:
            ConfigError: One was never reset, or left half-way by an interrupt.
        """
        if (live_N & ~self._started_N).any():
            raise ConfigError(
                f"{self.settings.resolved_task.name}: an episode was never reset, or its last step or reset did not "
                "end; call reset() first."
            )

    def step(self, actions_NCA: FloatArray, live_N: BoolArray) -> StepResult:
        """Advance the live episodes by up to C control steps, each stopping when it ends.

        Args:
            actions_NCA: Actions; values beyond their bounds are clipped, rows that are not live are ignored.
            live_N: Which episodes run.

        Raises:
            ConfigError: A live episode was never reset, or left half-way by an interrupt.
        """
        self.check_started(live_N)
        self._started_N &= ~live_N
        actions_NCA = self.settings.actions.played(np.where(live_N[:, None, None], actions_NCA, 0.0))
        success_N, diverged_N = np.zeros((2, self.num_envs), dtype=bool)
        rewards_N = np.zeros(self.num_envs)
        running_N = live_N.copy()
        undrawn_N = live_N.copy()
        images = self._images()
        last = actions_NCA.shape[1] - 1
        for c, actions_NA in enumerate(np.moveaxis(actions_NCA, 1, 0)):
            if not running_N.any():
                break
            diverged_N |= self.simulator.step(actions_NA, running_N, images if c == last else None)
            undrawn_N &= (c < last) | ~running_N
            self.control_steps_N += running_N
            running_N &= ~diverged_N
            snapshot = self.simulator.snapshot
            goal_NC = goal_truth(self.scene.goal, self.scene.layout, snapshot)
            report = self._tracker.step(snapshot, goal_NC, running_N, self.control_steps_N)
            rewards_N[running_N] += report.reward_N[running_N]
            self.stage_report = report
            success_N |= running_N & goal_NC.all(axis=1)
            running_N &= ~success_N & (self.control_steps_N < self.limit)
        self._observe_numbers(live_N)
        if images and undrawn_N.any():  # they ended inside the chunk
            self.simulator.render(images, undrawn_N)
        truncated_N = live_N & ~success_N & ~running_N
        self._started_N |= live_N
        return StepResult(rewards_N, success_N, truncated_N, diverged_N)

    def observe(self) -> Observations:
        """Fresh copies of the N observations."""
        return {key: array.copy() for key, array in self.observations.items()}

    def info(self, result: StepResult) -> dict[str, NDArray[Any]]:
        """What `reset` and `step` report beside the reward: arrays of N rows, fresh on every call, without timings.

        Args:
            result: Of the step; after a reset, `StepResult.of_reset`.
        """
        report = self.stage_report or StageReport.before_reset(self.num_envs)
        return {
            "success": result.success_N.copy(),
            "is_success": result.success_N.copy(),
            "progress": report.progress_N.copy(),
            "stage": report.stage_N.copy(),
            "stages": report.stages_NK.copy(),
            "control_steps": self.control_steps_N.copy(),
            "diverged": result.diverged_N.copy(),
            "instruction": np.full(self.num_envs, self.settings.instruction, dtype=object),
        }

    def frames(self) -> NDArray[np.uint8]:
        """The agentview of every episode as it is now, (N, H, W, 3), upright, whatever `cameras` says.

        Raises:
            ConfigError: See `check_started`.
        """
        self.check_started(self.all_members)
        size = self.settings.render_size or self.settings.image_size
        frames = np.zeros((self.num_envs, size, size, 3), np.uint8)
        self.simulator.render({"agentview": frames}, self.all_members)
        return frames

    def close(self) -> None:
        """Release threads; closing twice is harmless, and `reset` opens them again."""
        simulator, self._simulator, self._saved, self._setting = self._simulator, None, None, None
        self._started_N[:] = False
        if simulator is not None:
            simulator.close()

    def _images(self) -> Observations:
        """The pictures among the observations."""
        return {key: self.observations[key] for key in self._pictures}

    def _observe_numbers(self, mask_N: BoolArray) -> None:
        """Bring what is no picture up to date; threads draw those as they step."""
        self.observations["proprio"][mask_N] = self.simulator.proprio_NP[mask_N]
        if self.state_observer is not None:
            self.state_observer.fill(self.observations["state"], self.simulator, self._tracker.done_NK, mask_N)


def new_observations(settings: EnvSettings, num_envs: int, state_size: int) -> Observations:
    """Contiguous arrays of zeros for the observations of N environments, states of so many numbers among them."""
    arrays = create_empty_array(settings.observation_space(state_size), n=num_envs, fn=np.zeros)
    assert isinstance(arrays, dict)
    return arrays


def parse_actions(actions: object, expected: tuple[int, ...], live_N: BoolArray) -> FloatArray:
    """Check actions and give them their chunk axis.

    Args:
        actions: Numbers of any library, in the shape `expected`; see `tgrpo_envs.arrays`.
        expected: (N, A) or (N, C, A); for one environment also (A,) or (C, A).
        live_N: Which rows will be played; the others may hold anything.

    Returns:
        float64 (N, C, A), C = 1 where `expected` has no chunk axis.

    Raises:
        ActionError: Another shape, not numbers, or NaN or infinity in a live row.
    """
    array = as_numbers(actions, f"Actions, an array of shape {expected},", ActionError)
    if array.shape != expected:
        raise ActionError(f"Got actions of shape {array.shape}; this environment takes {expected}.")
    actions_NCA = array.reshape(len(live_N), -1, expected[-1])
    bad_N = live_N & ~np.isfinite(actions_NCA).all(axis=(1, 2))
    if bad_N.any():
        row = int(np.flatnonzero(bad_N)[0])
        raise ActionError(
            f"The action of environment {row} holds NaN or infinity; send numbers within the action space."
        )
    return actions_NCA


def merge_states(states: list[InitStates]) -> InitStates:
    """One `InitStates` holding the rows of all, in order."""
    return replace(
        states[0],
        states_NX=np.concatenate([state.states_NX for state in states]),
        fixtures_NF7=np.concatenate([state.fixtures_NF7 for state in states]),
    )
