"""The data types of training and how they flow: PolicyInput -> ActionSample -> Trajectory -> TrajectoryGroup -> Batch.

A rollout asks the policy for an `ActionSample` at every decision; one member's decisions become a `Trajectory`; the
members that started from one initial state become a `TrajectoryGroup`; groups become one flat `Batch` of decisions that
the update learns from.

Notation, used in every tensor name (axes are the capital letters after the underscore):

    G  members of a group          N  rows of a batch (decisions)   H, W, C  image height, width, channels
    T  decisions of a trajectory   K  choices a decision            C, A     chunk length and action dimension (NCA)
    V  action bins                 L  instruction tokens            P        proprioception

One *decision* is one environment step of the trainer: a chunk of `action_chunk` control steps of 50 ms each. A policy
makes it as K *choices*, each with a log-probability of its own. What they are (token indices, int64; drawn numbers,
float32) and which control steps they belong to only the policy knows.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tgrpo_envs.errors import ConfigError

ACTION_DIM = 7
"""Numbers in one action: end-effector translation (3), rotation (3), gripper (1), each in [-1, 1]."""


class EpisodeEnd(enum.StrEnum):
    """Why a trajectory stopped. Only SUCCESS is a termination; the others cut it off."""

    SUCCESS = "success"
    """LIBERO's own check held."""
    HORIZON = "horizon"
    """The task's step limit was reached."""
    GROUP_CUT = "group_cut"
    """Another member of the group succeeded first and the group ends together (`end="any_success"`)."""
    DIVERGED = "diverged"
    """The physics became unstable; the trajectory says nothing about the policy after this point."""


@dataclass(frozen=True)
class PolicyInput:
    """What a policy sees at N decisions.

    Attributes:
        agentview_NHWC: uint8, upright third-person picture.
        wrist_NHWC: uint8, upright picture from the gripper.
        proprio_NP: float32, the environment's `proprio` vector (metres, rotation columns, gripper).
        instruction_NL: int64 ids from `Policy.encode_instructions`, padded with 0 on the right.
    """

    agentview_NHWC: Tensor
    wrist_NHWC: Tensor
    proprio_NP: Tensor
    instruction_NL: Tensor

    def __len__(self) -> int:
        return self.proprio_NP.shape[0]

    @classmethod
    def from_observation(cls, observation: Mapping[str, NDArray[np.generic]], instruction_NL: Tensor) -> PolicyInput:
        """Copy a vector environment's observation dict (`agentview`, `wrist`, `proprio`) into tensors.

        A copy, because the environment writes its next pictures into the same arrays.

        Raises:
            ConfigError: Pictures that are not uint8 (N, H, W, 3), which would turn black or be shifted, or
                proprioception that is not finite.
        """
        proprio_NP = torch.tensor(observation["proprio"], dtype=torch.float32)
        if not proprio_NP.isfinite().all():
            raise ConfigError("The observation's 'proprio' holds NaN or infinity; look at what wraps the environment.")
        return cls(
            agentview_NHWC=_pictures(observation, "agentview"),
            wrist_NHWC=_pictures(observation, "wrist"),
            proprio_NP=proprio_NP,
            instruction_NL=instruction_NL,
        )

    @classmethod
    def cat(cls, parts: Sequence[PolicyInput]) -> PolicyInput:
        """Concatenate along N; shorter instructions are padded with 0 to the longest."""
        length = max(part.instruction_NL.shape[1] for part in parts)
        padded = [replace(part, instruction_NL=_pad_right(part.instruction_NL, length)) for part in parts]
        return cls(*(torch.cat([getattr(part, field.name) for part in padded]) for field in fields(cls)))

    def rows(self, index: Tensor | slice) -> PolicyInput:
        """The rows that `index` (int64 positions, a bool mask or a slice) selects, in its order."""
        return _mapped(self, lambda rows: rows[index])

    def padded(self, num_rows: int) -> PolicyInput:
        """The same rows and behind them rows of zeros, `num_rows` in all."""

        def longer(rows: Tensor) -> Tensor:
            return torch.cat([rows, rows.new_zeros(num_rows - len(rows), *rows.shape[1:])])

        return _mapped(self, longer)

    def to(self, device: torch.device | str) -> PolicyInput:
        """The same input on another device."""
        return _mapped(self, lambda rows: rows.to(device))


