"""Every random number of a run follows from its seed, its purpose and the iteration: resuming needs no cursor."""

from __future__ import annotations

import enum

import numpy as np
import torch


class Stream(enum.IntEnum):
    """What random numbers are for. Appending is safe; renumbering changes every run."""

    WEIGHTS = 0
    """The new policy's weights."""
    SFT = 1
    """Rows and picture shifts of behaviour cloning."""
    STATES = 2
    """Start states of an iteration's groups."""
    ACTIONS = 3
    """Actions drawn in an iteration's rollouts, one stream a member."""
    SHUFFLE = 4
    """Order of an iteration's minibatches."""
    EVALUATION = 5
    """Actions drawn in sampled evaluations: the same for every policy of a run."""
    DEMONSTRATIONS = 6
    """States and noise of the recorded demonstrations."""
    ROUNDING = 7
    """Stochastic rounding of an optimiser."""
    ADAPTERS = 8
    """LoRA's new adapters."""
    BUDGET = 9
    """Which decisions of an iteration are learnt from under a gradient budget."""
    TASKS = 10
    """Order of the tasks in a round of them."""


def derive_seeds(seed: int, stream: Stream, iteration: int = 0, round_: int = 0, *, count: int) -> list[int]:
    """`count` seeds below 2**31, independent of those of every other stream, iteration and round of rollouts."""
    entropy = [
        seed,
        int(stream),
        iteration,
        *([round_] if round_ else []),
    ]  # the first round's as before there were any
    words = np.random.SeedSequence(entropy).generate_state(count)
    return [int(word) >> 1 for word in words]


def derive_seed(seed: int, stream: Stream, iteration: int = 0) -> int:
    """One such seed."""
    return derive_seeds(seed, stream, iteration, count=1)[0]


def make_generator(
    seed: int, stream: Stream, iteration: int = 0, *, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A torch generator on its own stream."""
    return make_generators(seed, stream, iteration, count=1, device=device)[0]


def make_generators(
    seed: int,
    stream: Stream,
    iteration: int = 0,
    round_: int = 0,
    *,
    count: int,
    device: torch.device | str = "cpu",
) -> list[torch.Generator]:
    """`count` torch generators, each on a stream of its own."""
    seeds = derive_seeds(seed, stream, iteration, round_, count=count)
    return [torch.Generator(device).manual_seed(one) for one in seeds]
