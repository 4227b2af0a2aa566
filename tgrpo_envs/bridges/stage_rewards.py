"""Stage rewards in environments that are not ours: hf-libero's own, robosuite's, any that can say how things stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tgrpo_envs.arrays import whole_number
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.rewards import CreditProfile, StageReport, StageSpec, StageTracker, choose_profile, choose_spec
from tgrpo_envs.scene import Scene, load_scene
from tgrpo_envs.sim.snapshot import BoolArray, Snapshot, SnapshotLayout
from tgrpo_envs.sim.snapshot_fill import SnapshotWriter
from tgrpo_envs.sim.success import goal_truth
from tgrpo_envs.tasks import get_task

_ONE = np.ones(1, dtype=bool)
_STEP_RESULTS = (4, 5)  # of robosuite and old Gym; of Gymnasium


class Reading(Protocol):
    """What an environment shows of itself, in the names that a stage specification uses.

    Attributes:
        layout: Names of objects, regions and joints, and what is constant about them.
    """

    layout: SnapshotLayout

    def read(self, snapshot: Snapshot) -> BoolArray:
        """Write how things stand now into row 0 of `snapshot` (metres, radians, contacts of the gripper).

        Returns:
            (C,) the truth of each conjunct of the environment's own goal; all of them are success.
        """
        ...


class StageRewardWrapper:
    """Another environment, paid by the stages of a specification in place of its own reward.

    Everything but `reset`, `set_init_state`, `step` and `start` is the environment's own. `step` returns what the
    environment returns, old Gym's four values or Gymnasium's five, with the reward replaced and these infos added:
    ``progress`` (0 to 1), ``stage`` (index of the first stage that is not done), ``stages`` (K,), ``success``, and
    ``own_reward``, which the environment paid.

    Args:
        env: An environment with `reset` and `step`.
        reading: What it shows of itself.
        spec: The stages.
        horizon: Most steps of an episode; later ones pay nothing.
        profile: How progress is paid; None takes the default one.

    Raises:
        UnknownNameError: The specification names what the layout lacks.
        SpecError: It uses a thing in a way that it does not allow.
        ConfigError: A horizon of less than one step.
    """

    def __init__(
        self, env: Any, reading: Reading, spec: StageSpec, *, horizon: int, profile: CreditProfile | None = None
    ) -> None:
        self.env, self.reading, self.spec = env, reading, spec
        horizon = whole_number("horizon", horizon, 1)
        self._tracker = StageTracker(spec, profile or CreditProfile(), reading.layout, 1, horizon)
        self._snapshot = Snapshot.empty(reading.layout, 1)
        self._steps = 0
        self._started = False

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # not there yet, as in a copy that is being made
            raise AttributeError(name)
        return getattr(self.env, name)

    def reset(self, *args: Any, **kwargs: Any) -> Any:
        """Reset the environment and start an episode there."""
        result = self.env.reset(*args, **kwargs)
        self.start()
        return result

    def set_init_state(self, *args: Any, **kwargs: Any) -> Any:
        """LIBERO's: put it into a state and start an episode there."""
        result = self.env.set_init_state(*args, **kwargs)
        self.start()
        return result

    def start(self) -> None:
        """Count stages and steps from here on: call it where an episode begins with steps of waiting."""
        goal_C = self.reading.read(self._snapshot)
        self._tracker.reset(self._snapshot, np.asarray(goal_C, dtype=bool)[None], _ONE)
        self._steps, self._started = 0, True

    def step(self, action: Any) -> tuple[Any, ...]:
        """Play the step and pay for it.

        Raises:
            ConfigError: No episode was started, or the environment returned neither four values nor five.
        """
        if not self._started:
            raise ConfigError("No episode was started: call reset() before step().")
        result = self.env.step(action)
        if not isinstance(result, tuple) or len(result) not in _STEP_RESULTS:
            raise ConfigError(f"{type(self.env).__name__}.step must return four values or five, as Gym's do.")
        goal_C = np.asarray(self.reading.read(self._snapshot), dtype=bool)
        self._steps += 1
        report = self._tracker.step(self._snapshot, goal_C[None], _ONE, np.array([self._steps]))
        observation, own_reward, *ends, infos = result
        infos = {**infos, **_infos(report), "success": bool(goal_C.all()), "own_reward": own_reward}
        return (observation, float(report.reward_N[0]), *ends, infos)


def _infos(report: StageReport) -> dict[str, Any]:
    return {
        "progress": float(report.progress_N[0]),
        "stage": int(report.stage_N[0]),
        "stages": report.stages_NK[0].copy(),
    }


class LiberoReading:
    """hf-libero's own environment read as ours reads its simulation: the same code on the same arrays.

    Args:
        env: LIBERO's `ControlEnv` or `OffScreenRenderEnv`.
        scene: Its task on the assets that it uses.

    Raises:
        ConfigError: The environment simulates another model.
    """

    def __init__(self, env: Any, scene: Scene) -> None:
        self.layout: SnapshotLayout = scene.layout
        self._env, self._scene = env, scene
        self._read_by: tuple[Snapshot, SnapshotWriter] | None = None
        theirs, ours = env.sim.model._model, scene.model
        sizes = [(model.nq, model.nv, model.nbody, model.ngeom, model.nsite) for model in (theirs, ours)]
        if sizes[0] != sizes[1]:
            raise ConfigError(
                f"The environment's model has (nq, nv, bodies, geoms, sites) {sizes[0]}, and the scene of "
                f"{scene.task.name} on assets {scene.pack_name!r} has {sizes[1]}: name its own task and assets."
            )

    def read(self, snapshot: Snapshot) -> BoolArray:
        """See `Reading`; the goal is LIBERO's, recomputed."""
        if self._read_by is None or self._read_by[0] is not snapshot:
            self._read_by = (snapshot, SnapshotWriter(self._scene, snapshot))
        self._read_by[1].write(0, self._env.sim.data._data)  # which LIBERO's hard reset replaces
        truth_C: BoolArray = goal_truth(self._scene.goal, self.layout, snapshot)[0]
        return truth_C


def pay_libero(
    env: Any,
    suite: str,
    task: int | str,
    *,
    assets: str | Path = "auto",
    reward: str = "stages",
    horizon: int | None = None,
    credit: CreditProfile | None = None,
) -> StageRewardWrapper:
    """hf-libero's own environment of a task with our reward: the same numbers as ours where the physics are the same.

    Call `start` after the ten steps of waiting with which LIBERO's evaluations begin an episode, as ours does.

    Args:
        env: LIBERO's `ControlEnv` or `OffScreenRenderEnv` of the task.
        suite: The task's suite.
        task: Index or name.
        assets: The assets that `env` uses: ``auto``, ``libero``, ``primitive`` or a folder.
        reward: ``stages``, ``llm``, ``compiled`` or ``sparse``.
        horizon: Most control steps of an episode; None takes the suite's.
        credit: How progress is paid; None takes the default one.

    Raises:
        UnknownNameError: No such suite, task or reward.
        ConfigError: `env` is of another task or other assets.
    """
    chosen = get_task(suite, task)
    scene = load_scene(chosen, assets)
    spec, profile = choose_spec(reward, scene.problem, chosen), choose_profile(reward, credit)
    return StageRewardWrapper(
        env, LiberoReading(env, scene), spec, horizon=chosen.horizon if horizon is None else horizon, profile=profile
    )
