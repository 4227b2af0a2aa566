"""OpenVLA-OFT's additions to the model: the L1 regression head, and the projector of the robot's state.

The names of parameters and the order of layers are those of `prismatic/models/action_heads.py` and `projectors.py`
(github.com/moojink/openvla-oft at 213c5ff). The L1 head reads the hidden states of the seven places of a control step
side by side, and gives its seven numbers; all control steps of a chunk share it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tgrpo_trainer.types import ACTION_DIM

NUM_BLOCKS = 2
NOISE_SCALE = 0.135
"""e^-2, the least scale of RIPT's log-probabilities for this head (github.com/Ariostgx/ript-vla at 440990e,
`log_scale_clip`)."""
MIN_SCALE = 0.01
"""No scale falls below it: what keeps exploring, and what bounds the log-probability."""


class L1Head(nn.Module):
    """From hidden states to actions in the training data's units.

    Args:
        width: Of the language model.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.model = _ResidualMlp(width * ACTION_DIM, width, ACTION_DIM)

    def forward(self, hidden_NKD: Tensor) -> Tensor:
        """numbers_NK float32, K / 7 control steps of seven numbers."""
        rows, places, width = hidden_NKD.shape
        numbers_NCA: Tensor = self.model(hidden_NKD.reshape(rows, places // ACTION_DIM, ACTION_DIM * width))
        return numbers_NCA.flatten(1).float()


class ProprioProjector(nn.Module):
    """From the robot's normalised state to one place of the sequence, behind the patches."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(size, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, state_NP: Tensor) -> Tensor:
        """embeddings_N1D."""
        projected_ND: Tensor = self.fc2(nn.functional.gelu(self.fc1(state_NP)))
        return projected_ND[:, None]


def initial_log_scale(scale: float) -> Tensor:
    """log_scale_A that gives every number of an action this scale."""
    return torch.full((ACTION_DIM,), math.log(scale - MIN_SCALE))


class _ResidualMlp(nn.Module):
    def __init__(self, dim_in: int, width: int, dim_out: int) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(dim_in)
        self.fc1 = nn.Linear(dim_in, width)
        self.mlp_resnet_blocks = nn.ModuleList(_ResidualBlock(width) for _ in range(NUM_BLOCKS))
        self.layer_norm2 = nn.LayerNorm(width)
        self.fc2 = nn.Linear(width, dim_out)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = nn.functional.relu(self.fc1(self.layer_norm1(inputs)))
        for block in self.mlp_resnet_blocks:
            hidden = block(hidden)
        outputs: Tensor = self.fc2(self.layer_norm2(hidden))
        return outputs


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, hidden: Tensor) -> Tensor:
        changed: Tensor = hidden + self.ffn(hidden)
        return changed
