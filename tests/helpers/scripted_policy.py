"""A policy for tests whose behaviour is known: it walks straight to the middle of the toy task, at a chosen speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tests.helpers.toy_env import ToyReach
from tgrpo_trainer.policy.base import Policy, PolicyStart
from tgrpo_trainer.policy.randomness import Randomness
from tgrpo_trainer.types import ACTION_DIM, ActionSample, CloningTerms, LogProbs, PolicyInput


class StraightPolicy(Policy):
    """Each member moves towards the origin by `speed` of the largest step; noise only when sampling."""

    def __init__(self, speed: float = 1.0, action_chunk: int = 2, noise: float = 0.0) -> None:
        super().__init__()
        self.speed, self.noise, self._chunk = speed, noise, action_chunk
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.batch_sizes: list[int] = []

    @property
    def image_size(self) -> int:
        return 16

    @property
    def action_chunk(self) -> int:
        return self._chunk

    def encode_instructions(self, texts: Sequence[str]) -> Tensor:
        return torch.ones(len(texts), 3, dtype=torch.int64)

    @classmethod
    def start(cls, start: PolicyStart) -> Policy:
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path) -> Self:
        raise NotImplementedError

    def counted(self, ran_NC: Tensor) -> Tensor:
        return ran_NC.repeat_interleave(ACTION_DIM, dim=1)

    def bc_loss(self, obs: PolicyInput, actions_NCA: Tensor) -> CloningTerms:
        raise NotImplementedError

    def sample(
        self,
        obs: PolicyInput,
        *,
        temperature: float = 1.0,
        greedy: bool = False,
        generator: Randomness = None,
    ) -> ActionSample:
        self.batch_sizes.append(len(obs))
        position_N2 = obs.proprio_NP[:, :2]
        heading_N2 = -position_N2 / position_N2.norm(dim=1, keepdim=True).clamp(min=1e-6)
        actions_NCA = torch.zeros(len(obs), self._chunk, ACTION_DIM)
        actions_NCA[:, :, :2] = self.speed * heading_N2[:, None]
        if not greedy:
            rows = generator if isinstance(generator, Sequence) else [generator] * len(obs)
            for row_CA, own in zip(actions_NCA, rows, strict=True):
                row_CA[:, :2] += self.noise * torch.randn(self._chunk, 2, generator=own)
        choices_NK = torch.arange(self._chunk * ACTION_DIM).expand(len(obs), -1)
        logp_NK = -obs.proprio_NP[:, :1].expand(-1, self._chunk * ACTION_DIM)
        return ActionSample(choices_NK, logp_NK, actions_NCA.clamp(-1, 1))

    def log_prob(self, obs: PolicyInput, choices_NK: Tensor, temperature: float = 1.0) -> LogProbs:
        raise NotImplementedError

    def save(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        raise NotImplementedError


class SpeedByMember(StraightPolicy):
    """Member i walks at speeds[i]; its number is hidden in its start position, so a table of angles finds it."""

    def __init__(self, envs: ToyReach, speeds: Sequence[float]) -> None:
        super().__init__()
        self.envs, self.speeds = envs, np.asarray(speeds)

    def sample(self, obs: PolicyInput, **kwargs: Any) -> ActionSample:
        distances = np.linalg.norm(self.envs.position_N2[None] - obs.proprio_NP[:, None, :2].numpy(), axis=2)
        speed_n = torch.tensor(self.speeds[distances.argmin(1)], dtype=torch.float32)
        sample = super().sample(obs, **kwargs)
        return type(sample)(sample.choices_NK, sample.logp_NK, sample.actions_NCA * speed_n[:, None, None])
