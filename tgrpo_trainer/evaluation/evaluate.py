"""Evaluation: choose episodes, play them, count. Who plays which episode changes nothing about its result.

The episodes of an evaluation are numbered; each draws its actions from a generator of its own, which follows from the
evaluation's seed and its initial state. What the environment draws for it follows from the state. So a result depends
neither on how many environments run side by side nor on a split over processes: `evaluate_part` plays some positions,
`merge_evaluations` makes the whole.
"""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.evaluation.result import (
    EpisodeResult,
    Evaluation,
    EvaluationPart,
    Mode,
    StateSet,
    merge_evaluations,
)
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.rollout.environment import Envs
from tgrpo_trainer.rollout.rollout import Rollout, Sampling, play
from tgrpo_trainer.run.console import Progress


def _gather_alone(here: Any) -> list[Any]:
    return [here]


@dataclass(frozen=True)
class EpisodeSplit:
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


ALONE = EpisodeSplit()


class Request(typing.TypedDict, total=False):
    """What is to be evaluated, by keyword: the arguments of `evaluate_part` but the positions."""

    env: typing.Required[EnvConfig]
    states: typing.Required[StateSet]
    state_ids: typing.Required[Sequence[int]]
    mode: typing.Required[Mode]
    temperature: float
    seed: int
    iteration: int
    on_progress: Callable[[int], None] | None
    on_episode: Callable[[int, Rollout], None] | None


def evaluate(
    policy: Policy, envs: Envs, *, shard: EpisodeSplit = ALONE, **request: typing.Unpack[Request]
) -> Evaluation:
    """Play one episode from each of the given states, this process its share of them, and count all.

    Args:
        policy: Plays.
        envs: Made with `env`, any number of members.
        shard: This process's share; the result is the same on every process.
        **request: As for `evaluate_part`.

    Raises:
        ConfigError: No states, or a row outside the set.
    """
    positions = shard.positions(len(request["state_ids"]))
    return merge_evaluations(shard.gather(evaluate_part(policy, envs, positions=positions, **request)))


def evaluate_part(
    policy: Policy,
    envs: Envs,
    *,
    env: EnvConfig,
    states: StateSet,
    state_ids: Sequence[int],
    mode: Mode,
    positions: Sequence[int],
    temperature: float = 1.0,
    seed: int = 0,
    iteration: int = 0,
    on_progress: Callable[[int], None] | None = None,
    on_episode: Callable[[int, Rollout], None] | None = None,
) -> EvaluationPart:
    """Play the episodes at the given positions of `state_ids`, perhaps none.

    Args:
        policy: Plays.
        envs: Made with `env`, any number of members.
        env: Recorded in the result.
        states: Which set.
        state_ids: Its rows, distinct or not.
        mode: Greedy or sampled.
        positions: Which of them.
        temperature: Of a sampled evaluation.
        seed: Of a sampled evaluation.
        iteration: Recorded in the result.
        on_progress: Told the number of episodes finished here.
        on_episode: Given the state and the record of each episode played here, without pictures.

    Raises:
        ConfigError: No states, or a row outside the set.
    """
    check_state_ids(envs, states, state_ids)
    seeds, resets = episode_seeds(seed, state_ids), reset_seeds(state_ids)
    episodes: dict[int, EpisodeResult] = {}
    width = envs.num_envs
    for start in range(0, len(positions), width):
        batch = list(positions[start : start + width])
        # Members beyond a short last batch have ended and stay frozen. In a first one they may never have begun: they
        # repeat its episodes, which are not counted.
        filled: list[int] = np.resize(np.asarray(batch, dtype=np.int64), width).tolist()
        played_N = np.arange(width) < (len(batch) if start else width)
        ids = np.asarray([state_ids[position] for position in filled], dtype=np.int64)
        observation, _ = envs.reset(
            seed=[resets[position] for position in filled],
            options={"init_states": states, "init_state_ids": ids, "reset_mask": played_N},
        )
        generators = [torch.Generator(policy.device).manual_seed(seeds[position]) for position in filled]
        sampling = Sampling(temperature, greedy=mode == "greedy", generators=generators)
        played = play(policy, envs, observation, sampling, num_played=int(played_N.sum()), keep_pictures=False)
        for position, member in zip(batch, played.members, strict=False):  # without repeats
            episodes[position] = _episode_result(state_ids[position], member)
            if on_episode is not None:
                on_episode(state_ids[position], member)
        if on_progress is not None:
            on_progress(len(episodes))
    return EvaluationPart(
        iteration=iteration,
        states=states,
        mode=mode,
        temperature=temperature,
        seed=seed,
        env=env,
        instruction=envs.task_description,
        horizon=envs.horizon,
        asset_pack=envs.asset_pack,
        stage_names=tuple(envs.stage_names),
        state_ids=tuple(state_ids),
        episodes=episodes,
    )


def episode_seeds(seed: int, state_ids: Sequence[int]) -> list[int]:
    """Seed of each episode's actions: follows from the evaluation's seed, the state, and how often it came before."""
    trials: Counter[int] = Counter()
    seeds = []
    for state in state_ids:
        seeds.append(int(np.random.SeedSequence([seed, state, trials[state]]).generate_state(1)[0]))
        trials[state] += 1
    return seeds


def reset_seeds(state_ids: Sequence[int]) -> list[int]:
    """Seed of what the environment draws for each episode (`env.fixture_poses`): from the state, and how often it came.

    The evaluation's seed has no part in it, so that all evaluations pose the same episodes.
    """
    return episode_seeds(0, state_ids)


def advance(bar: Progress, before: int, episodes: int) -> None:
    """Move a bar over several evaluations to `episodes` of the present one."""
    bar.advance(before + episodes, {})


def check_state_ids(envs: Envs, states: StateSet, state_ids: Sequence[int]) -> None:
    """Refuse rows that the set of states does not have.

    Raises:
        ConfigError: No states, or a row outside the set.
    """
    size = envs.num_init_states(states)
    bad = [state for state in state_ids if not 0 <= state < size]
    if not state_ids or bad:
        what = f"{bad[0]} is not one of them" if bad else "none was given"
        raise ConfigError(f"Evaluation needs rows 0 to {size - 1} of the {states} states; {what}.")


def _episode_result(state: int, member: Rollout) -> EpisodeResult:
    trajectory = member.trajectory
    return EpisodeResult(
        state=state,
        success=trajectory.success,
        end=trajectory.end,
        control_steps=trajectory.control_steps,
        total_reward=trajectory.total_reward,
        num_stages=int(member.stages_TK.sum(1).max()) if len(trajectory) else 0,
    )
