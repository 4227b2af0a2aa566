"""Evaluation: k successes of n with their interval, on fixed initial states, with every setting beside the numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_trainer.config import EnvConfig, Settings, TrainConfig
from tgrpo_trainer.environment import Envs
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.progress import Progress, progress
from tgrpo_trainer.rollout import Member, Sampling, play
from tgrpo_trainer.seeds import Stream, derive_seed
from tgrpo_trainer.types import EpisodeEnd

Z_95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""

StateSet = Literal["heldout", "official"]
Mode = Literal["greedy", "sampled"]


class EpisodeResult(Settings):
    """One evaluated episode."""

    state: int
    """Row of the set of initial states."""
    success: bool
    """LIBERO's check held."""
    end: EpisodeEnd
    """Why it ended; a diverged simulation counts as no success and is visible here."""
    control_steps: int
    """Length (20 Hz)."""
    total_reward: float
    """Sum of rewards."""
    num_stages: int
    """Most stages of the reward that were done at once."""


class Evaluation(Settings):
    """Success of one policy on one set of states in one mode, with everything needed to repeat it."""

    iteration: int
    """Training iterations behind the policy; 0 = after behaviour cloning."""
    states: StateSet
    """heldout = region states that training never draws; official = LIBERO's own 50."""
    mode: Mode
    """greedy = the most probable action; sampled = drawn at the temperature."""
    temperature: float
    """Temperature of a sampled evaluation."""
    seed: int
    """Seed of a sampled evaluation."""
    env: EnvConfig
    """The environment's settings."""
    instruction: str
    """What the policy was told."""
    horizon: int
    """Episode limit in control steps."""
    stage_names: tuple[str, ...]
    """Stages of the reward, in order."""
    num_successes: int
    """k"""
    num_episodes: int
    """n"""
    interval: tuple[float, float]
    """Wilson's 95 % interval of the success rate."""
    episodes: tuple[EpisodeResult, ...]
    """In the order of the states."""

    @property
    def success_rate(self) -> float:
        """Successes per episode."""
        return self.num_successes / self.num_episodes

    @property
    def key(self) -> str:
        """Its name in logs, for example `heldout_greedy`."""
        return f"{self.states}_{self.mode}"

    def stage_histogram(self) -> list[int]:
        """Episodes that got as far as 0, 1, ... all stages done."""
        counts = np.bincount([one.num_stages for one in self.episodes], minlength=len(self.stage_names) + 1)
        return [int(count) for count in counts]

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.num_successes}/{self.num_episodes} = {self.success_rate:.0%} [{low:.0%}, {high:.0%}]"