@dataclass(frozen=True)
class ActionSample:
    """N decisions drawn from a policy.

    Attributes:
        choices_NK: What was drawn, in the policy's own representation and type.
        logp_NK: float32 log-probability of each choice at the temperature it was drawn with.
        actions_NCA: float32 in [-1, 1], what they mean, ready for an environment made with `action_chunk=C`.
    """

    choices_NK: Tensor
    logp_NK: Tensor
    actions_NCA: Tensor


class LogProbs(NamedTuple):
    """How probable given choices are under a policy (same temperature convention as `ActionSample`).

    A tuple, because FSDP looks for the tensors in a module's output and sees through tuples, not through dataclasses.

    Attributes:
        logp_NK: float32 log-probability of each given choice, differentiable.
        entropy_NK: float32 entropy in nats of each choice's distribution, differentiable.
        greedy_NK: bool, whether the given choice is the most probable one there, as far as they can be told apart.
    """

    logp_NK: Tensor
    entropy_NK: Tensor
    greedy_NK: Tensor


class CloningTerms(NamedTuple):
    """What behaviour cloning minimises, for each choice of N decisions.

    Attributes:
        loss_NK: float32, differentiable.
        matched_NK: bool, whether the policy's most probable choice is the expert's.
    """

    loss_NK: Tensor
    matched_NK: Tensor


@dataclass(frozen=True)
class Trajectory:
    """One member's T decisions, without padding; a diverged decision is left out by the rollout.

    Attributes:
        observations: T rows, what the policy saw before each decision.
        choices_TK: What was drawn, in the policy's own representation.
        logp_TK: float32 their log-probabilities when drawn.
        executed_TK: bool, False for choices about control steps that never ran because the episode ended inside the
            chunk.
        rewards_T: float64 reward of each decision (sum over its control steps).
        stage_T: int64 index of the first unfinished stage when the decision was taken.
        end: Why it stopped.
        progress: Best task progress reached, in [0, 1].
        control_steps: Control steps run in all (50 ms each).
    """

    observations: PolicyInput
    choices_TK: Tensor
    logp_TK: Tensor
    executed_TK: Tensor
    rewards_T: Tensor
    stage_T: Tensor
    end: EpisodeEnd
    progress: float
    control_steps: int

    def __len__(self) -> int:
        return self.choices_TK.shape[0]

    @property
    def success(self) -> bool:
        """Whether LIBERO's check held at the end."""
        return self.end is EpisodeEnd.SUCCESS

    @property
    def total_reward(self) -> float:
        """R, the sum of the rewards."""
        return float(self.rewards_T.sum())


@dataclass(frozen=True)
class TrajectoryGroup:
    """G trajectories of one task that started from one initial state and are compared with each other.

    Attributes:
        trajectories: At least two, each with at least one decision.
        task: Name for logs and reports.

    Raises:
        ConfigError: Fewer than two members, or a member without a decision.
    """

    trajectories: tuple[Trajectory, ...]
    task: str

    def __post_init__(self) -> None:
        if len(self.trajectories) < 2:
            raise ConfigError(
                f"A group of {len(self.trajectories)} trajectories has nothing to compare; use num_generations >= 2."
            )
        if any(len(trajectory) == 0 for trajectory in self.trajectories):
            raise ConfigError(f"A trajectory of {self.task!r} has no decisions; leave it out of its group.")

    def __len__(self) -> int:
        return len(self.trajectories)

    @property
    def mask_GT(self) -> Tensor:
        """Bool, True where a member took a decision; T is the longest member's length."""
        lengths_G = torch.tensor([len(trajectory) for trajectory in self.trajectories])
        return torch.arange(int(lengths_G.max()))[None, :] < lengths_G[:, None]

    @property
    def rewards_GT(self) -> Tensor:
        """float64, 0 where `mask_GT` is False."""
        rewards = [trajectory.rewards_T.to(torch.float64) for trajectory in self.trajectories]
        return torch.nn.utils.rnn.pad_sequence(rewards, batch_first=True)

    @property
    def stage_GT(self) -> Tensor:
        """int64, 0 where `mask_GT` is False."""
        return torch.nn.utils.rnn.pad_sequence([t.stage_T for t in self.trajectories], batch_first=True)


