"""The robot's state as OpenVLA-OFT is shown it: LIBERO's eight numbers, normalised by those of the training data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tgrpo_trainer.policy.libero_state import libero_state
from tgrpo_trainer.policy.openvla.actions import Statistics


class ProprioCodec(nn.Module):
    """Normalises states by the training data's quantiles; a module so that its constants move with the policy."""

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        self.register_buffer("low_P", torch.tensor(statistics.low, dtype=torch.float64), persistent=False)
        self.register_buffer("high_P", torch.tensor(statistics.high, dtype=torch.float64), persistent=False)
        self.register_buffer("scaled_P", torch.tensor(statistics.scaled), persistent=False)
        self.low_P: Tensor
        self.high_P: Tensor
        self.scaled_P: Tensor

    def encode(self, proprio_NP: Tensor) -> Tensor:
        """state_NP float32 in [-1, 1] of the environment's proprioception."""
        state_NP = libero_state(proprio_NP).to(self.low_P)
        unit_NP = 2.0 * (state_NP - self.low_P) / (self.high_P - self.low_P + 1e-8) - 1.0
        return torch.where(self.scaled_P, unit_NP, state_NP).clamp(-1.0, 1.0).float()