def wilson_interval(num_successes: int, num_trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a success rate (Wilson 1927): sensible at 0/n and n/n, where k/n +- z s is not.

    Raises:
        ValueError: Not 0 <= num_successes <= num_trials with at least one trial.
    """
    if num_trials < 1 or not 0 <= num_successes <= num_trials:
        raise ValueError(f"{num_successes} successes of {num_trials} trials is not a proportion.")
    rate, spread = num_successes / num_trials, z * z / num_trials
    centre = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(rate * (1 - rate) / num_trials + spread / (4 * num_trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def _gather_alone(here: Any) -> list[Any]:
    return [here]


@dataclass(frozen=True)
class Shard:
    """Which of the episodes this process plays, and how it learns what the others played."""

    rank: int = 0
    """This process, from 0."""
    size: int = 1
    """Processes."""
    gather: Callable[[Any], list[Any]] = _gather_alone
    """Takes what this process has and returns what each process has, in the order of ranks."""

    def positions(self, num_episodes: int) -> range:
        """Every `size`-th episode, starting with this process's own."""
        return range(self.rank, num_episodes, self.size)


ALONE = Shard()


def evaluate(
    policy: Policy,
    envs: Envs,
    *,
    env: EnvConfig,
    states: StateSet,
    state_ids: Sequence[int],
    mode: Mode,
    temperature: float = 1.0,
    seed: int = 0,
    iteration: int = 0,
    shard: Shard = ALONE,
    on_progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Play one episode from each of the given states.

    Results do not depend on how many environments run side by side: each episode draws from a generator of its own.

    Args:
        policy: Plays.
        envs: Made with `env`, any number of members.
        env: Recorded in the result.
        states: Which set.
        state_ids: Its rows, distinct or not.
        mode: Greedy or sampled.
        temperature: Of a sampled evaluation.
        seed: Of a sampled evaluation.
        iteration: Recorded in the result.
        shard: This process's share; the result is the same on every process.
        on_progress: Told the number of episodes finished here.

    Raises:
        ConfigError: No states, or a row outside the set.
    """
    _check_ids(envs, states, state_ids)
    seeds = episode_seeds(seed, state_ids)
    here: dict[int, EpisodeResult] = {}
    for batch in _even_batches(shard.positions(len(state_ids)), envs.num_envs):
        # The environment's size is fixed: a short batch is filled with repeats, whose episodes are not counted.
        filled = np.resize(np.asarray(batch, dtype=np.int64), envs.num_envs)
        ids = np.asarray([state_ids[int(position)] for position in filled], dtype=np.int64)
        observation, _ = envs.reset(options={"init_states": states, "init_state_ids": ids})
        generators = [torch.Generator(policy.device).manual_seed(seeds[position]) for position in filled]
        sampling = Sampling(temperature, greedy=mode == "greedy", generators=generators)
        members = play(policy, envs, observation, sampling).members[: len(batch)]
        for position, member in zip(batch, members, strict=True):
            here[position] = _episode_result(state_ids[position], member)
        if on_progress is not None:
            on_progress(len(here))
    played = {position: episode for part in shard.gather(here) for position, episode in part.items()}
    episodes = [played[position] for position in range(len(state_ids))]
    num_successes = sum(one.success for one in episodes)
    return Evaluation(
        iteration=iteration,
        states=states,
        mode=mode,
        temperature=temperature,
        seed=seed,
        env=env,
        instruction=envs.task_description,
        horizon=envs.horizon,
        stage_names=tuple(envs.stage_names),
        num_successes=num_successes,
        num_episodes=len(episodes),
        interval=wilson_interval(num_successes, len(episodes)),
        episodes=tuple(episodes),
    )


def episode_seeds(seed: int, state_ids: Sequence[int]) -> list[int]:
    """Seed of each episode's actions: follows from the evaluation's seed, the state, and how often it came before."""
    trials: Counter[int] = Counter()
    seeds = []
    for state in state_ids:
        seeds.append(int(np.random.SeedSequence([seed, state, trials[state]]).generate_state(1)[0]))
        trials[state] += 1
    return seeds


def evaluate_all(
    policy: Policy, envs: Envs, config: TrainConfig, *, iteration: int, shard: Shard = ALONE
) -> tuple[Evaluation, ...]:
    """Both sets of states, greedy and sampled, as the run's settings say; held-out greedy comes first."""
    counts: dict[StateSet, int] = {"heldout": config.evaluation.num_heldout, "official": config.evaluation.num_official}
    modes: tuple[Mode, ...] = ("greedy", "sampled")
    evaluations: list[Evaluation] = []
    before = 0
    total = len(modes) * sum(len(shard.positions(count)) for count in counts.values())
    with progress("Evaluating", total, shown=shard.rank == 0) as bar:
        for states, count in counts.items():
            for mode in modes:
                evaluation = evaluate(
                    policy,
                    envs,
                    env=config.env,
                    states=states,
                    state_ids=range(count),
                    mode=mode,
                    temperature=config.evaluation.temperature,
                    seed=derive_seed(config.run.seed, Stream.EVALUATION),
                    iteration=iteration,
                    shard=shard,
                    on_progress=partial(_advance, bar, before),
                )
                evaluations.append(evaluation)
                before += len(shard.positions(count))
    return tuple(evaluations)


def _advance(bar: Progress, before: int, episodes: int) -> None:
    bar.advance(before + episodes, {})


_EVALUATIONS = TypeAdapter(tuple[Evaluation, ...])


def save_evaluations(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """Write as JSON, replacing an earlier file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(_EVALUATIONS.dump_json(tuple(evaluations), indent=1))
    temporary.replace(path)


def load_evaluations(path: Path) -> tuple[Evaluation, ...]:
    """Read what `save_evaluations` wrote.

    Raises:
        CheckpointError: Not such a file, or of another version.
    """
    try:
        return _EVALUATIONS.validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{path} does not hold evaluations of this version: {error}") from error


def _check_ids(envs: Envs, states: StateSet, state_ids: Sequence[int]) -> None:
    size = envs.num_init_states(states)
    bad = [state for state in state_ids if not 0 <= state < size]
    if not state_ids or bad:
        what = f"{bad[0]} is not one of them" if bad else "none was given"
        raise ConfigError(f"Evaluation needs rows 0 to {size - 1} of the {states} states; {what}.")


def _even_batches(positions: Sequence[int], most: int) -> list[list[int]]:
    """As few batches as possible, of nearly equal size, so that little is filled up."""
    if not positions:
        return []
    count = math.ceil(len(positions) / most)
    return [part.tolist() for part in np.array_split(np.asarray(positions, dtype=np.int64), count)]


def _episode_result(state: int, member: Member) -> EpisodeResult:
    trajectory = member.trajectory
    return EpisodeResult(
        state=state,
        success=trajectory.success,
        end=trajectory.end,
        control_steps=trajectory.control_steps,
        total_reward=trajectory.total_reward,
        num_stages=int(member.stages_TK.sum(1).max()) if len(trajectory) else 0,
    )
