"""OpenVLA, natively: its published checkpoints load without remote code, timm or torchvision (docs/openvla.md).

pictures ┐
         ├─► model (vision, projector, Llama) ─► decoding ─► logits of action tokens ─► actions
prompt ──┘   sizes: architecture   files: weights
"""

from __future__ import annotations

from tgrpo_trainer.policy.openvla.base import BaseCheckpoint
from tgrpo_trainer.policy.openvla.policy import KIND, OpenVlaPolicy, OpenVlaSettings

__all__ = ["KIND", "BaseCheckpoint", "OpenVlaPolicy", "OpenVlaSettings"]