@dataclass(frozen=True)
class Batch:
    """N decisions of many groups, flat and ready to learn from.

    Attributes:
        observations: N rows, pictures still uint8.
        choices_NK: What was drawn, in the policy's own representation.
        old_logp_NK: float32 log-probabilities when drawn (pi_old, unless the update scores it again).
        mask_NK: bool, the choices that were executed.
        advantages_N: float32 fused advantage of each decision.
        weights_N: float64, 1 / (members * T of the row's member); they sum to 1 and weight the terms of J.
    """

    observations: PolicyInput
    choices_NK: Tensor
    old_logp_NK: Tensor
    mask_NK: Tensor
    advantages_N: Tensor
    weights_N: Tensor

    def __len__(self) -> int:
        return self.choices_NK.shape[0]

    def rows(self, index: Tensor | slice) -> Batch:
        """The rows that `index` selects; weights are left as they are and no longer sum to 1."""
        return _mapped(self, lambda rows: rows[index])

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return _mapped(self, lambda rows: rows.to(device))

    def part(self, rows: Tensor) -> Batch:
        """The given rows for one pass; for no rows, `blank`, because all ranks make equally many passes."""
        return self.rows(rows) if len(rows) else self.blank()

    def blank(self) -> Batch:
        """One made-up row of the same shapes that counts nothing: no weight, no choice executed."""
        return _mapped(self, lambda rows: rows.new_zeros((1, *rows.shape[1:])))


Record = TypeVar("Record", PolicyInput, Batch)


def taken(value: object, what: str, *, flags: bool = False) -> Tensor:
    """Numbers in float64, or truth values, from an array, a tensor or lists, without their gradient.

    Raises:
        ConfigError: It holds something else.
    """
    try:
        tensor = torch.as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{what} cannot be read as a tensor: {' '.join(str(error).split())}") from error
    if (tensor.dtype == torch.bool) != flags or tensor.is_complex():
        raise ConfigError(f"{what} must be {'True or False' if flags else 'real numbers'}, got {tensor.dtype}.")
    return tensor if flags else tensor.to(torch.float64)


def _mapped(record: Record, change: Callable[[Tensor], Tensor]) -> Record:
    """The record with each of its tensors changed, also those of records within it."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    changed: dict[str, Any] = {
        name: change(value) if isinstance(value, Tensor) else _mapped(value, change) for name, value in values.items()
    }
    return replace(record, **changed)


def _pictures(observation: Mapping[str, NDArray[np.generic]], camera: str) -> Tensor:
    pictures_NHWC = observation[camera]
    if pictures_NHWC.dtype != np.uint8 or pictures_NHWC.ndim != 4 or pictures_NHWC.shape[-1] != 3:
        raise ConfigError(
            f"The observation's {camera!r} is {pictures_NHWC.dtype} of shape {pictures_NHWC.shape}; a policy takes "
            "uint8 pictures of shape (N, H, W, 3), values 0 to 255."
        )
    return torch.tensor(pictures_NHWC, dtype=torch.uint8)


def _pad_right(ids_NL: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(ids_NL, (0, length - ids_NL.shape[1]))
