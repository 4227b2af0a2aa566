"""The result of an evaluation: episodes, counts and settings, merged from parts and saved as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from tgrpo_envs.base_settings import Settings, first_fault
from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_envs.files import write_atomically
from tgrpo_envs.intervals import counted, wilson_interval
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.types import EpisodeEnd

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


class EvaluationFacts(Settings):
    """What was evaluated and how: the same on every process that plays a part of it."""

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
    """Episode limit in control steps, not counting those in which the scene settles."""
    asset_pack: str = "unknown"
    """Shapes the scene was made of, resolved (`env.assets` may be auto); only `libero` is the benchmark."""
    stage_names: tuple[str, ...]
    """Stages of the reward, in order."""

    @property
    def key(self) -> str:
        """Its name in logs, for example `heldout_greedy`."""
        return f"{self.states}_{self.mode}"


class EvaluationPart(EvaluationFacts):
    """Some episodes of an evaluation, for example those of one rank; `merge_evaluations` makes the whole."""

    state_ids: tuple[int, ...]
    """Rows of all episodes of the evaluation, played here or elsewhere."""
    episodes: dict[int, EpisodeResult]
    """Those played here, by their position in `state_ids`."""


class Evaluation(EvaluationFacts):
    """Success of one policy on one set of states in one mode, with everything needed to repeat it."""

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

    def stage_histogram(self) -> list[int]:
        """Episodes that got as far as 0, 1, ... all stages done."""
        counts = np.bincount([one.num_stages for one in self.episodes], minlength=len(self.stage_names) + 1)
        return [int(count) for count in counts]

    def __str__(self) -> str:
        return counted(self.num_successes, self.num_episodes)


class Pooled(Settings):
    """Episodes of several tasks counted as one: every episode weighs the same."""

    iteration: int = 0
    """Training iterations behind the policy."""
    states: StateSet
    mode: Mode
    num_tasks: int
    num_successes: int
    num_episodes: int
    interval: tuple[float, float]
    """Wilson's 95 % interval, as if the episodes were independent draws from these very tasks."""

    @property
    def key(self) -> str:
        """Its name in logs, for example `heldout_greedy`."""
        return f"{self.states}_{self.mode}"

    @property
    def success_rate(self) -> float:
        """Successes per episode."""
        return self.num_successes / self.num_episodes

    def __str__(self) -> str:
        return counted(self.num_successes, self.num_episodes)


def pool(evaluations: Sequence[Evaluation]) -> tuple[Pooled, ...]:
    """Successes and episodes summed over tasks, for each iteration, set and mode in the order they first appear."""
    parts: dict[tuple[int, StateSet, Mode], list[Evaluation]] = {}
    for one in evaluations:
        parts.setdefault((one.iteration, one.states, one.mode), []).append(one)
    pooled = []
    for (iteration, states, mode), chosen in parts.items():
        successes, episodes = sum(one.num_successes for one in chosen), sum(one.num_episodes for one in chosen)
        pooled.append(
            Pooled(
                iteration=iteration,
                states=states,
                mode=mode,
                num_tasks=len(chosen),
                num_successes=successes,
                num_episodes=episodes,
                interval=wilson_interval(successes, episodes),
            )
        )
    return tuple(pooled)


def merge_evaluations(parts: Sequence[EvaluationPart]) -> Evaluation:
    """The whole evaluation from parts that together hold each of its episodes once, in any order.

    Raises:
        ConfigError: The parts are of different evaluations, or an episode is missing or there twice.
    """
    if not parts:
        raise ConfigError("No parts of an evaluation were given; merge at least one.")
    facts = _facts(parts[0])
    for part in parts[1:]:
        different = [name for name, value in _facts(part).items() if value != facts[name]]
        if different:
            raise ConfigError(
                f"Parts of different evaluations cannot be merged: they differ in {', '.join(different)}; "
                "give every process the same settings."
            )
    played = Counter(position for part in parts for position in part.episodes)
    state_ids = parts[0].state_ids
    wrong = [position for position in range(len(state_ids)) if played[position] != 1]
    if wrong or len(played) != len(state_ids):
        where = wrong[0] if wrong else max(played)
        raise ConfigError(
            f"Episode {where} of {len(state_ids)} was played {played[where]} times; divide the episodes "
            "so that each is played by one process."
        )
    results = {position: result for part in parts for position, result in part.episodes.items()}
    episodes = tuple(results[position] for position in range(len(state_ids)))
    num_successes = sum(one.success for one in episodes)
    del facts["state_ids"]
    return Evaluation(
        **facts,
        num_successes=num_successes,
        num_episodes=len(episodes),
        interval=wilson_interval(num_successes, len(episodes)),
        episodes=episodes,
    )


def _facts(part: EvaluationPart) -> dict[str, Any]:
    return {name: getattr(part, name) for name in EvaluationPart.model_fields if name != "episodes"}


_EVALUATIONS = TypeAdapter(tuple[Evaluation, ...])
_Read = TypeVar("_Read")


def save_evaluations(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """Write as JSON, replacing an earlier file in one step."""
    write_json(path, _EVALUATIONS, tuple(evaluations))


def load_evaluations(path: Path) -> tuple[Evaluation, ...]:
    """Read what `save_evaluations` wrote.

    Raises:
        CheckpointError: Not such a file, or of another version.
    """
    return read_json(path, _EVALUATIONS)


def write_json(path: Path, kind: TypeAdapter[_Read], value: _Read) -> None:
    """Write as JSON, replacing an earlier file in one step."""
    write_atomically(path, kind.dump_json(value, indent=1))


def read_json(path: Path, kind: TypeAdapter[_Read]) -> _Read:
    """Read what `write_json` wrote.

    Raises:
        CheckpointError: Not such a file, or of another version.
    """
    try:
        return kind.validate_json(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        raise CheckpointError(
            f"{path} does not hold evaluations of this version: {first_fault(error)}; if it is damaged, delete it: a "
            "run that is resumed plays those of the iteration it stands at again, and the eval command any."
        ) from error
