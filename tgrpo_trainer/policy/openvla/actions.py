"""OpenVLA's actions: 256 bins at the tail of the vocabulary, statistics of the training data, LIBERO's gripper.

    environment action  <->  model's units  <->  [-1, 1]  <->  bin  <->  token id
                   gripper sign       q01, q99        256 bins     action_vocab_end - 1 - bin

In the model's units the gripper is 1 = open and 0 = closed; the environment has -1 = open and +1 = closed. Its
statistics leave it as it is (mask False).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tgrpo_envs.errors import CheckpointError
from tgrpo_envs.files import load_json
from tgrpo_trainer.types import ACTION_DIM

STATISTICS_FILE = "dataset_statistics.json"
NO_NOOPS = "_no_noops"
"""Suffix of the keys of checkpoints trained on demonstrations without their idle steps."""
GRIPPER_OPEN_ABOVE = 0.5
_TINY = 1e-8


@dataclass(frozen=True)
class Statistics:
    """Quantiles of the training data, one entry per number of an action (or of the robot's state).

    Attributes:
        key: Name of the data set.
        low: 1 % quantiles; they become -1.
        high: 99 % quantiles; they become +1.
        scaled: False for numbers that are used as they are.
    """

    key: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    scaled: tuple[bool, ...]


def read_statistics(
    config: Mapping[str, Any],
    beside: bytes | None,
    key: str,
    *,
    of: Literal["action", "proprio"] = "action",
    size: int = ACTION_DIM,
) -> Statistics:
    """The statistics of one data set.

    Args:
        config: The checkpoint's config.json; its `norm_stats` hold what the base model was trained on.
        beside: Contents of dataset_statistics.json, which a fine-tuned checkpoint has and which then wins.
        key: The data set, or a LIBERO suite: `libero_goal` also finds `libero_goal_no_noops`.
        of: What of it.
        size: How many numbers that has.

    Raises:
        CheckpointError: The statistics do not cover the key, or are malformed.
    """
    known = _known_statistics(config, beside)
    found = _found_key(known, key)
    if found is None:
        raise CheckpointError(
            f"The checkpoint's action statistics do not cover {key!r}, only: {', '.join(sorted(known))}. Choose a task "
            "of a suite it was trained on, or name one of these with --policy.openvla.unnorm-key (of eval: "
            "--openvla.unnorm-key)."
        )
    file = "norm_stats of config.json" if beside is None else STATISTICS_FILE
    what = f"The {of} statistics of {found!r} in {file}"
    stored = known[found].get(of) if isinstance(known[found], dict) else None
    if not isinstance(stored, dict):
        raise CheckpointError(
            f"The {of} statistics of {found!r} are malformed: {file} has no object with q01 and q99 for them."
        )
    low, high = (_numbers(stored.get(field), size, f"{what}: {field}") for field in ("q01", "q99"))
    scaled = _mask(stored.get("mask", [True] * size), size, f"{what}: mask")
    if (crossed := next((i for i in range(size) if low[i] > high[i]), None)) is not None:
        raise CheckpointError(
            f"{what}: entry {crossed} of q01 is {low[crossed]}, above that of q99, {high[crossed]}; copy the file of "
            "the checkpoint's training again."
        )
    return Statistics(found, low, high, scaled)


def statistics_key(config: Mapping[str, Any], beside: bytes | None, key: str) -> str | None:
    """The data set whose statistics `read_statistics` takes for a key; None if they do not cover it.

    Raises:
        CheckpointError: There are no statistics.
    """
    return _found_key(_known_statistics(config, beside), key)


def _known_statistics(config: Mapping[str, Any], beside: bytes | None) -> dict[str, Any]:
    """Statistics by data set."""
    try:
        known = load_json(beside) if beside is not None else config.get("norm_stats")
    except ValueError as error:
        raise CheckpointError(f"{STATISTICS_FILE} is not JSON: {error}") from error
    if not isinstance(known, dict) or not known:
        raise CheckpointError(
            f"The checkpoint has no action statistics; put the {STATISTICS_FILE} of its training data beside it."
        )
    return known


def _found_key(known: Mapping[str, Any], key: str) -> str | None:
    return next((name for name in (key, key + NO_NOOPS) if name in known), None)


def _numbers(stored: Any, size: int, what: str) -> tuple[float, ...]:
    for value in _entries(stored, size, what):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and abs(value) <= sys.float_info.max):  # neither infinite nor NaN nor an integer beyond a float
            raise CheckpointError(f"{what} holds {value!r}; its entries must be finite numbers.")
    return tuple(map(float, stored))


def _mask(stored: Any, size: int, what: str) -> tuple[bool, ...]:
    for value in _entries(stored, size, what):
        if not isinstance(value, int) or value not in (0, 1):
            raise CheckpointError(f"{what} holds {value!r}; its entries must be true, false, 1 or 0.")
    return tuple(map(bool, stored))


def _entries(stored: Any, size: int, what: str) -> list[Any]:
    if not isinstance(stored, list):
        raise CheckpointError(f"{what} is missing, or no list of {size} entries.")
    if len(stored) != size:
        raise CheckpointError(f"{what} has {len(stored)} entries, not {size}.")
    return stored


class ActionCodec(nn.Module):
    """Between the environment's actions, numbers in [-1, 1] as the model has them, and action tokens.

    A token here is a bin in [0, num_bins), rising with the action; `token_ids` gives the vocabulary's ids, which fall.
    A module so that its constants move to the policy's device with it; it has no parameters.
    """

    def __init__(self, statistics: Statistics, *, num_bins: int, vocab_end: int) -> None:
        super().__init__()
        self.vocab_end = vocab_end
        edges_V = torch.linspace(-1.0, 1.0, num_bins, dtype=torch.float64)
        # num_bins edges have one bin fewer between them: the last token (exactly +1) means what the one before it does.
        centres_V = (edges_V[1:] + edges_V[:-1]) / 2
        self.register_buffer("edges_V", edges_V, persistent=False)
        self.register_buffer("centres_V", torch.cat([centres_V, centres_V[-1:]]), persistent=False)
        self.register_buffer("low_A", torch.tensor(statistics.low, dtype=torch.float64), persistent=False)
        self.register_buffer("high_A", torch.tensor(statistics.high, dtype=torch.float64), persistent=False)
        self.register_buffer("scaled_A", torch.tensor(statistics.scaled), persistent=False)
        self.edges_V: Tensor
        self.centres_V: Tensor
        self.low_A: Tensor
        self.high_A: Tensor
        self.scaled_A: Tensor

    def token_ids(self, tokens: Tensor) -> Tensor:
        """The vocabulary's ids of tokens."""
        return self.vocab_end - 1 - tokens

    def encode(self, actions_NCA: Tensor) -> Tensor:
        """tokens_NK of the environment's actions, as the published training data were made; on the actions' device."""
        unit_NCA = self._unit(actions_NCA)
        tokens_NCA = torch.bucketize(unit_NCA.contiguous(), self.edges_V, right=True) - 1
        return tokens_NCA.flatten(1).to(actions_NCA.device)

    def decode(self, tokens_NK: Tensor) -> Tensor:
        """The environment's actions_NCA float32 in [-1, 1]; the gripper is -1 (open) or +1 (closed)."""
        return self.from_numbers(self.centres_V[tokens_NK])

    def to_numbers(self, actions_NCA: Tensor) -> Tensor:
        """numbers_NK float32 of the environment's actions, which a continuous head was trained on; on their device."""
        return self._unit(actions_NCA).flatten(1).float().to(actions_NCA.device)

    def from_numbers(self, numbers_NK: Tensor) -> Tensor:
        """The environment's actions_NCA, as `decode`; numbers beyond [-1, 1] go beyond the quantiles."""
        unit_NCA = numbers_NK.to(self.low_A).view(numbers_NK.shape[0], -1, ACTION_DIM)
        scaled_NCA = 0.5 * (unit_NCA + 1.0) * (self.high_A - self.low_A) + self.low_A
        model_NCA = torch.where(self.scaled_A, scaled_NCA, unit_NCA)
        closed_NC1 = model_NCA[..., -1:] < GRIPPER_OPEN_ABOVE
        gripper_NC1 = torch.where(closed_NC1, 1.0, -1.0).to(model_NCA)
        return torch.cat([model_NCA[..., :-1].clamp(-1.0, 1.0), gripper_NC1], dim=-1).float()

    def _unit(self, actions_NCA: Tensor) -> Tensor:
        """Of the environment's actions, in [-1, 1] and float64; the gripper is 0 (closed) or 1 (open)."""
        actions_NCA = actions_NCA.to(self.low_A)
        model_NCA = torch.cat([actions_NCA[..., :-1], 1.0 - actions_NCA[..., -1:].clamp(0.0, 1.0)], dim=-1)
        unit_NCA = 2.0 * (model_NCA - self.low_A) / (self.high_A - self.low_A + _TINY) - 1.0
        return torch.where(self.scaled_A, unit_NCA, model_NCA).clamp(-1.0, 1.0)
