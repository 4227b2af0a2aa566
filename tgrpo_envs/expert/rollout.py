"""Expert episodes side by side: reproducible whatever the batch size, watched by whoever records them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.arrays import as_numbers, shown, whole_number
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.expert.scripted import ScriptedExpert
from tgrpo_envs.scene import InitStates, Scene, sample_train_states
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray
from tgrpo_envs.sim.success import goal_truth

# Called before each control step with the live rows, the expert's actions and the ones about to be executed.
Watcher = Callable[[BoolArray, FloatArray, FloatArray], None]


# Apart from the held-out states' seed and the environments' seeds: numpy takes [seed, 0] for the same as seed alone.
EXPERT_STREAM = 0xDA27
NUM_CANDIDATES = 16


@dataclass(frozen=True)
class EpisodePlan:
    """What one episode starts from, fixed by the seed and the episode's number alone.

    Attributes:
        init: One initial state of the training distribution, not yet settled.
        noise_T3: Disturbance added to the translation part of each executed action.
    """

    init: InitStates
    noise_T3: FloatArray


@dataclass(frozen=True)
class Outcome:
    """How N episodes ended.

    Attributes:
        success_N: LIBERO's success check held within the horizon.
        steps_N: Control steps taken.
        phase_N: The expert's last `Phase`; where a failed episode was stuck.
    """

    success_N: BoolArray
    steps_N: NDArray[np.int64]
    phase_N: NDArray[np.int64]


def check_numbers(max_noise: object, seed: object, **counts: object) -> None:
    """Make sure that a recording or a measurement can be made.

    Args:
        max_noise: As of `plan_episode`.
        seed: Likewise.
        counts: Of episodes, by the name of their setting.

    Raises:
        ConfigError: A number out of range, or something that is none.
    """
    for name, count in counts.items():
        whole_number(name, count, 1)
    whole_number("seed", seed, 0)
    noise = as_numbers(max_noise, "max_noise")
    if noise.ndim or not 0.0 <= noise < np.inf:
        raise ConfigError(f"max_noise={shown(max_noise)} must be a finite number of at least 0.")


def plan_episode(scene: Scene, seed: int, number: int, max_noise: float) -> EpisodePlan:
    """Draw an episode's initial state and disturbance.

    Args:
        scene: The task's scene.
        seed: Of the whole recording.
        number: Of the episode within it.
        max_noise: The noise's standard deviation is uniform in [0, max_noise], in units of the action (DART,
            Laskey et al. 2017: disturbed executions with clean labels teach recovery).
    """
    rng = np.random.default_rng([EXPERT_STREAM, seed, number])
    return _disturbed(scene, sample_train_states(scene, rng, 1), rng, max_noise)


def spread_episodes(scene: Scene, seed: int, max_noise: float) -> Iterator[EpisodePlan]:
    """Episodes 0, 1, ... that start evenly over the task's regions, where independent draws leave gaps and clusters.

    Each starts from that of `NUM_CANDIDATES` draws whose goal lies farthest from the goals of all episodes before
    (Mitchell's best candidate); see `plan_episode` for the arguments.
    """
    earlier: list[FloatArray] = []
    for number in itertools.count():
        rng = np.random.default_rng([EXPERT_STREAM, seed, number])
        drawn = sample_train_states(scene, rng, NUM_CANDIDATES)
        places_KF = _goal_places(scene, drawn)
        best = farthest(places_KF, earlier)
        earlier.append(places_KF[best])
        chosen = InitStates(drawn.states_NX[best : best + 1], drawn.fixtures_NF7[best : best + 1])
        yield _disturbed(scene, chosen, rng, max_noise)


def farthest(candidates_KF: FloatArray, earlier: Sequence[FloatArray]) -> int:
    """The candidate whose nearest earlier point is farthest away; the first one where there are none."""
    if not earlier:
        return 0
    apart_KE = np.linalg.norm(candidates_KF[:, None] - np.stack(earlier)[None], axis=2)
    return int(apart_KE.min(axis=1).argmax())


def _goal_places(scene: Scene, drawn: InitStates) -> FloatArray:
    """Where the objects that the goal speaks of and all fixtures stand, (K, F): x and y of each, metres."""
    rows = sorted({row for each in scene.goal for row in (each.object_row, each.support_row) if row >= 0})
    addresses = [scene.record.objects[row].qpos_address for row in rows]
    places = [drawn.states_NX[:, 1 + address : 3 + address] for address in addresses if address is not None]
    return np.concatenate([*places, drawn.fixtures_NF7[:, :, :2].reshape(len(drawn.states_NX), -1)], axis=1)


def _disturbed(scene: Scene, init: InitStates, rng: np.random.Generator, max_noise: float) -> EpisodePlan:
    sigma = rng.uniform(0.0, max_noise)
    return EpisodePlan(init, rng.normal(0.0, sigma, (scene.task.horizon, 3)))


def run_expert(simulator: Simulator, plans: Sequence[EpisodePlan], watch: Watcher | None = None) -> Outcome:
    """Run the expert on up to N planned episodes until each succeeds, diverges or reaches the horizon.

    Args:
        simulator: Of `len(plans)` environments or more; the further ones stay idle.
        plans: One for each of the first environments.
        watch: Sees every control step before it is executed.
    """
    scene, num_envs = simulator.scene, simulator.num_envs
    live_N = np.arange(num_envs) < len(plans)
    padded = [*plans, *[plans[0]] * (num_envs - len(plans))]
    noise_NT3 = np.stack([plan.noise_T3 for plan in padded])
    simulator.reset(join_states([plan.init for plan in padded]), live_N)
    expert = ScriptedExpert(scene.layout, scene.task.goal, num_envs, scene.problem)
    expert.reset(simulator.snapshot, live_N)
    success_N, steps_N = np.zeros(num_envs, dtype=bool), np.zeros(num_envs, dtype=np.int64)
    for step in range(scene.task.horizon):
        expert_NA = expert.act(simulator.snapshot)
        executed_NA = expert_NA.copy()
        executed_NA[:, :3] = np.clip(executed_NA[:, :3] + noise_NT3[:, step], -1.0, 1.0)
        if watch is not None:
            watch(live_N, expert_NA, executed_NA)
        diverged_N = simulator.step(executed_NA, live_N)
        steps_N += live_N
        goal_NC = goal_truth(scene.goal, scene.layout, simulator.snapshot)
        success_N |= live_N & ~diverged_N & goal_NC.all(axis=1)
        live_N = live_N & ~diverged_N & ~success_N
        if not live_N.any():
            break
    rows = slice(len(plans))
    return Outcome(success_N[rows], steps_N[rows], expert.phase_N[rows])


def join_states(states: Sequence[InitStates]) -> InitStates:
    """One `InitStates` with the rows of all, in order."""
    return InitStates(
        states_NX=np.concatenate([state.states_NX for state in states]),
        fixtures_NF7=np.concatenate([state.fixtures_NF7 for state in states]),
    )
